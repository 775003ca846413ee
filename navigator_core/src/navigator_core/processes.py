"""A process and all that it started, however far away that has moved: found, counted and ended. Linux.

A child that calls ``setsid`` leaves its group, and one whose parent ends is adopted by another process. A subreaper
(``man 2 PR_SET_CHILD_SUBREAPER``) adopts all that is orphaned below it, so that nothing gets out of its tree.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
PATIENCE = 2.0
"""Seconds for a tree to be gone: what hangs in the kernel cannot be waited for."""

_PROC = Path("/proc")


def adopt_orphans() -> None:
    """Make this process the one to which those below it go when their parents end."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask Linux for a signal when the process that started this one is gone, even by kill -9."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def children(pid: int) -> list[int]:
    """The processes whose parent this one is, those included that only wait to be buried."""
    listed = _listed(pid)
    if listed is not None:
        return listed
    return [int(place.name) for place in _PROC.glob("[0-9]*") if _parent(place) == pid]


def descendants(pid: int) -> list[int]:
    """All processes below this one."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = [child for child in children(waiting.pop()) if child not in found]
        found += below
        waiting += below
    return found


def end_descendants(spared: Iterable[int] = ()) -> None:
    """Kill and bury all that is below this process, which adopts orphans; but for those ``spared`` and what is theirs.

    What starts others meanwhile is looked for again, for as long as `PATIENCE`.
    """
    kept, me = set(spared), os.getpid()
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        mine = [child for child in children(me) if child not in kept]
        if not mine:
            return
        for pid in {below for child in mine for below in (child, *descendants(child))}:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        for pid in mine:
            _bury(pid, deadline)


def held(pids: Iterable[int]) -> int:
    """Bytes of memory that nothing but swapping could give back: what these processes wrote, and what they share."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in (_PROC / str(pid) / "status").read_text().splitlines():
                if line.startswith(("RssAnon:", "RssShmem:")):
                    total += int(line.split()[1]) * 1024
    return total


def _listed(pid: int) -> list[int] | None:
    """As the kernel lists them; None from one without CONFIG_PROC_CHILDREN."""
    if not (_PROC / "thread-self" / "children").exists():
        return None
    found: list[int] = []
    with contextlib.suppress(OSError):  # it, or one of its threads, has ended
        for task in (_PROC / str(pid) / "task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def _bury(pid: int, deadline: float) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.001)


def _parent(place: Path) -> int | None:
    try:
        return int((place / "stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return None
