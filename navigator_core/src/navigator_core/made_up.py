"""Samples that nobody has: sizes and ranges of values as the caller says them, completed by what a file declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import Factory, evolve, frozen

from navigator_core import structure as trees
from navigator_core import tensors
from navigator_core.errors import RequestError, unknown
from navigator_core.signature import BATCH, Call, Dim, Signature, TensorSpec

SEED = 20260101

Range = tuple[float, float]


@frozen(kw_only=True)
class MadeUp:
    """Given in place of samples. ``shapes`` of an input are those of several samples, the last standing for the rest.

    ``ranges`` are the smallest and the largest value of an input; without one, floats are normal and integers 0 or 1.
    """

    shapes: Mapping[str, Sequence[tuple[int, ...]]] = Factory(dict)
    ranges: Mapping[str, Range] = Factory(dict)

    def calls(self, declared: Signature | None) -> tuple[Call, ...]:
        """The samples, with a `TensorSpec` for each tensor.

        A size said of one input holds for every axis of that name. Without a declaration the inputs are those with a
        shape, int64 where their range is of integers and else float32. Raises RequestError for an unknown input.
        """
        known = self.shapes if declared is None else [spec.name for spec in declared.inputs]
        for name in (*self.shapes, *self.ranges):
            if name not in known:
                raise unknown("input", name, known)
        specs = tuple(map(self._undeclared, self.shapes)) if declared is None else declared.inputs
        count = max(map(len, self.shapes.values()), default=1)
        return tuple(Call((), self._sample(specs, number)) for number in range(count))

    def _undeclared(self, name: str) -> TensorSpec:
        whole = name in self.ranges and all(isinstance(bound, int) for bound in self.ranges[name])
        return TensorSpec(name, "int64" if whole else "float32", ())

    def _sample(self, specs: Sequence[TensorSpec], number: int) -> dict[str, TensorSpec]:
        given = {name: shapes[min(number, len(shapes) - 1)] for name, shapes in self.shapes.items()}
        sizes: dict[str, int] = {}
        for spec in specs:
            for n, size in zip(spec.shape, given.get(spec.name, ()), strict=False):
                if isinstance(n, Dim):
                    sizes.setdefault(n.name, size)
        return {spec.name: evolve(spec, shape=given.get(spec.name, _sized(spec, sizes))) for spec in specs}


def _sized(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int | Dim, ...]:
    return tuple(sizes.get(n.name, n) if isinstance(n, Dim) else n for n in spec.shape)


def has_specs(value: Any) -> bool:
    """Whether a `TensorSpec` stands somewhere in place of a tensor."""
    if isinstance(value, TensorSpec):
        return True
    if isinstance(value, Call):
        return any(map(has_specs, (*value.args, *value.kwargs.values())))
    items = None if tensors.is_tensor(value) else trees.children(value)
    return any(map(has_specs, items[1].values())) if items else False


def make_up(call: Call, ranges: Mapping[str, Range] | None = None) -> Iterator[Call]:
    """Seeded values for every `TensorSpec` in a call; two calls of different sizes where an axis is dynamic.

    ``ranges`` are the smallest and the largest value by the spec's name.

    Raises RequestError for a dynamic axis, other than the batch, of which no size is known.
    """
    dims: dict[str, Dim] = {}
    _find_dims(call.args, dims)
    _find_dims(call.kwargs, dims)
    rng = np.random.default_rng(SEED)
    for large in (True, False) if dims else (True,):
        sizes = {name: _choose(dim, number, large) for number, (name, dim) in enumerate(dims.items())}
        yield Call(_fill(call.args, sizes, ranges or {}, rng), _fill(dict(call.kwargs), sizes, ranges or {}, rng))


def _find_dims(value: Any, dims: dict[str, Dim]) -> None:
    if isinstance(value, TensorSpec):
        for n in value.shape:
            if isinstance(n, Dim):
                dims.setdefault(n.name, n)
                if n.name != BATCH and n.max is None:
                    raise RequestError(
                        f"axis {n.name!r} of input {value.name!r} is dynamic and nothing says how large it gets: give "
                        "samples, or its size (on the command line: --shape NAME:1x128)"
                    )
        return
    items = None if tensors.is_tensor(value) else trees.children(value)
    for child in items[1].values() if items else ():
        _find_dims(child, dims)


def _choose(dim: Dim, number: int, large: bool) -> int:
    if dim.name == BATCH:
        top = dim.max or 4
        return top if large else max(dim.min, top - 1)
    assert dim.max is not None  # _find_dims has refused the others
    return dim.max if large else min(dim.max, dim.min + number)  # axes of the same range are told apart by it


def _fill(value: Any, sizes: Mapping[str, int], ranges: Mapping[str, Range], rng: np.random.Generator) -> Any:
    if isinstance(value, TensorSpec):
        shape = tuple(sizes[n.name] if isinstance(n, Dim) else n for n in value.shape)
        return made_up_array(value, shape, rng, ranges.get(value.name))
    if tensors.is_tensor(value):
        return value
    return trees.replace_children(value, lambda child: _fill(child, sizes, ranges, rng))


def made_up_array(
    spec: TensorSpec, shape: tuple[int, ...], rng: np.random.Generator, within: Range | None = None
) -> np.ndarray:
    """Values from the smallest to the largest, evenly spread; by default normal ones for floats, and for integers
    0 and 1, which any vocabulary holds."""
    if spec.dtype == "bool" and within is not None:
        raise RequestError(f"input {spec.name!r} is bool, which has no range of values")
    if spec.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    try:
        dtype = np.dtype(spec.dtype)
    except TypeError:
        raise RequestError(f"values of type {spec.dtype!r} cannot be made up; give samples") from None
    if dtype.kind in "iu":
        low, high = within or (0, 1)
        limits = np.iinfo(dtype)
        if not limits.min <= low <= high <= limits.max or int(low) != low or int(high) != high:
            raise RequestError(f"input {spec.name!r} is {dtype}, which has no range from {low} to {high}")
        return rng.integers(int(low), int(high), shape, dtype=dtype, endpoint=True)
    if within is not None:
        return rng.uniform(*within, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)
