"""The truth on every batch, and how far the source itself is off it by rounding."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, frozen

from navigator_core import masking, verification
from navigator_core.batches import Batch
from navigator_core.declarations import Ref
from navigator_core.inspection import Inspection
from navigator_core.loading import Running
from navigator_core.made_up import SEED
from navigator_core.masking import Masks
from navigator_core.samples import Arrays
from navigator_core.signature import Signature, TensorSpec
from navigator_core.verification import Noise

SUSPICIOUS = 1e-4
"""A relative error of the source this large says that the truth may be another function; it is then checked."""

Answers = dict[str, np.ndarray]
"""Outputs by name."""


@frozen
class Truth:
    """The outputs to measure errors against, batch by batch, the source's noise, and what the truth is."""

    outputs: list[dict[str, np.ndarray]]
    noise: dict[str, Noise]
    what: str
    notes: tuple[str, ...] = ()


def find(
    inspection: Inspection,
    model: Any,
    signature: Signature,
    made: Sequence[Batch],
    references: list[dict[str, np.ndarray]],
    masks: Masks,
) -> Truth:
    """The truth on every batch, and the source's noise against it, where ``masks`` let it count.

    Higher precision where the framework has it; else the source stands for the truth, and moving its weights (or, for
    want of that, its inputs) by one unit in the last place shows the noise.
    """
    notes: list[str] = []
    kept = [masking.kept(masks, batch.inputs) for batch in made]
    if inspection.function("truth") is not None or inspection.truth is not None:
        try:
            outputs = _run_higher(inspection, model, signature, made)
            noise = verification.measure_noise(references, outputs, kept)
            if max((n.relative_l2 for n in noise.values()), default=0.0) < SUSPICIOUS:
                return Truth(outputs, noise, "the source in float64")
            moved = verification.measure_noise(references, _run_moved(inspection, model, signature, made), kept)
            if all(n.relative_l2 <= 100 * moved[name].relative_l2 for name, n in noise.items()):
                return Truth(outputs, noise, "the source in float64", ("the source is sensitive to rounding",))
            notes.append("in float64 the source computes something else; the truth is the source itself")
            return Truth(references, moved, _itself(inspection), tuple(notes))
        except Exception as error:  # models with a type of their own inside cannot be widened
            notes.append(f"no truth in float64 ({type(error).__name__}: {error}); the truth is the source itself")
    try:
        moved = verification.measure_noise(references, _run_moved(inspection, model, signature, made), kept)
    except Exception as error:  # a source may refuse values that are a little off
        notes.append(f"the source's noise is not known ({type(error).__name__}: {error})")
        moved = verification.measure_noise(references, references, kept)
    return Truth(references, moved, _itself(inspection), tuple(notes))


def _itself(inspection: Inspection) -> str:
    weights = inspection.function("noise") is not None or inspection.noise is not None
    moved = "weights" if weights else "inputs"
    return f"the source itself, its error shown by moving its {moved} by one unit in the last place"


def _run_higher(inspection: Inspection, model: Any, signature: Signature, made: Sequence[Batch]) -> list[Answers]:
    """Outputs of the source in float64, which its framework makes of a live model, its format of a file."""
    wide = evolve(signature, inputs=tuple(_widen(spec) for spec in signature.inputs))
    given = [{n: _float64(a) for n, a in batch.inputs.items()} for batch in made]
    widen = inspection.function("truth")
    if widen is not None:
        return _all(inspection.start(widen(model), wide), given)
    assert inspection.truth is not None
    return _of_file(inspection, inspection.truth, wide, given)


def _widen(spec: TensorSpec) -> TensorSpec:
    return evolve(spec, dtype="float64") if "float" in spec.dtype else spec


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _run_moved(inspection: Inspection, model: Any, signature: Signature, made: Sequence[Batch]) -> list[Answers]:
    """Outputs with weights, or else floating inputs, moved by one unit in the last place."""
    given = [batch.inputs for batch in made]
    move = inspection.function("noise")
    if move is not None:
        return _all(inspection.start(move(model), signature), given)
    if inspection.noise is not None:
        return _of_file(inspection, inspection.noise, signature, given)
    return _all(inspection.start(model, signature), [{n: _next(a) for n, a in one.items()} for one in given])


def _of_file(inspection: Inspection, change: Ref, signature: Signature, given: Sequence[Arrays]) -> list[Answers]:
    """Outputs of what ``change`` makes of the source's file."""
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / inspection.source.path.name
        change.resolve()(inspection.source.path, changed)
        with inspection.start(changed, signature) as run:
            return _all(run, given)


def _all(run: Running, given: Sequence[Arrays]) -> list[Answers]:
    return [run(inputs) for inputs in given]


def _next(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    directions = np.random.default_rng(SEED).choice([-np.inf, np.inf], array.shape).astype(array.dtype)
    moved: np.ndarray = np.where(np.isfinite(array), np.nextafter(array, directions), array)
    return moved
