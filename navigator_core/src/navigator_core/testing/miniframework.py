"""A whole framework in one small file: models, tensors, two formats, exporter, converter, runners, profiler.

It shows how little a framework needs, and that bringing one changes nothing in the core. Tests use it as a plugin::

    with testing.using(miniframework):
        nav.optimize(miniframework.Model(weight, bias), miniframework.Array(x))

A real plugin spreads this over plugin.py, source.py, tensors.py, export.py, convert.py and run.py.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
from attrs import field, frozen, validators

from navigator_core import (
    FP16,
    FP32,
    Context,
    Converter,
    Exporter,
    Format,
    Framework,
    LoadedModel,
    Profiler,
    Ref,
    Runner,
    Tensors,
    Variant,
    hookimpl,
    type_names,
)

HERE = __name__


# the framework: what a user of it has in hand


@frozen(eq=False)
class Array:
    """Its tensors."""

    value: np.ndarray


@frozen(eq=False)
class Model:
    """Its models: one dense layer, ``max(x @ weight + bias, 0)``."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: Array) -> Array:
        return Array(dense(x.value, self.weight, self.bias))


def dense(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """All that it can compute."""
    answer: np.ndarray = np.maximum(x @ weight + bias, 0)
    return answer


# plugin.py: what the plugin declares


@frozen
class Storage:
    """Options of the converter."""

    dtype: str = field(default="float32", validator=validators.in_(("float32", "float16")))


@hookimpl
def identify_model(model: Any) -> str | None:
    return "mini" if f"{HERE}.Model" in type_names(model) else None


@hookimpl
def declare_formats() -> list[Format | Framework]:
    live = Framework(name="mini", source=Ref(HERE), reference="mini-eager", tensors="mini")
    return [live, Format(name="mini-json", file="model.json"), Format(name="mini-npz", file="model.npz")]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="mini", source=Ref(HERE))]


@hookimpl
def declare_exporters() -> list[Exporter]:
    return [Exporter(source="mini", target="mini-json", implementation=Ref(f"{HERE}:export"))]


@hookimpl
def declare_converters() -> list[Converter]:
    variants = Variant("fp32", Storage(), FP32), Variant("fp16", Storage("float16"), FP16)
    build = Ref(f"{HERE}:convert")
    return [Converter(source="mini-json", target="mini-npz", implementation=build, options=Storage, variants=variants)]


@hookimpl
def declare_runners() -> list[Runner]:
    return [
        Runner(name="mini-eager", formats=("mini",), tensors="mini", implementation=Ref(f"{HERE}:eager")),
        Runner(name="mini-runtime", formats=("mini-npz",), implementation=Ref(f"{HERE}:load")),
    ]


@hookimpl
def declare_profilers() -> list[Profiler]:
    return [Profiler(name="mini-cpu-time", unit="s", implementation=Ref(f"{HERE}:cpu_time"))]


# source.py: what the core asks of a live model


def parameters(model: Model) -> inspect.Signature:
    return inspect.signature(model)


def fingerprint(model: Model) -> str:
    return hashlib.sha256(repr((model.weight.tolist(), model.bias.tolist())).encode()).hexdigest()


# tensors.py


def is_tensor(value: Any) -> bool:
    return f"{HERE}.Array" in type_names(value)


def to_numpy(tensor: Array) -> np.ndarray:
    return tensor.value


def from_numpy(array: np.ndarray, device: str, dtype: str) -> Array:
    return Array(np.asarray(array, dtype))


# export.py, convert.py, run.py


def export(model: Model, output: Path, options: None, context: Context) -> None:
    output.write_text(json.dumps({"weight": model.weight.tolist(), "bias": model.bias.tolist()}))


def convert(source: Path, output: Path, options: Storage, context: Context) -> None:
    layer = json.loads(source.read_text())
    np.savez(output, weight=np.asarray(layer["weight"], options.dtype), bias=np.asarray(layer["bias"], options.dtype))


def eager(model: Model, options: None, context: Context) -> LoadedModel:
    return LoadedModel(partial(context.signature.call, model))


def load(source: Path, options: None, context: Context) -> LoadedModel:
    with np.load(source) as file:
        weight, bias = file["weight"].astype(np.float32), file["bias"].astype(np.float32)
    (x,), (y,) = context.signature.inputs, context.signature.outputs

    def call(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {y.name: dense(inputs[x.name], weight, bias)}

    return LoadedModel(call, thread_safe=True)


def cpu_time(context: Context) -> Callable[[Callable[[], Any]], float]:
    def measure(call: Callable[[], Any]) -> float:
        start = process_time()
        call()
        return process_time() - start

    return measure
