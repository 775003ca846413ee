"""What navigator-onnx brings, declared. Loading this imports neither onnx nor onnxruntime nor numpy."""

from __future__ import annotations

import os
from typing import Any

from navigator_core import Converter, Format, Probe, Ref, Requirement, Runner, Tensors, hookimpl
from navigator_onnx.options import CpuOptions, GpuOptions, TensorRTOptions

ORT_CPU = Requirement(("onnxruntime>=1.18", "onnxruntime-gpu>=1.18"), remedy="pip install 'navigator-onnx[cpu]'")
ORT_GPU = (
    Requirement("onnxruntime-gpu>=1.18", remedy="pip install 'navigator-onnx[gpu]'"),
    Probe(
        Ref("navigator_onnx.probes:one_onnxruntime"),
        remedy="pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu",
    ),
)
TENSORRT = (
    Requirement(("tensorrt>=10", "tensorrt-cu13>=10", "tensorrt-cu12>=10"), "pip install 'navigator-onnx[tensorrt]'"),
    Requirement("polygraphy>=0.49", "pip install 'navigator-onnx[tensorrt]'"),
    Probe(
        Ref("navigator_onnx.probes:tensorrt"),
        remedy="install the TensorRT libraries that match the NVIDIA driver (https://docs.nvidia.com/deeplearning/tensorrt)",
    ),
)


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
        Format(name="tensorrt", file="model.plan", portable=False),
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
        )
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
