"""TensorRT through Polygraphy: an ONNX file built into an engine, and the engine run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from polygraphy.backend.common import BytesFromPath, SaveBytes
from polygraphy.backend.trt import (
    CreateConfig,
    EngineBytesFromNetwork,
    EngineFromBytes,
    NetworkFromOnnxPath,
    Profile,
    TrtRunner,
)

from navigator_core import Context, LoadedModel
from navigator_core.errors import NavigatorError
from navigator_onnx.names import match
from navigator_onnx.options import TensorRTOptions
from navigator_onnx.profiles import shapes


def convert(source: Path, output: Path, options: TensorRTOptions, context: Context) -> None:
    """Build the engine for the signature's range of shapes and write it. The graph's own types are kept exactly."""
    builder(source, output, options, context)()


def builder(source: Path, output: Path, options: TensorRTOptions, context: Context) -> SaveBytes:
    """What `convert` does, not done yet: Polygraphy needs TensorRT only when this is called.

    Networks are strongly typed (the only kind TensorRT 11 has), and TF32 is off unless asked for by precision.
    """
    _first_device(context.device)
    profile = Profile()
    for name, shape in shapes(context).items():
        profile.add(name, shape.min, shape.opt, shape.max)
    config = CreateConfig(
        profiles=[profile] if profile else None,
        tf32=context.precision.name == "tf32",
        builder_optimization_level=options.optimization_level,
    )
    network = NetworkFromOnnxPath(str(source), strongly_typed=True)
    return SaveBytes(EngineBytesFromNetwork(network, config=config), str(output))


def load(source: Path, options: None, context: Context) -> LoadedModel:
    """The engine, ready to be called with numpy arrays: copies to and from the GPU are part of each call."""
    trt_runner = runner(source, context)
    trt_runner.activate()
    engine = trt_runner.engine
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    takes = list(trt_runner.get_input_metadata())
    bound = match(context, takes, [name for name in names if name not in takes])

    def call(inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        feed = {theirs: np.asarray(inputs[ours], order="C") for ours, theirs in bound.inputs}
        results = trt_runner.infer(feed)
        return {ours: results[theirs].copy() for ours, theirs in bound.outputs}  # the runner reuses its buffers

    return LoadedModel(call, close=trt_runner.deactivate)


def runner(source: Path, context: Context) -> TrtRunner:
    """The runner that `load` activates; nothing is read before that."""
    _first_device(context.device)
    return TrtRunner(EngineFromBytes(BytesFromPath(str(source))))


def _first_device(device: str) -> None:
    if device.partition(":")[2] not in ("", "0"):
        raise NavigatorError(
            f"Polygraphy runs TensorRT on the first visible GPU only, not on {device}; "
            f"set CUDA_VISIBLE_DEVICES={device.partition(':')[2]} and ask for 'cuda'"
        )
