"""What navigator-torch declares. Loading it imports no torch."""

from __future__ import annotations

from typing import Any

from navigator_core import (
    BF16,
    FP16,
    Converter,
    Device,
    Exporter,
    Format,
    Framework,
    Knob,
    Probe,
    Profiler,
    Ref,
    Requirement,
    Runner,
    Tensors,
    Variant,
    core_counts,
    hookimpl,
    type_names,
)
from navigator_torch.files import format_of
from navigator_torch.options import (
    Compile,
    Eager,
    ExportedProgram,
    Onnx,
    OnnxByTorchScript,
    ToAotInductor,
    ToExportedProgram,
    TorchScript,
    ToTorchScript,
)

MODELS = {"torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"}
DEVICES = ("cpu", "cuda")
TORCH = Requirement("torch>=2.6")
ONNX = (Requirement("navigator-onnx"), Requirement("onnx"), Requirement("onnxscript"), TORCH)
COMPILER = Probe(
    Ref("navigator_torch.devices:compiler"),
    remedy="install g++, or name a C++ compiler in the environment: CXX=clang++",
)
HAS_BF16 = Probe(Ref("navigator_torch.devices:bf16"), remedy="run it on a GPU, or a CPU with avx512_bf16 or amx_bf16")
HAS_FP16 = Probe(
    Ref("navigator_torch.devices:fp16"), remedy="run it on a CPU with avx512_fp16 or amx_fp16, or on a GPU"
)
HAS_GPU = Probe(
    Ref("navigator_torch.devices:gpu"),
    remedy="to search on a CPU all the same, which takes minutes: options={'@torch-compile': {'mode': 'max-autotune'}}",
)

THREADS = Knob("threads", core_counts(), devices=("cpu",))


@hookimpl
def identify_model(model: Any, sample: Any) -> str | None:
    return "torch" if type_names(model) & MODELS else format_of(model)


@hookimpl
def declare_formats() -> list[Format | Framework]:
    return [
        Framework(name="torch", source=Ref("navigator_torch.source"), reference="torch-eager", tensors="torch"),
        Format(
            name="torchscript",
            file="model.pt",
            executes_code=True,
            instead="load it with torch.jit.load, and give the module with samples",
        ),
        Format(
            name="exported-program",
            file="model.pt2",
            executes_code=True,
            instead="load it with torch.export.load, and give the program with samples",
        ),
        Format(
            name="aotinductor",
            file="model.pt2",
            portable=False,
            executes_code=True,
            instead="it was compiled for one machine; give the model that it was made from",
        ),
    ]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="torch", source=Ref("navigator_torch.tensors"))]


@hookimpl
def declare_devices() -> list[Device]:
    return [
        Device(kind="cuda", detect=Ref("navigator_torch.devices:cuda"), clocks=Ref("navigator_torch.devices:clocks"))
    ]


@hookimpl
def declare_exporters() -> list[Exporter]:
    return [
        Exporter(
            source="torch",
            target="torchscript",
            implementation=Ref("navigator_torch.torchscript:export"),
            options=ToTorchScript,
            variants=(
                Variant("trace", ToTorchScript(method="trace")),
                Variant("script", ToTorchScript(method="script")),
            ),
            requirements=(TORCH,),
            devices=DEVICES,
        ),
        Exporter(
            source="torch",
            target="onnx",
            implementation=Ref("navigator_torch.export:onnx"),
            options=Onnx,
            variants=(Variant("dynamo", Onnx()),),
            requirements=ONNX,
            devices=DEVICES,
        ),
        Exporter(
            source="torch",
            target="onnx",
            implementation=Ref("navigator_torch.onnx_by_torchscript:onnx"),
            options=OnnxByTorchScript,
            variants=(
                Variant("torchscript", OnnxByTorchScript(method="trace")),
                Variant("script", OnnxByTorchScript(method="script")),
            ),
            requirements=ONNX,
            devices=DEVICES,
        ),
        Exporter(
            source="torch",
            target="exported-program",
            implementation=Ref("navigator_torch.exported:export"),
            options=ToExportedProgram,
            variants=(
                Variant("", ToExportedProgram()),
                Variant("bf16", ToExportedProgram(autocast="bf16"), BF16, HAS_BF16),
                Variant("fp16", ToExportedProgram(autocast="fp16"), FP16, HAS_FP16),
            ),
            requirements=(TORCH,),
            devices=DEVICES,
        ),
    ]


@hookimpl
def declare_converters() -> list[Converter]:
    return [
        Converter(
            source="exported-program",
            target="aotinductor",
            implementation=Ref("navigator_torch.aotinductor:convert"),
            options=ToAotInductor,
            requirements=(TORCH, COMPILER),
            devices=DEVICES,
        ),
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    return [
        Runner(
            name="torch-eager",
            formats=("torch",),
            implementation=Ref("navigator_torch.run:eager"),
            options=Eager,
            variants=(
                Variant("", Eager()),
                Variant("bf16", Eager(autocast="bf16"), BF16, HAS_BF16),
                Variant("fp16", Eager(autocast="fp16"), FP16, HAS_FP16),
                Variant("channels-last", Eager(channels_last=True)),
            ),
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
            knobs=(THREADS,),
        ),
        Runner(
            name="torch-compile",
            formats=("torch",),
            implementation=Ref("navigator_torch.compile:run"),
            options=Compile,
            variants=(
                Variant("", Compile()),
                Variant("freezing", Compile(freezing=True)),
                Variant("freezing-bf16", Compile(freezing=True, autocast="bf16"), BF16, HAS_BF16),
                Variant("freezing-fp16", Compile(freezing=True, autocast="fp16"), FP16, HAS_FP16),
                Variant("max-autotune", Compile(mode="max-autotune"), requirements=HAS_GPU),
            ),
            requirements=(TORCH, COMPILER),
            devices=DEVICES,
            tensors="torch",
            knobs=(THREADS,),
        ),
        Runner(
            name="torchscript",
            formats=("torchscript",),
            implementation=Ref("navigator_torch.torchscript:run"),
            options=TorchScript,
            variants=(
                Variant("", TorchScript()),
                Variant("optimized", TorchScript(optimize_for_inference=True)),
            ),
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
            knobs=(THREADS,),
        ),
        Runner(
            name="exported-program",
            formats=("exported-program",),
            implementation=Ref("navigator_torch.exported:run"),
            options=ExportedProgram,
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
            knobs=(THREADS,),
        ),
        Runner(
            name="aotinductor",
            formats=("aotinductor",),
            implementation=Ref("navigator_torch.aotinductor:run"),
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
        ),
    ]


@hookimpl
def declare_profilers() -> list[Profiler]:
    return [
        Profiler(
            name="device-time",
            unit="s",
            implementation=Ref("navigator_torch.profile:device_time"),
            tensors="torch",
            devices=("cuda",),
            requirements=(TORCH,),
        ),
        Profiler(
            name="torch-memory",
            unit="B",
            implementation=Ref("navigator_torch.profile:device_memory"),
            tensors="torch",
            memory="cuda",
            devices=("cuda",),
            requirements=(TORCH,),
        ),
    ]
