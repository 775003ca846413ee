"""Small real models, and the context that the core would make for them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # workers find `tests.jax.models` there

import attrs
import importlib_metadata
import jax
import numpy as np
import pytest

from navigator_core import FP32, Context, Dim, Precision, Signature, TensorSpec, samples, tensors
from navigator_core.signature import describe_outputs
from navigator_jax import plugin, source

from . import models

BATCH = Dim("batch", 1, 64)
HAS_ONNX = all(any(importlib_metadata.distributions(name=name)) for name in ("navigator-onnx", "jax2onnx"))
NO_ONNX = "navigator-onnx or jax2onnx is not installed"

tensors.register(plugin.declare_tensors())


def context_for(
    model: Any,
    given: Any,
    axes: Mapping[str, Mapping[int, Dim]],
    *,
    device: str = "cpu",
    precision: Precision = FP32,
) -> Context:
    """The context of one sample; ``axes`` says which axes are dynamic, by input name."""
    parameters, rest = samples.parameters_of(source.parameters(model))
    calls, _ = samples.read(given)
    found = samples.gather(calls, parameters, rest, None)
    first = samples.initial_signature(found)
    inputs = tuple(
        attrs.evolve(spec, shape=tuple(axes.get(spec.name, {}).get(i, n) for i, n in enumerate(spec.shape)))
        for spec in first.inputs
    )
    call = first.bind(as_jax(first, found.arrays[0]))
    node, outputs = describe_outputs(source.prepare(model)(*call.args, **call.kwargs))
    specs = tuple(TensorSpec(name, tensors.dtype_of(value), tuple(value.shape)) for name, value in outputs.items())
    structure = attrs.evolve(first.structure, output=node)
    return Context(
        signature=Signature(inputs, specs, structure), samples=found.arrays, device=device, precision=precision
    )


def as_jax(signature: Signature, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
    return {s.name: tensors.from_numpy(arrays[s.name], "jax", "cpu", s.dtype) for s in signature.inputs}


def batch_of(context: Context, size: int) -> dict[str, np.ndarray]:
    """Other values of the same shapes, with ``size`` rows."""
    rng = np.random.default_rng(size)
    resized = samples.resize(context.samples[0], context.signature, size)
    return {
        name: rng.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else rng.permuted(a)
        for name, a in resized.items()
    }


def reference(model: Any, context: Context, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = context.signature.call(source.prepare(model), as_jax(context.signature, arrays))
    return {name: tensors.to_numpy(value) for name, value in outputs.items()}


@pytest.fixture
def conv_net() -> models.ConvNet:
    return models.MODELS["flax nnx: convolutions, batch norm, dropout"][0]()
