"""What navigator-openvino brings, declared. Loading this imports neither openvino nor numpy."""

from __future__ import annotations

from navigator_core import (
    BF16,
    FP16,
    FP32,
    INT8,
    Converter,
    Format,
    Knob,
    Probe,
    Ref,
    Requirement,
    Runner,
    Variant,
    core_counts,
    hookimpl,
)
from navigator_openvino.options import CpuOptions, Int8Options

OPENVINO = Requirement("openvino>=2025.1")
TORCH = Requirement("torch>=2.6", remedy="pip install navigator-torch")
NNCF = Requirement("nncf>=2.16", remedy="pip install 'navigator-openvino[int8]'")
HAS_BF16 = Probe(
    Ref("navigator_openvino.probes:bf16"), remedy="run it on a CPU with AVX-512 or AMX, or one with bf16 instructions"
)
HAS_FP16 = Probe(
    Ref("navigator_openvino.probes:fp16"), remedy="run it on a CPU with avx512_fp16 or amx_fp16, or on Arm"
)


@hookimpl
def declare_formats() -> list[Format]:
    return [Format(name="openvino", file="model.xml")]


@hookimpl
def declare_converters() -> list[Converter]:
    return [
        Converter(
            source="onnx",
            target="openvino",
            implementation=Ref("navigator_openvino.convert:convert"),
            requirements=(OPENVINO,),
            from_passes=False,  # OpenVINO simplifies and rounds by itself, and quantizes by NNCF
        ),
        Converter(
            source="savedmodel",
            target="openvino",
            implementation=Ref("navigator_openvino.convert:convert"),
            requirements=(OPENVINO,),
            from_passes=False,
        ),
        Converter(
            source="exported-program",
            target="openvino",
            implementation=Ref("navigator_openvino.program:convert"),
            requirements=(OPENVINO, TORCH),
            from_passes=False,
        ),
        Converter(
            source="openvino",
            target="openvino",
            implementation=Ref("navigator_openvino.quantize:int8"),
            options=Int8Options,
            variants=(Variant("int8", precision=INT8),),
            requirements=(OPENVINO, NNCF),
        ),
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    static = CpuOptions(static=True)
    return [
        Runner(
            name="openvino-cpu",
            formats=("openvino",),
            implementation=Ref("navigator_openvino.run:cpu"),
            options=CpuOptions,
            variants=(
                Variant("", CpuOptions()),
                Variant("static", static),
                Variant("fp32", static, FP32),  # of models in float64, which OpenVINO computes so
                Variant("bf16", static, BF16, HAS_BF16),
                Variant("fp16", static, FP16, HAS_FP16),
            ),
            requirements=(OPENVINO,),
            knobs=(
                Knob("threads", core_counts()),
                Knob("streams", core_counts()),
                Knob("hint", ("throughput",)),
            ),
        )
    ]
