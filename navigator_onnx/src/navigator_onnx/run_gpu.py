"""ONNX Runtime on NVIDIA GPUs, by its CUDA and TensorRT providers. Never with TF32: fp32 promises fp32."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime

from navigator_core import Context, LoadedModel
from navigator_onnx import run
from navigator_onnx.names import Bindings
from navigator_onnx.options import GpuOptions
from navigator_onnx.profiles import Shapes, shapes

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"


def cuda(source: Path, options: GpuOptions, context: Context) -> LoadedModel:
    """A session on the GPU; tensors are OrtValues and stay there. Nodes that CUDA lacks run on the CPU."""
    return _load(source, options, context, [cuda_provider(context.device)])


def tensorrt(source: Path, options: GpuOptions, context: Context) -> LoadedModel:
    """A session whose nodes run in TensorRT engines, built at load for the signature's range of shapes.

    The provider has no switch for TF32 but the environment (microsoft/onnxruntime#26029), read once in a process:
    ``NVIDIA_TF32_OVERRIDE`` is set to 0 unless it is set already.
    """
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    providers = [tensorrt_provider(context), cuda_provider(context.device)]
    return _load(source, options, context, providers)


def cuda_provider(device: str) -> run.Provider:
    """The CUDA provider for "cuda" or "cuda:1"."""
    return CUDA, {"device_id": _index(device), "use_tf32": "0"}


def tensorrt_provider(context: Context) -> run.Provider:
    """The TensorRT provider with the range of shapes; without it, every new shape builds the engine again."""
    ranges = shapes(context)
    settings = {"device_id": _index(context.device)}
    if ranges:
        for end in ("min", "opt", "max"):
            settings[f"trt_profile_{end}_shapes"] = ",".join(_written(n, getattr(r, end)) for n, r in ranges.items())
    return TENSORRT, settings


def _written(name: str, shape: Shapes) -> str:
    return f"{name}:{'x'.join(map(str, shape))}"


def _index(device: str) -> str:
    return device.partition(":")[2] or "0"


def _load(source: Path, options: GpuOptions, context: Context, providers: list[run.Provider]) -> LoadedModel:
    preload()
    session = run.open_session(source, run.base_options(options.graph_optimization_level), providers)
    return run.loaded(BoundCall(session, run.bindings(session, context), "cuda", int(_index(context.device))))


def preload() -> None:
    """Load the CUDA and cuDNN that pip installed; without this only those on the library path are found."""
    load = getattr(onnxruntime, "preload_dlls", None)  # since onnxruntime 1.21
    if load is not None:
        load()


class BoundCall:
    """A session called with OrtValues by our names; outputs are new OrtValues on the device, bfloat16 on the host.

    Each call has a binding of its own: a binding that is used twice writes over the outputs it gave before.
    """

    def __init__(self, session: onnxruntime.InferenceSession, names: Bindings, device: str, index: int) -> None:
        self.session = session
        self._names = names
        self._ours = [ours for ours, _ in names.outputs]
        half = run.bfloat16(session)  # these can be read on the host only
        self._outputs = [(theirs, *(("cpu", 0) if theirs in half else (device, index))) for _, theirs in names.outputs]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """New OrtValues by our names, computed when this returns."""
        binding = self.session.io_binding()
        for ours, theirs in self._names.inputs:
            binding.bind_ortvalue_input(theirs, inputs[ours])
        for place in self._outputs:
            binding.bind_output(*place)
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return dict(zip(self._ours, binding.get_outputs(), strict=True))
