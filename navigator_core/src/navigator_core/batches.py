"""Batches to verify and to measure with: rows pooled over the samples, distinct, topped up by labelled variations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import frozen

from navigator_core.made_up import SEED
from navigator_core.samples import Arrays
from navigator_core.signature import BATCH, Dim, Signature

MOST_GROUPS = 3
"""Rows of different shape cannot share a batch; the smallest, the largest and the middle shape are tried."""

KEPT = 1
"""The row that stays while those on both sides of it change."""


@frozen
class Batch:
    """Inputs of one call. ``size`` counts rows, 1 where nothing has a batch axis; ``synthetic`` of them are made up."""

    name: str
    size: int
    inputs: Arrays
    synthetic: int = 0


@frozen
class _Group:
    """Rows that fit into one batch, and the inputs without a batch axis that belong to them."""

    rows: tuple[Arrays, ...]
    shared: Arrays


def as_given(samples: Sequence[Arrays], signature: Signature) -> list[Batch]:
    """The samples as the user gave them."""
    return [Batch(f"sample {i}", rows(sample, signature), sample) for i, sample in enumerate(samples)]


def needed(samples: Sequence[Arrays], signature: Signature, most: int = 8) -> frozenset[str]:
    """The names of the samples that nothing makes up for: the first, and one at each end of every dynamic axis."""
    found = set(range(min(most, len(samples))))
    for spec in signature.inputs:
        for axis, n in enumerate(spec.shape):
            if isinstance(n, Dim) and n.name != BATCH:
                sizes = [sample[spec.name].shape[axis] for sample in samples]
                ends = {min(sizes), max(sizes)} - {sizes[i] for i in found}
                found |= {sizes.index(end) for end in ends}
    return frozenset(f"sample {i}" for i in found)


def rows(sample: Arrays, signature: Signature) -> int:
    """The size of a sample's batch axis; 1 without one."""
    return next(
        (sample[spec.name].shape[axis] for spec in signature.inputs if (axis := spec.batch_axis) is not None), 1
    )


def pooled(samples: Sequence[Arrays], signature: Signature, sizes: Iterable[int]) -> list[Batch]:
    """For each size one batch of each shape of row, up to three shapes. Rows are distinct where that can be had."""
    groups = _groups(samples, signature)
    made = []
    for size in sizes:
        for number, group in enumerate(groups):
            chosen, synthetic = _choose(group, size)
            name = f"batch {size}" if number == 0 else f"batch {size} ({number})"
            made.append(Batch(name, size, _join(chosen, group.shared, signature), synthetic))
    return made


def neighbours(samples: Sequence[Arrays], signature: Signature, size: int = 3) -> tuple[Batch, ...]:
    """Two batches with the same row `KEPT` and other rows before and after it, and one of that row alone.

    None at all without a batch axis.
    """
    if not any(spec.batch_axis is not None for spec in signature.inputs):
        return ()
    group = _groups(samples, signature)[0]
    chosen, _ = _choose(group, 2 * size - 1)
    kept, others = chosen[KEPT], (*chosen[:KEPT], *chosen[KEPT + 1 :])
    around = ((*rest[:KEPT], kept, *rest[KEPT:]) for rest in (others[: size - 1], others[size - 1 :]))
    first, other, alone = (_join(rows, group.shared, signature) for rows in (*around, (kept,)))
    return Batch("neighbours", size, first), Batch("other neighbours", size, other), Batch("no neighbours", 1, alone)


def _groups(samples: Sequence[Arrays], signature: Signature) -> list[_Group]:
    """The rows of all samples by shape and shared inputs; up to `MOST_GROUPS`: smallest, largest, middle."""
    axes = {spec.name: spec.batch_axis for spec in signature.inputs}
    found: dict[tuple[object, ...], tuple[dict[bytes, Arrays], Arrays]] = {}
    for sample in samples:
        shared = {name: array for name, array in sample.items() if axes[name] is None}
        for row in range(rows(sample, signature)):
            one = {n: np.take(a, [row], axis=axis) for n, a in sample.items() if (axis := axes[n]) is not None}
            key = (*(a.shape for a in one.values()), *(_digest({n: a}) for n, a in shared.items()))
            found.setdefault(key, ({}, shared))[0].setdefault(_digest(one), one)
    groups = [_Group(tuple(distinct.values()), shared) for distinct, shared in found.values()]
    groups.sort(key=lambda group: sum(a.size for a in group.rows[0].values()))
    if len(groups) <= MOST_GROUPS:
        return groups[::-1]
    return [groups[-1], groups[0], groups[len(groups) // 2]]


def _digest(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for array in arrays.values():
        digest.update(str((array.shape, array.dtype)).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.digest()


def _choose(group: _Group, size: int) -> tuple[tuple[Arrays, ...], int]:
    """``size`` rows: the distinct ones first, then seeded variations of them, and how many those are."""
    missing = size - len(group.rows)
    if missing <= 0:
        return group.rows[:size], 0
    rng = np.random.default_rng(SEED)
    varied = tuple(vary(group.rows[i % len(group.rows)], group.rows, rng) for i in range(missing))
    return (*group.rows, *varied), missing


def vary(row: Arrays, pool: Sequence[Arrays], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """A row like the given one: floats a little off, integers drawn anew from the values seen in the pool.

    What takes two values at most is a mask or a flag, and stays.
    """
    return {name: _vary(array, [other[name] for other in pool], rng) for name, array in row.items()}


def _vary(array: np.ndarray, pool: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    seen = np.unique(np.concatenate([other.ravel() for other in pool[:8]]))
    if array.dtype.kind == "b" or len(seen) <= 2:
        return array
    if array.dtype.kind in "iu":
        return rng.choice(seen, array.shape).astype(array.dtype)
    if array.dtype.kind == "f":
        finite = array[np.isfinite(array)]
        spread = float(finite.std()) if finite.size else 0.0
        noise = rng.standard_normal(array.shape) * 0.1 * spread
        return (array + noise).astype(array.dtype)
    return array


def _join(chosen: Sequence[Arrays], shared: Arrays, signature: Signature) -> dict[str, np.ndarray]:
    joined: dict[str, np.ndarray] = {}
    for spec in signature.inputs:
        axis = spec.batch_axis
        joined[spec.name] = (
            shared[spec.name] if axis is None else np.concatenate([row[spec.name] for row in chosen], axis=axis)
        )
    return joined


def one_row(outputs: Mapping[str, np.ndarray], signature: Signature, row: int) -> dict[str, np.ndarray]:
    """A row of every output that has a batch axis; a mask without that axis is every row's."""
    return {
        spec.name: array if axis >= array.ndim else np.take(array, [row], axis=axis)
        for spec in signature.outputs
        if (axis := spec.batch_axis) is not None and (array := outputs.get(spec.name)) is not None
    }
