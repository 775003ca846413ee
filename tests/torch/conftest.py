"""Small real models, and the context that the core would make for them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch

from navigator_core import FP32, Context, Dim, Precision, Signature, TensorSpec, samples, tensors
from navigator_core.signature import describe_outputs
from navigator_torch import plugin, source

BATCH = Dim("batch", 1, 64)
HERE = Path(__file__).parent

tensors.register(plugin.declare_tensors())


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


def context_for(
    model: torch.nn.Module,
    given: Any,
    axes: Mapping[str, Mapping[int, Dim]],
    *,
    device: str = "cpu",
    precision: Precision = FP32,
) -> Context:
    """The context of one sample; ``axes`` says which axes are dynamic, by input name."""
    parameters, rest = samples.parameters_of(source.parameters(model))
    calls, _ = samples.read(given)
    found = samples.gather(calls, parameters, rest, None)
    first = samples.initial_signature(found)
    inputs = tuple(
        attrs.evolve(spec, shape=tuple(axes.get(spec.name, {}).get(i, n) for i, n in enumerate(spec.shape)))
        for spec in first.inputs
    )
    call = first.bind(as_torch(first, found.arrays[0]))
    with torch.no_grad():
        node, outputs = describe_outputs(source.prepare(model)(*call.args, **call.kwargs))
    specs = tuple(TensorSpec(name, tensors.dtype_of(value), tuple(value.shape)) for name, value in outputs.items())
    structure = attrs.evolve(first.structure, output=node)
    return Context(
        signature=Signature(inputs, specs, structure), samples=found.arrays, device=device, precision=precision
    )


def as_torch(signature: Signature, arrays: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, torch.Tensor]:
    return {s.name: tensors.from_numpy(arrays[s.name], "torch", device, s.dtype) for s in signature.inputs}


def batch_of(context: Context, size: int) -> dict[str, np.ndarray]:
    """Other values of the same shapes, with ``size`` rows."""
    rng = np.random.default_rng(size)
    resized = samples.resize(context.samples[0], context.signature, size)
    return {
        name: rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else rng.permuted(a)
        for name, a in resized.items()
    }


def reference(model: torch.nn.Module, context: Context, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with torch.no_grad():
        outputs = context.signature.call(source.prepare(model), as_torch(context.signature, arrays))
    return {name: tensors.to_numpy(value) for name, value in outputs.items()}


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
