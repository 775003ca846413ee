"""Writing a ``.nav`` package: which artifacts go in, and the report without this machine's paths."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import evolve

from navigator_core import plugins, recipes, signing
from navigator_core.archive import write
from navigator_core.candidates import Candidate
from navigator_core.errors import PackageError
from navigator_core.report import Report
from navigator_core.session import RESULT

REPORT = "report.json"
SIGNATURE = "signature.json"


def save(made: Report, path: Path) -> Path:
    """Write a report's package. Raises PackageError where it cannot be written."""
    stored = _chosen(made)
    folders = {candidate.path.parent: f"artifacts/{i:02}" for i, candidate in enumerate(stored) if candidate.path}
    files: dict[str, Path | bytes] = {}
    for folder, name in folders.items():
        for one in sorted(folder.rglob("*")):
            if one.is_file() and one.name != RESULT:
                files[f"{name}/{one.relative_to(folder).as_posix()}"] = one
    for batch in made.reference.batches if made.reference is not None else ():
        if batch.name.startswith("sample "):
            number = int(batch.name.split()[1])
            files[f"samples/{number:03}.npz"] = made.reference_folder / batch.folder / "inputs.npz"
            files[f"references/{number:03}.npz"] = made.reference_folder / batch.folder / "reference.npz"
    files[REPORT] = json.dumps(_portable(made, folders)).encode()
    if not path.parent.is_dir():
        raise PackageError(f"{path}: there is no folder {path.parent}")
    return write(path, {"best": made.best_name}, files, seal=_signed)


def _signed(digests: Mapping[str, str]) -> dict[str, bytes]:
    signature = signing.sign(digests)
    return {} if signature is None else {SIGNATURE: json.dumps({"hmac-sha256": signature}).encode()}


def _chosen(made: Report) -> list[Candidate]:
    """What a package holds: the best that can be stored, the fastest by latency and by throughput, and for each
    portable format that conversions start from the best artifact of it."""
    right = [c for c in made.candidates if c.status == "ok" and c.path is not None and c.recipe is not None]
    may_win = [c for c in right if c.reason is None]
    chosen = may_win[:1]
    measured = [c for c in may_win if c.measurements]
    if measured:
        chosen.append(min(measured, key=lambda c: c.measurements[0].p50.value))
        chosen.append(max(measured, key=lambda c: max(m.throughput.value for m in c.measurements)))
    sources = {converter.source for converter in plugins.installed().converters}
    for name in sorted(sources):
        chosen += [c for c in right if c.recipe and c.recipe.format == name and c.recipe.portable][:1]
    by_path = {candidate.path: candidate for candidate in reversed(chosen)}
    return [candidate for candidate in right if candidate in by_path.values()]


def _portable(made: Report, folders: Mapping[Path, str]) -> dict[str, Any]:
    """The report with the artifacts' places in the archive instead of this machine's paths, and no code's."""
    candidates = []
    for candidate in made.candidates:
        where = folders.get(candidate.path.parent) if candidate.path else None
        inside = f"{where}/{candidate.path.name}" if where and candidate.path else None
        remedy = candidate.remedy
        if candidate.log is not None and remedy is not None and str(candidate.log) in remedy:
            remedy = f"see the log of run {made.run} in the workspace where it was made"
        candidates.append(evolve(candidate, path=Path(inside) if inside else None, remedy=remedy, log=None))
    notes = made.notes
    best = made.best
    if best is not None and best.path is None:
        kept = next((c.name for c in candidates if c.path and c.status == "ok" and c.reason is None), "nothing")
        notes = (*notes, f"{best.name} exists only in memory and cannot be stored; the package's best is {kept}")
    return recipes.without_code(evolve(made, candidates=tuple(candidates), notes=notes).to_dict())
