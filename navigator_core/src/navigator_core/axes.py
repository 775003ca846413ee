"""Which axis is the batch, and which others are dynamic: guessed from sizes, then proved by running the source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from navigator_core.errors import RequestError, unknown
from navigator_core.signature import BATCH, Dim, Signature, TensorSpec

Axes = Mapping[str, int | None]
Shapes = Mapping[str, Sequence[tuple[int, ...]]]


def hypotheses(
    shapes: Shapes, batching: Axes | None = MappingProxyType({}), allowed: Mapping[str, frozenset[int]] | None = None
) -> Iterator[dict[str, int | None]]:
    """Guesses which axis of each input is the batch, the likeliest first; each has the batch in one input at least.

    Axes whose sizes go together over the samples belong together. Where it is the first axis of more inputs than it
    is a later axis of others, that is likelier (in ``x + bias`` the features are first in one, and later in the
    other); then more inputs, then earlier axes are. The user's word (``batching``; None:
    there is no batch) and the axes that a file declares dynamic (``allowed``) bound the guesses. After the whole groups
    come those with one input left out: a table whose first axis happens to have the batch's size.
    """
    if batching is None:
        return
    said = batching
    _check(said, shapes)
    groups: dict[tuple[int, ...], dict[str, int]] = {}
    for name, all_shapes in shapes.items():
        for axis in range(len(all_shapes[0])):
            fits = name not in said and (allowed is None or axis in allowed.get(name, frozenset()))
            if fits or said.get(name) == axis:
                groups.setdefault(tuple(shape[axis] for shape in all_shapes), {}).setdefault(name, axis)
    fixed = {name for name, axis in said.items() if axis is not None}
    whole = [group for group in groups.values() if fixed <= set(group)]
    whole.sort(key=lambda group: (sum(1 if axis else -1 for axis in group.values()), -len(group), sum(group.values())))
    partial = [
        {name: axis for name, axis in group.items() if name != left_out}
        for group in whole
        for left_out in reversed(group)
        if len(group) > 1 and left_out not in fixed
    ]
    for group in (*whole, *partial):
        yield {name: group.get(name) for name in shapes}


def _check(said: Axes, shapes: Shapes) -> None:
    for name, axis in said.items():
        if name not in shapes:
            raise unknown("input in batching", name, shapes)
        rank = len(shapes[name][0])
        if axis is not None and not 0 <= axis < rank:
            raise RequestError(f"batching says axis {axis} of {name!r}, which has axes 0 to {rank - 1}")


def input_specs(shapes: Shapes, dtypes: Mapping[str, str], batch: Axes) -> tuple[TensorSpec, ...]:
    """The inputs with their dynamic axes: those whose size differs between samples, and the batch.

    Axes that go together over the samples share a `Dim`, named after the first input that has it.
    """
    names: dict[tuple[int, ...], str] = {}
    specs = []
    for name, all_shapes in shapes.items():
        shape: list[int | Dim] = []
        for axis in range(len(all_shapes[0])):
            sizes = tuple(s[axis] for s in all_shapes)
            if batch.get(name) == axis:
                shape.append(Dim(BATCH, 1, max(sizes)))
            elif len(set(sizes)) > 1:
                shape.append(Dim(names.setdefault(sizes, f"{name}_{axis}"), min(sizes), max(sizes)))
            else:
                shape.append(sizes[0])
        specs.append(TensorSpec(name, dtypes[name], tuple(shape)))
    return tuple(specs)


def output_specs(
    shapes: Shapes, dtypes: Mapping[str, str], batch: Axes, inputs: Sequence[TensorSpec], input_shapes: Shapes
) -> tuple[TensorSpec, ...]:
    """The outputs with their dynamic axes; one that follows an input's axis over the samples shares its `Dim`."""
    followed = {
        tuple(s[axis] for s in input_shapes[spec.name]): n
        for spec in inputs
        for axis, n in enumerate(spec.shape)
        if isinstance(n, Dim) and n.name != BATCH
    }
    specs = []
    for name, all_shapes in shapes.items():
        other = next((number for number, shape in enumerate(all_shapes) if len(shape) != len(all_shapes[0])), None)
        if other is not None:
            raise RequestError(
                f"output {name!r} has {len(all_shapes[0])} axes for sample 0 and {len(all_shapes[other])} for sample "
                f"{other}; the number of axes must not depend on the input (a squeeze without an axis?)"
            )
        shape: list[int | Dim] = []
        for axis in range(len(all_shapes[0])):
            sizes = tuple(s[axis] for s in all_shapes)
            if batch.get(name) == axis:
                shape.append(Dim(BATCH, 1, max(sizes)))
            elif len(set(sizes)) > 1:
                shape.append(followed.get(sizes, Dim(f"{name}_{axis}", min(sizes), max(sizes))))
            else:
                shape.append(sizes[0])
        specs.append(TensorSpec(name, dtypes[name], tuple(shape)))
    return tuple(specs)


def fixed_axes_note(signature: Signature, allowed: Mapping[str, frozenset[int]] | None = None) -> str | None:
    """One sentence that lists what was taken as fixed, because every sample had it so; None: nothing was.

    What a file itself declares fixed, all that is not ``allowed`` to vary, is no assumption.
    """
    fixed = [
        f"{spec.name} axis {axis} = {n}"
        for spec in signature.inputs
        for axis, n in enumerate(spec.shape)
        if isinstance(n, int) and (allowed is None or axis in allowed.get(spec.name, frozenset()))
    ]
    return f"taken as fixed, because equal in every sample: {', '.join(fixed)}" if fixed else None
