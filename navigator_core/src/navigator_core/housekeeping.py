"""What lies in a workspace: listed, checked, and cleared of what no run needs."""

from __future__ import annotations

import json
import secrets
import shutil
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen
from filelock import FileLock, Timeout

from navigator_core.errors import WorkspaceError
from navigator_core.workspace import Run, Workspace

PATIENCE = 10.0
"""Seconds to wait for a run that is just beginning."""


@frozen(kw_only=True)
class RunEntry:
    """A run by name; ``steps`` counts its steps by status, ``size`` are the bytes of its folder (logs, not objects)."""

    name: str
    active: bool
    steps: Mapping[str, int]
    size: int


@frozen(kw_only=True)
class Contents:
    """``objects`` and ``size`` (bytes) are of all finished steps, ``unused`` those of them that no run needs."""

    path: str
    runs: tuple[RunEntry, ...]
    objects: int
    size: int
    unused: int
    unused_size: int
    damaged: int


@frozen(kw_only=True)
class Cleared:
    """What was removed, or would be: names of runs, keys of objects, bytes."""

    runs: tuple[str, ...]
    objects: tuple[str, ...]
    size: int


def contents(workspace: Workspace) -> Contents:
    """What is in it."""
    runs = workspace.runs()
    needed = _needed(runs)
    sizes = {key: _size(_place(workspace, key)) for key in workspace.object_keys()}
    unused = [key for key in sizes if key not in needed]
    return Contents(
        path=str(workspace.path),
        runs=tuple(
            RunEntry(name=run.name, active=run.active(), steps=_steps(run), size=_size(run.folder)) for run in runs
        ),
        objects=len(sizes),
        size=sum(sizes.values()),
        unused=len(unused),
        unused_size=sum(sizes[key] for key in unused),
        damaged=sum(1 for _ in (workspace.path / "damaged").iterdir()),
    )


def verify(workspace: Workspace) -> tuple[str, ...]:
    """Read every object; the keys of those that are damaged. They are set aside, and built again when needed."""
    damaged = tuple(key for key in workspace.object_keys() if not workspace.intact(key))
    for key in damaged:
        workspace.set_aside(key)
    return damaged


def clear(workspace: Workspace, keep: int | None = None, *, only_say: bool = False) -> Cleared:
    """Remove objects that no run needs, what was damaged, and what killed processes left.

    With ``keep``, all but so many of the newest runs go first; runs at work always stay. ``only_say`` removes nothing.
    Raises WorkspaceError where runs keep beginning.
    """
    lock = workspace.housekeeping()
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout:
        raise WorkspaceError(f"{workspace.path} is being tidied up by another process; try again") from None
    try:
        runs = workspace.runs()
        old = [] if keep is None else [run for run in runs[: max(0, len(runs) - keep)] if not run.active()]
        needed = _needed([run for run in runs if run not in old])
        unused = [key for key in workspace.object_keys() if key not in needed]
        leftovers = [*(workspace.path / "damaged").iterdir(), *_left(workspace)]
        places = [*(run.folder for run in old), *(_place(workspace, key) for key in unused), *leftovers]
        size = sum(map(_size, places))
        for place in () if only_say else places:
            _remove(place, workspace)
    finally:
        lock.release()
    return Cleared(runs=tuple(run.name for run in old), objects=tuple(unused), size=size)


def _needed(runs: list[Run]) -> set[str]:
    return {key for run in runs for key in run.used()}


def _left(workspace: Workspace) -> list[Path]:
    """What processes that died were building: nobody holds the lock of its key."""
    left = []
    for folder in (workspace.path / "temporary").iterdir():
        lock = FileLock(workspace.path / "locks" / f"{folder.name.partition('.')[0]}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        lock.release()
        left.append(folder)
    return left


def _remove(place: Path, workspace: Workspace) -> None:
    """In one move out of sight first: a process that is killed here leaves no half object in its place."""
    gone = workspace.path / "temporary" / f"removed.{secrets.token_hex(4)}"
    place.rename(gone)
    shutil.rmtree(gone, ignore_errors=True) if gone.is_dir() else gone.unlink()


def _place(workspace: Workspace, key: str) -> Path:
    return workspace.path / "objects" / key[:2] / key


def _steps(run: Run) -> Mapping[str, int]:
    """By status; a line that a machine which went down cut short is left out."""
    found: Counter[str] = Counter()
    for line in run.journal.read_text(errors="replace").splitlines() if run.journal.exists() else ():
        try:
            found[str(json.loads(line)["status"])] += 1
        except (ValueError, KeyError, TypeError):
            continue
    return dict(found)


def _size(place: Path) -> int:
    files = [place] if place.is_file() else place.rglob("*")
    return sum(file.lstat().st_size for file in files if file.is_file())
