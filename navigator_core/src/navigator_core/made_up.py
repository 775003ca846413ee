"""Samples that nobody has: sizes and ranges of values as the caller says them, completed by what a file declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import Factory, evolve, frozen

from navigator_core.errors import unknown
from navigator_core.signature import Call, Dim, Signature, TensorSpec

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
