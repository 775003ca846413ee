"""What is compared: which candidate of a package, a report or by itself, and on which samples."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from navigator_core import made_up, plugins, tensors
from navigator_core import samples as reading
from navigator_core import structure as trees
from navigator_core.candidates import Candidate
from navigator_core.errors import PackageError, RequestError, unknown
from navigator_core.package import Package, obstacle, reopen
from navigator_core.report import Report
from navigator_core.samples import Arrays
from navigator_core.signature import Dim, Signature


@frozen(kw_only=True)
class Side:
    """A candidate that can be loaded in a process of its own, and the samples that came with it."""

    label: str
    name: str
    candidate: Candidate
    signature: Signature
    samples: tuple[Arrays, ...] = ()
    notes: tuple[str, ...] = ()
    keep: Any = None


def side(label: str, given: Any, runner: str | None, trust: bool) -> Side:
    """The side that is called ``label``, "A" or "B"; ``runner`` names the one whose candidate is to be compared.

    Raises RequestError for what cannot be compared, PackageError for a package that cannot be read or whose candidate
    cannot be loaded here.
    """
    if isinstance(given, str | os.PathLike):
        given = reopen(Path(given).expanduser(), trust=trust)
    inputs: tuple[Arrays, ...]
    if isinstance(given, Package):
        name, made, signature = str(given.path), given.report, given.signature
        inputs = tuple(signature.unbind(call.args, call.kwargs) for call in given.samples)
    elif isinstance(given, Report):
        name, made, signature = f"the report of {given.run}", given, given.signature
        inputs = _samples_of(given)
    elif isinstance(given, Candidate) and given.home is not None:
        chosen = _chosen(given.name, [given], given.runner)
        return Side(label=label, name=given.name, candidate=chosen, signature=given.home.signature)
    else:
        raise RequestError(
            f"{label} is {trees.brief(given)}; expected the path of a .nav package, a package, a report or a candidate"
        )
    chosen = _chosen(name, made.candidates, runner)
    best = made.best_name
    notes = (f"{label}'s best, {best}, was not compared, but {chosen.name}",) if best not in (None, chosen.name) else ()
    return Side(label=label, name=name, candidate=chosen, signature=signature, samples=inputs, notes=notes, keep=given)


def given_samples(samples: Any, signature: Signature) -> tuple[Arrays, ...]:
    """The user's own samples by input name. Raises RequestError for those that the signature does not take."""
    tensors.register(plugins.installed().tensors.values())
    names = {spec.name for spec in signature.inputs}
    calls, _ = reading.read(samples)
    found = []
    for number, call in enumerate(calls):
        if made_up.has_specs(call):
            raise RequestError("samples are values to compare the answers to; nav.TensorSpec makes none up here")
        by_name = not call.args and call.kwargs.keys() == names
        arrays = dict(call.kwargs) if by_name else signature.unbind(call.args, call.kwargs)
        for spec in signature.inputs:
            dtype = tensors.dtype_of(arrays[spec.name])
            if dtype != spec.dtype and tensors.is_native(spec.dtype):
                raise RequestError(
                    f"input {spec.name!r} of sample {number} is {dtype}, but the model takes {spec.dtype}; "
                    "element types are never cast: convert the samples"
                )
        bare = {name: np.array(tensors.to_numpy(value)) for name, value in arrays.items()}
        if (problem := misfit(bare, signature)) is not None:
            raise RequestError(f"sample {number} does not fit: {problem}")
        found.append(bare)
    return tuple(found)


def misfit(arrays: Arrays, signature: Signature) -> str | None:
    """Which input has a shape that the signature does not take; None if all fit."""
    for spec in signature.inputs:
        shape = np.shape(arrays[spec.name])
        fixed = zip(shape, spec.shape, strict=False)
        if len(shape) != len(spec.shape) or any(have != n for have, n in fixed if not isinstance(n, Dim)):
            takes = ", ".join(n.name if isinstance(n, Dim) else str(n) for n in spec.shape)
            return f"input {spec.name!r} is of shape {list(shape)}, the model takes [{takes}]"
    return None


def tolerances(given: Any, signature: Signature) -> dict[str, Any]:
    """The user's own tolerances by output. Raises RequestError for an output that is not there."""
    if given is None:
        return {}
    outputs = [spec.name for spec in signature.outputs]
    if not isinstance(given, Mapping):
        return dict.fromkeys(outputs, given)
    for name in given:
        if name not in outputs:
            raise unknown("output in tolerance", str(name), outputs)
    return dict(given)


def _chosen(name: str, candidates: Sequence[Candidate], runner: str | None) -> Candidate:
    """The first in order of merit that has an artifact; it must be one that can be loaded here.

    Another one that can would be compared without anybody having asked for it.
    """
    right = [c for c in candidates if c.status == "ok" and c.recipe is not None]
    stored = [c for c in right if c.path is not None and c.recipe is not None and not c.recipe.live]
    fit = [c for c in stored if (c.reason is None if runner is None else c.runner == runner)]
    if not fit and stored and runner is not None:
        raise unknown(f"runner among those of {name}:", runner, (c.runner for c in stored))
    if not fit:
        told = [f"{c.name}: {c.reason or 'it exists only in memory, or was not stored'}" for c in candidates]
        raise PackageError("\n  ".join([f"{name} holds no candidate that could be compared:", *told]))
    chosen = min(fit, key=lambda c: c.reason is not None)
    problem = obstacle(chosen)
    if problem is None:
        return chosen
    if chosen.recipe is not None and chosen.recipe.executes_code and "trust" in problem:
        problem += " (here: trust=True, or --trust)"
    others = sorted({c.runner for c in stored if obstacle(c) is None})
    helps = f"; runner= (--runner) compares those of {' or '.join(others)} instead" if others else ""
    raise PackageError(f"{name}: {chosen.name} cannot be run here: {problem}{helps}")


def _samples_of(report: Report) -> tuple[Arrays, ...]:
    if report.reference is None or report.reference_folder is None:
        return ()
    stored = (batch for batch in report.reference.batches if batch.name.startswith("sample "))
    return tuple(batch.inputs(report.reference_folder) for batch in stored)
