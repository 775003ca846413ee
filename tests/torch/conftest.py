"""Small real models, and the context that the core would make for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from navigator_core import Context, Dim, tensors, testing
from navigator_torch import plugin, source

BATCH = Dim("batch", 1, 64)
HERE = Path(__file__).parent

tensors.register(plugin.declare_tensors())
LIVE = testing.Live(source, "torch")
context_for, as_torch, reference, batch_of = LIVE.context, LIVE.tensors, LIVE.answer, testing.batch_of


def pytest_collection_modifyitems(items):
    """What navigator-torch's own environment has to skip is marked: the session that has everything runs it alone."""
    for item in items:
        if not item.path.is_relative_to(HERE):
            continue
        reasons = " ".join(mark.kwargs.get("reason", "") for mark in item.iter_markers("skipif"))
        if "navigator-onnx" in reasons or "onnx" in item.name or "bert" in (*item.fixturenames, item.name):
            item.add_marker("together")
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "bert" in [value for value in given if isinstance(value, str)]:
            item.add_marker("together")


def assert_close(found: Mapping[str, Any], expected: Mapping[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(tensors.to_numpy(found[name]), value, rtol=1e-4, atol=1e-5, err_msg=name)


class Mlp(torch.nn.Module):
    """A dict of two outputs; ``unused`` reaches nothing, ``scale`` is passed by keyword."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(4, 8)
        self.norm = torch.nn.BatchNorm1d(8)
        self.last = torch.nn.Linear(8, 3)
        self.register_buffer("shift", torch.ones(3), persistent=False)

    def forward(self, x: torch.Tensor, unused: torch.Tensor, scale: float = 1.0) -> dict[str, torch.Tensor]:
        hidden = torch.relu(self.norm(self.first(x)))
        return {"logits": self.last(hidden) * scale + self.shift, "hidden": hidden}


class Tied(torch.nn.Module):
    """An embedding whose weight is the output layer's, with a view of it and a plain tensor beside."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(50, 64)
        self.head = torch.nn.Linear(64, 50, bias=False)
        self.head.weight = self.embedding.weight
        self.first_row = self.embedding.weight.detach()[0]
        self.plain = torch.full((64,), 2.0, dtype=torch.bfloat16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(ids) + self.first_row * self.plain.float())


class Recurrent(torch.nn.Module):
    """State with the batch on axis 1, in a tuple; returns the sequence and the new state."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = torch.nn.LSTM(3, 5, num_layers=2, batch_first=True)

    def forward(
        self, x: torch.Tensor, state: tuple[torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        return self.lstm(x, state)


@pytest.fixture
def mlp() -> Mlp:
    torch.manual_seed(0)
    return Mlp()


@pytest.fixture
def mlp_context(mlp: Mlp) -> Context:
    given = {"x": torch.randn(1, 4), "unused": torch.zeros(2), "scale": 0.5}
    return context_for(mlp, given, {"x": {0: BATCH}})


@pytest.fixture
def recurrent() -> Recurrent:
    torch.manual_seed(0)
    return Recurrent()


@pytest.fixture
def recurrent_context(recurrent: Recurrent) -> Context:
    state = (torch.zeros(2, 1, 5), torch.zeros(2, 1, 5))
    axes = {"x": {0: BATCH, 1: Dim("length", 2, 32)}, "state.0": {1: BATCH}, "state.1": {1: BATCH}}
    return context_for(recurrent, (torch.randn(1, 6, 3), state), axes)


@pytest.fixture(scope="session")
def bert() -> torch.nn.Module:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=60,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    return transformers.BertModel(config)


@pytest.fixture
def bert_context(bert: torch.nn.Module) -> Context:
    given = {"input_ids": torch.arange(7).reshape(1, 7), "attention_mask": torch.ones(1, 7, dtype=torch.int64)}
    axes = {
        "input_ids": {0: BATCH, 1: Dim("input_ids_1", 2, 40)},
        "attention_mask": {0: BATCH, 1: Dim("attention_mask_1", 2, 40)},
    }
    return context_for(bert, given, axes)
