"""A plugin that lives in the other environment of test_environments.py only; nothing here may import it."""

import json
import os

import numpy as np
from attrs import field, frozen, validators

from navigator_core import (
    Converter,
    Device,
    DeviceInfo,
    Dim,
    Format,
    LoadedModel,
    Probe,
    Ref,
    Requirement,
    Runner,
    Signature,
    TensorSpec,
    Variant,
    hookimpl,
)

print("the lab plugin was imported, and says so on stdout")


@frozen
class Settings:
    """Options of ``lab``: with a converter, a validator, and a rule that spans both fields."""

    repeat: int = field(default=1, converter=lambda value: abs(value), validator=validators.instance_of(int))
    order: tuple[str, ...] = ()

    def __attrs_post_init__(self):
        if self.repeat > 3 and not self.order:
            raise ValueError("more than 3 repetitions need an order")


@hookimpl
def identify_model(model):
    print("asked")
    return "lab-json" if isinstance(model, str | os.PathLike) and str(model).endswith(".lab") else None


@hookimpl
def declare_formats():
    return [
        Format(name="lab-json", file="model.lab", signature=Ref("lab:signature"), reference="lab"),
    ]


@hookimpl
def declare_converters():
    return [
        Converter(source="mini-npz", target="lab-json", implementation=Ref("lab:convert"), variants=[Variant("packed")])
    ]


@hookimpl
def declare_devices():
    return [Device(kind="npu", detect=Ref("lab:devices"))]


@hookimpl
def declare_runners():
    return [
        Runner(name="lab", formats=("lab-json",), implementation=Ref("lab:load"), options=Settings),
        Runner(
            name="lab-sick",
            formats=("lab-json",),
            implementation=Ref("lab:load"),
            requirements=[Probe(Ref("lab:fever"), remedy="drink tea")],
        ),
        Runner(
            name="lab-bare",
            formats=("lab-json",),
            implementation=Ref("lab:load"),
            requirements=[Requirement("no-such-thing>=2")],
        ),
    ]


def devices():
    print("detecting")
    return [DeviceInfo("npu:7", "a made-up one", 0)]


def fever():
    print("probing")
    return "it has a fever"


def signature(path):
    layer = json.loads(path.read_text())
    rows, columns = np.asarray(layer["weight"]).shape
    batch = Dim("batch")
    return Signature((TensorSpec("x", "float32", (batch, rows)),), (TensorSpec("y", "float32", (batch, columns)),))


def convert(source, output, options, context):
    with np.load(source) as file:
        output.write_text(json.dumps({"weight": file["weight"].tolist(), "bias": file["bias"].tolist()}))


def load(source, options, context):
    """``max(x @ weight + bias, 0)``; an input of -1 everywhere raises, one of -2 never comes back."""
    assert options in (Settings(1), Settings(2)), options
    layer = json.loads(source.read_text())
    weight, bias = np.asarray(layer["weight"], np.float32), np.asarray(layer["bias"], np.float32)
    (x,) = context.signature.inputs
    name = context.signature.outputs[0].name if context.signature.outputs else "y"  # none, while they are found out

    def call(inputs):
        given = inputs[x.name]
        print("called")
        if given.size and (given == -1).all():
            raise ValueError("all of it is -1")
        if given.size and (given == -2).all():
            while True:
                pass
        given += 0  # as some runtimes do: the caller's own array must not be theirs
        return {name: np.maximum(given @ weight + bias, 0)}

    return LoadedModel(call)
