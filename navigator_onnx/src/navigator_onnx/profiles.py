"""The range of shapes that a TensorRT engine is built for, out of the signature."""

from __future__ import annotations

from attrs import frozen

from navigator_core import Context, Dim
from navigator_core.errors import RequestError
from navigator_core.signature import BATCH

Shapes = tuple[int, ...]


@frozen
class Range:
    """The smallest, the typical and the largest shape of one input."""

    min: Shapes
    opt: Shapes
    max: Shapes


def shapes(context: Context) -> dict[str, Range]:
    """For each dynamic input, by the artifact's name: tuned for the largest batch and the first sample's other axes.

    Raises RequestError for an axis without an upper end.
    """
    ranges = {}
    for spec in context.signature.inputs:
        if not any(isinstance(n, Dim) for n in spec.shape):
            continue
        sample = context.samples[0][spec.name].shape if context.samples else ()
        seen = sample if len(sample) == len(spec.shape) else (None,) * len(spec.shape)
        axes = [_axis(spec.name, n, size) for n, size in zip(spec.shape, seen, strict=True)]
        smallest, typical, largest = zip(*axes, strict=True)
        ranges[context.names.inputs.get(spec.name, spec.name)] = Range(smallest, typical, largest)
    return ranges


def _axis(tensor: str, n: int | Dim, seen: int | None) -> tuple[int, int, int]:
    if not isinstance(n, Dim):
        return n, n, n
    if n.max is None:
        raise RequestError(
            f"axis {n.name!r} of input {tensor!r} has no upper end, which TensorRT needs; give samples that reach it"
        )
    typical = n.max if n.name == BATCH or seen is None else min(max(seen, n.min), n.max)
    return n.min, typical, n.max
