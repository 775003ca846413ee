"""Small real models, and the context that the core would make for them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # workers find `tests.tf.models` there

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries, as they are imported
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

import attrs
import importlib_metadata
import numpy as np
import pytest

from navigator_core import FP32, Context, Dim, Precision, Signature, TensorSpec, samples, tensors
from navigator_core.signature import describe_outputs
from navigator_tf import options, plugin, savedmodel, source

BATCH = Dim("batch", 1, 64)
HAS_ONNX = all(any(importlib_metadata.distributions(name=name)) for name in ("navigator-onnx", "tf2onnx"))
NO_ONNX = "navigator-onnx or tf2onnx is not installed"

tensors.register(plugin.declare_tensors())


def context_for(
    model: Any, given: Any, axes: Mapping[str, Mapping[int, Dim]], *, precision: Precision = FP32
) -> Context:
    """The context of one sample; ``axes`` says which axes are dynamic, by input name."""
    parameters, rest = samples.parameters_of(source.parameters(model))
    calls, _ = samples.read(given)
    found = samples.gather(calls, parameters, rest, None)
    first = samples.initial_signature(found)
    call = first.bind(as_tensors(first, found.arrays[0]))
    node, outputs = describe_outputs(source.prepare(model)(*call.args, **call.kwargs))
    inputs = tuple(attrs.evolve(spec, shape=dynamic(spec, axes.get(spec.name, {}))) for spec in first.inputs)
    specs = tuple(
        TensorSpec(name, tensors.dtype_of(value), (BATCH, *value.shape[1:])) for name, value in outputs.items()
    )
    structure = attrs.evolve(first.structure, output=node)
    return Context(signature=Signature(inputs, specs, structure), samples=found.arrays, precision=precision)


def dynamic(spec: TensorSpec, axes: Mapping[int, Dim]) -> tuple[int | Dim, ...]:
    return tuple(axes.get(place, n) for place, n in enumerate(spec.shape))


def as_tensors(signature: Signature, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    return {s.name: tensors.from_numpy(arrays[s.name], "tensorflow", "cpu", s.dtype) for s in signature.inputs}


def batch_of(context: Context, size: int) -> dict[str, np.ndarray]:
    """Other values of the same shapes, with ``size`` rows."""
    rng = np.random.default_rng(size)
    resized = samples.resize(context.samples[0], context.signature, size)
    return {
        name: rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else rng.permuted(a)
        for name, a in resized.items()
    }


def reference(model: Any, context: Context, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = context.signature.call(source.prepare(model), as_tensors(context.signature, arrays))
    return {name: tensors.to_numpy(value) for name, value in outputs.items()}


def saved(model: Any, context: Context, folder: Path) -> Path:
    """The model as a SavedModel in a folder."""
    savedmodel.export(model, folder / "model.savedmodel", None, context)
    return folder / "model.savedmodel"


@pytest.fixture
def threads() -> options.Threads:
    return options.Threads()
