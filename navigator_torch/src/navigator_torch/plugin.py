"""What navigator-torch declares. Loading it imports no torch."""

from __future__ import annotations

from typing import Any

from navigator_core import (
    Device,
    Exporter,
    Format,
    Framework,
    Probe,
    Ref,
    Requirement,
    Runner,
    Tensors,
    Variant,
    hookimpl,
    type_names,
)
from navigator_torch.options import Compile, Eager, Onnx, TorchScript, ToTorchScript

DEVICES = ("cpu", "cuda")
TORCH = Requirement("torch>=2.6")


@hookimpl
def identify_model(model: Any, sample: Any) -> str | None:
    return "torch" if "torch.nn.modules.module.Module" in type_names(model) else None


@hookimpl
def declare_formats() -> list[Format | Framework]:
    return [
        Framework(name="torch", source=Ref("navigator_torch.source"), reference="torch-eager", tensors="torch"),
        Format(name="torchscript", file="model.pt", executes_code=True),
    ]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="torch", source=Ref("navigator_torch.tensors"))]


@hookimpl
def declare_devices() -> list[Device]:
    return [Device(kind="cuda", detect=Ref("navigator_torch.devices:cuda"))]


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
            requirements=(Requirement("navigator-onnx"), Requirement("onnx"), Requirement("onnxscript"), TORCH),
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
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
        ),
        Runner(
            name="torch-compile",
            formats=("torch",),
            implementation=Ref("navigator_torch.compile:run"),
            options=Compile,
            requirements=(
                TORCH,
                Probe(
                    Ref("navigator_torch.devices:compiler"),
                    remedy="install g++, or name a C++ compiler in the environment: CXX=clang++",
                ),
            ),
            devices=DEVICES,
            tensors="torch",
        ),
        Runner(
            name="torchscript",
            formats=("torchscript",),
            implementation=Ref("navigator_torch.torchscript:run"),
            options=TorchScript,
            requirements=(TORCH,),
            devices=DEVICES,
            tensors="torch",
        ),
    ]
