"""What navigator-onnx brings, declared. Loading this imports neither onnx nor onnxruntime nor numpy."""

from __future__ import annotations

import os
from typing import Any

from navigator_core import (
    BF16,
    FP16,
    INT8,
    Converter,
    Format,
    Knob,
    Probe,
    Ref,
    Runner,
    Tensors,
    Variant,
    core_counts,
    hookimpl,
)
from navigator_onnx.options import (
    CpuOptions,
    DynamicOptions,
    GpuOptions,
    HalfOptions,
    QdqOptions,
    SlimOptions,
    TensorRTOptions,
)
from navigator_onnx.requirements import ORT_CPU, ORT_GPU, SLIM, TENSORRT

BOTH = ("cpu", "cuda")
"""Of a conversion that is told which device its result is for."""


@hookimpl
def identify_model(model: Any) -> str | None:
    """A path that ends in ``.onnx``, whether or not the file exists: that it is missing is said by `signature`."""
    if isinstance(model, str | os.PathLike) and str(os.fspath(model)).lower().endswith(".onnx"):
        return "onnx"
    return None


@hookimpl
def declare_formats() -> list[Format]:
    return [
        Format(
            name="onnx",
            file="model.onnx",
            signature=Ref("navigator_onnx.source:signature"),
            reference="onnxruntime-cpu",
            noise=Ref("navigator_onnx.noise:noise"),
            companions=Ref("navigator_onnx.source:companions"),
        ),
        Format(name="tensorrt", file="model.plan", portable=False, executes_code=True),
    ]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="ortvalue", source=Ref("navigator_onnx.tensors"))]


@hookimpl
def declare_converters() -> list[Converter]:
    return [
        Converter(
            source="onnx",
            target="tensorrt",
            implementation=Ref("navigator_onnx.trt:convert"),
            options=TensorRTOptions,
            requirements=TENSORRT,
            devices=("cuda",),
        ),
        Converter(
            source="onnx",
            target="onnx",
            implementation=Ref("navigator_onnx.simplify:simplify"),
            options=SlimOptions,
            variants=(Variant("slim"),),
            requirements=(SLIM,),
        ),
        Converter(
            source="onnx",
            target="onnx",
            implementation=Ref("navigator_onnx.half:fp16"),
            options=HalfOptions,
            variants=(Variant("fp16", precision=FP16),),
        ),
        Converter(
            source="onnx",
            target="onnx",
            implementation=Ref("navigator_onnx.half:bf16"),
            options=HalfOptions,
            variants=(Variant("bf16", precision=BF16),),
            devices=("cuda",),
        ),
        Converter(
            source="onnx",
            target="onnx",
            implementation=Ref("navigator_onnx.quantize:dynamic"),
            options=DynamicOptions,
            variants=(Variant("int8-dynamic", precision=INT8),),
            requirements=(ORT_CPU,),
        ),
        Converter(
            source="onnx",
            target="onnx",
            implementation=Ref("navigator_onnx.quantize:qdq"),
            options=QdqOptions,
            variants=(Variant("int8-qdq", precision=INT8),),
            requirements=(ORT_CPU,),
            devices=BOTH,
        ),
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    return [
        Runner(
            name="onnxruntime-cpu",
            formats=("onnx",),
            implementation=Ref("navigator_onnx.run:cpu"),
            options=CpuOptions,
            requirements=(ORT_CPU,),
            knobs=(
                Knob("threads", core_counts()),
                Knob("allow_spinning", (False,)),
                Knob("graph_optimization_level", ("extended", "basic")),
                Knob("execution_mode", ("parallel",)),
            ),
        ),
        Runner(
            name="onnxruntime-cuda",
            formats=("onnx",),
            implementation=Ref("navigator_onnx.run_gpu:cuda"),
            options=GpuOptions,
            requirements=(
                *ORT_GPU,
                Probe(
                    Ref("navigator_onnx.probes:cuda_provider"),
                    remedy="install the CUDA and cuDNN that this onnxruntime-gpu was built for: "
                    "pip install 'onnxruntime-gpu[cuda,cudnn]'",
                ),
            ),
            devices=("cuda",),
            tensors="ortvalue",
        ),
        Runner(
            name="onnxruntime-tensorrt",
            formats=("onnx",),
            implementation=Ref("navigator_onnx.run_gpu:tensorrt"),
            options=GpuOptions,
            requirements=(
                *ORT_GPU,
                Probe(
                    Ref("navigator_onnx.probes:tensorrt_provider"),
                    remedy="install the TensorRT libraries that this onnxruntime-gpu was built for, and put them on "
                    "LD_LIBRARY_PATH (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html)",
                ),
            ),
            devices=("cuda",),
            tensors="ortvalue",
        ),
        Runner(
            name="tensorrt",
            formats=("tensorrt",),
            implementation=Ref("navigator_onnx.trt:load"),
            requirements=TENSORRT,
            devices=("cuda",),
        ),
    ]
