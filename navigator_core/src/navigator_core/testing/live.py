"""What a test of a framework's plugin begins with: a live model, and the context that the core would make for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
from attrs import frozen

from navigator_core import samples, tensors
from navigator_core.declarations import FP32, Context, Precision
from navigator_core.signature import Dim, Signature, TensorSpec, describe_outputs


@frozen
class Live:
    """``source`` is the module that `Framework.source` refers to, ``kind`` the name of the framework's tensors."""

    source: Any
    kind: str

    def context(
        self,
        model: Any,
        given: Any,
        axes: Mapping[str, Mapping[int, Dim]],
        *,
        device: str = "cpu",
        precision: Precision = FP32,
    ) -> Context:
        """The context of one sample; ``axes`` says which axes are dynamic, by input name."""
        parameters, rest = samples.parameters_of(self.source.parameters(model))
        calls, _ = samples.read(given)
        found = samples.gather(calls, parameters, rest, None)
        first = samples.initial_signature(found)
        inputs = tuple(
            attrs.evolve(spec, shape=tuple(axes.get(spec.name, {}).get(i, n) for i, n in enumerate(spec.shape)))
            for spec in first.inputs
        )
        call = first.bind(self.tensors(first, found.arrays[0]))
        node, outputs = describe_outputs(self.source.prepare(model)(*call.args, **call.kwargs))
        specs = tuple(TensorSpec(name, tensors.dtype_of(value), tuple(value.shape)) for name, value in outputs.items())
        assert first.structure is not None  # a live model's arguments have one
        structure = attrs.evolve(first.structure, output=node)
        return Context(
            signature=Signature(inputs, specs, structure), samples=found.arrays, device=device, precision=precision
        )

    def tensors(self, signature: Signature, arrays: Mapping[str, np.ndarray], device: str = "cpu") -> dict[str, Any]:
        """The framework's tensors of these arrays, by name."""
        return {s.name: tensors.from_numpy(arrays[s.name], self.kind, device, s.dtype) for s in signature.inputs}

    def answer(self, model: Any, context: Context, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What the model itself answers."""
        outputs = context.signature.call(self.source.prepare(model), self.tensors(context.signature, arrays))
        return {name: tensors.to_numpy(value) for name, value in outputs.items()}


def batch_of(context: Context, size: int) -> dict[str, np.ndarray]:
    """Other values than the first sample's, of the same shapes, with ``size`` rows."""
    draw = np.random.default_rng(size)
    resized = samples.resize(context.samples[0], context.signature, size)
    return {
        name: draw.standard_normal(a.shape).astype(a.dtype) if a.dtype.kind == "f" else draw.permuted(a)
        for name, a in resized.items()
    }
