"""What navigator-tf declares. Loading it imports no TensorFlow."""

from __future__ import annotations

from typing import Any

from navigator_core import (
    FP16,
    INT8,
    Converter,
    Device,
    Exporter,
    Format,
    Framework,
    Knob,
    Probe,
    Ref,
    Requirement,
    Runner,
    Tensors,
    Variant,
    core_counts,
    hookimpl,
)
from navigator_tf.options import LiteRt, Threads, ToOnnx, ToTfLite, ToTfTrt
from navigator_tf.recognise import kind_of

DEVICES = ("cpu", "cuda")
LIVE = ("keras", "tensorflow")
TENSORFLOW = Requirement(
    ("tensorflow>=2.17", "tensorflow-cpu>=2.17"),
    remedy="pip install 'navigator-tf[cpu]'",
)
LITERT = Requirement(
    ("ai-edge-litert>=1.2", "tensorflow>=2.17", "tensorflow-cpu>=2.17"), remedy="pip install 'navigator-tf[litert]'"
)
ONNX = (
    Requirement("navigator-onnx"),
    Requirement("tf2onnx>=1.17", remedy="pip install 'navigator-tf[onnx]'"),
    Requirement("onnx"),
    TENSORFLOW,
)
TENSORRT = (
    TENSORFLOW,
    Probe(
        Ref("navigator_tf.probes:tensorrt"),
        remedy="give it an environment of its own, with Python 3.11, tensorflow 2.17 and TensorRT 8.6, or NVIDIA's "
        "container for TensorFlow: `navigator env add`. Without it, TensorRT is reached through ONNX",
    ),
)


@hookimpl
def identify_model(model: Any) -> str | None:
    return kind_of(model)


@hookimpl
def declare_formats() -> list[Format | Framework]:
    return [
        *(
            Framework(name=name, source=Ref("navigator_tf.source"), reference="tf-eager", tensors="tensorflow")
            for name in LIVE
        ),
        Format(
            name="savedmodel",
            file="model.savedmodel",
            signature=Ref("navigator_tf.savedmodel:signature"),
            reference="savedmodel",
            noise=Ref("navigator_tf.savedmodel:noise"),
            truth=Ref("navigator_tf.savedmodel:truth"),
            executes_code=True,
        ),
        Format(name="tflite", file="model.tflite", instead="give the SavedModel that it was made from"),
        Format(
            name="tf-trt",
            file="model.savedmodel",
            portable=False,
            executes_code=True,
            instead="it was built for one kind of GPU; give the SavedModel that it was made from",
        ),
    ]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="tensorflow", source=Ref("navigator_tf.tensors"))]


@hookimpl
def declare_devices() -> list[Device]:
    return [Device(kind="cuda", detect=Ref("navigator_tf.devices:cuda"))]


@hookimpl
def declare_exporters() -> list[Exporter]:
    return [
        Exporter(
            source=name,
            target="savedmodel",
            implementation=Ref("navigator_tf.savedmodel:export"),
            requirements=(TENSORFLOW,),
        )
        for name in LIVE
    ]


@hookimpl
def declare_converters() -> list[Converter]:
    return [
        Converter(
            source="savedmodel",
            target="onnx",
            implementation=Ref("navigator_tf.onnx:convert"),
            options=ToOnnx,
            requirements=ONNX,
        ),
        Converter(
            source="savedmodel",
            target="tflite",
            implementation=Ref("navigator_tf.tflite:convert"),
            options=ToTfLite,
            variants=(
                Variant("", ToTfLite()),
                Variant("int8-dynamic", ToTfLite(weights="int8"), INT8),
                Variant("fp16", ToTfLite(weights="fp16"), FP16),
            ),
            requirements=(TENSORFLOW,),
        ),
        Converter(
            source="savedmodel",
            target="tf-trt",
            implementation=Ref("navigator_tf.trt:convert"),
            options=ToTfTrt,
            variants=(Variant("", ToTfTrt()), Variant("fp16", ToTfTrt(precision_mode="FP16"), FP16)),
            requirements=TENSORRT,
            devices=("cuda",),
        ),
    ]


@hookimpl
def declare_runners() -> list[Runner]:
    live = [
        Runner(
            name=name,
            formats=LIVE,
            implementation=Ref(f"navigator_tf.run:{implementation}"),
            options=Threads,
            requirements=(TENSORFLOW,),
            devices=DEVICES,
            tensors="tensorflow",
        )
        for name, implementation in (("tf-eager", "eager"), ("tf-graph", "graph"), ("tf-xla", "xla"))
    ]
    return [
        *live,
        Runner(
            name="savedmodel",
            formats=("savedmodel",),
            implementation=Ref("navigator_tf.savedmodel:run"),
            options=Threads,
            requirements=(TENSORFLOW,),
            devices=DEVICES,
            tensors="tensorflow",
        ),
        Runner(
            name="litert",
            formats=("tflite",),
            implementation=Ref("navigator_tf.litert:run"),
            options=LiteRt,
            requirements=(LITERT,),
            knobs=(Knob("threads", core_counts()),),
        ),
        Runner(
            name="tf-trt",
            formats=("tf-trt",),
            implementation=Ref("navigator_tf.savedmodel:run"),
            options=Threads,
            requirements=TENSORRT,
            devices=("cuda",),
            tensors="tensorflow",
        ),
    ]
