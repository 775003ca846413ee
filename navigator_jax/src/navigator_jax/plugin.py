"""What navigator-jax declares. Loading it imports no JAX."""

from __future__ import annotations

from typing import Any

from navigator_core import Device, Exporter, Format, Framework, Ref, Requirement, Runner, Tensors, hookimpl
from navigator_jax.options import ToOnnx, ToSavedModel, ToStableHlo
from navigator_jax.recognise import is_model

DEVICES = ("cpu", "cuda")
JAX = Requirement("jax>=0.10")
EXPORTED = (JAX, Requirement("flatbuffers"))  # jax.export writes and reads with it, and does not bring it
ONNX = (
    Requirement("navigator-onnx"),
    Requirement("jax2onnx>=0.17", remedy="pip install 'navigator-jax[onnx]'"),
    Requirement("onnx"),
    JAX,
)
SAVED = (
    Requirement("navigator-tf"),
    Requirement(("tensorflow>=2.17", "tensorflow-cpu>=2.17"), remedy="pip install 'navigator-tf[cpu]'"),
    JAX,
)
ONE_OPERATION = "what jax2tf writes is one operation of TensorFlow, XlaCallModule, which {} does not know"
DEAD_ENDS = {
    "onnx": f"{ONE_OPERATION.format('tf2onnx')}; jax->onnx goes there directly",
    "tflite": ONE_OPERATION.format("TFLite's interpreter"),
    "openvino": f"{ONE_OPERATION.format('OpenVINO')}; jax->onnx->openvino goes there",
}


@hookimpl
def identify_model(model: Any, sample: Any) -> str | None:
    return "jax" if is_model(model, sample) else None


@hookimpl
def declare_formats() -> list[Format | Framework]:
    return [
        Framework(name="jax", source=Ref("navigator_jax.source"), reference="jax-eager", tensors="jax"),
        Format(
            name="stablehlo",
            file="model.stablehlo",
            executes_code=True,
            instead="load it with jax.export.deserialize, and give its .call with samples",
        ),
    ]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="jax", source=Ref("navigator_jax.tensors"))]


@hookimpl
def declare_devices() -> list[Device]:
    return [Device(kind="cuda", detect=Ref("navigator_jax.devices:cuda"))]


@hookimpl
def declare_exporters() -> list[Exporter]:
    return [
        Exporter(
            source="jax",
            target="stablehlo",
            implementation=Ref("navigator_jax.stablehlo:export"),
            options=ToStableHlo,
            requirements=EXPORTED,
            devices=DEVICES,
        ),
        Exporter(
            source="jax",
            target="savedmodel",
            implementation=Ref("navigator_jax.savedmodel:export"),
            options=ToSavedModel,
            requirements=SAVED,
            devices=DEVICES,
            dead_ends=DEAD_ENDS,
        ),
        Exporter(
            source="jax",
            target="onnx",
            implementation=Ref("navigator_jax.onnx:export"),
            options=ToOnnx,
            requirements=ONNX,
        ),
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    return [
        Runner(
            name=name,
            formats=(source,),
            implementation=Ref(f"navigator_jax.{implementation}"),
            requirements=EXPORTED if name == "stablehlo" else (JAX,),
            devices=DEVICES,
            tensors="jax",
        )
        for name, source, implementation in (
            ("jax-eager", "jax", "run:eager"),
            ("jax-jit", "jax", "run:jit"),
            ("jax-aot", "jax", "run:aot"),
            ("stablehlo", "stablehlo", "stablehlo:run"),
        )
    ]
