"""How much memory this process held at most while something ran. Linux."""

from __future__ import annotations

import os
import resource
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_PROC = Path("/proc/self")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def rss() -> int:
    """Bytes of this process that are in memory now, mapped files and shared pages included."""
    return int((_PROC / "statm").read_text().split()[1]) * _PAGE


class PeakMemory:
    """Measures the most memory that the process holds while the block runs; what is freed before its end counts.

    ``peak`` is in bytes above ``baseline`` (default: what is held on entering), never below 0, and is known after
    the block. ``exact`` says whether the kernel kept the peak. Where it does not let us reset its mark, the mark
    counts if it moved, and else a thread that looks every ``interval`` seconds, which can miss what is short.
    Blocks do not nest: the kernel has one mark per process.

    >>> with PeakMemory() as memory:
    ...     block = bytearray(50_000_000)
    ...     del block
    >>> memory.peak > 40_000_000
    True
    """

    def __init__(self, baseline: int | None = None, *, interval: float = 0.005, proc: Path = _PROC):
        self.peak = 0
        self.exact = False
        self._baseline = baseline
        self._interval = interval
        self._proc = proc
        self._seen = 0
        self._mark = 0
        self._done = threading.Event()
        self._watcher: threading.Thread | None = None

    def __enter__(self) -> Self:
        self._seen = rss()
        if self._baseline is None:
            self._baseline = self._seen
        self.exact = _reset_mark(self._proc)
        if not self.exact:
            self._mark = _highest_ever()
            self._done.clear()
            self._watcher = threading.Thread(target=self._watch, name="navigator-memory", daemon=True)
            self._watcher.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watcher is not None:
            self._done.set()
            self._watcher.join()
        highest = max(self._seen, rss())
        if self.exact:
            highest = max(highest, _mark(self._proc) or 0)
        elif (mark := _highest_ever()) > self._mark:
            self.exact, highest = True, max(highest, mark)
        self.peak = max(0, highest - (self._baseline or 0))

    def _watch(self) -> None:
        while not self._done.wait(self._interval):
            self._seen = max(self._seen, rss())


def _reset_mark(proc: Path) -> bool:
    """Set the process's high-water mark to what it holds now (Linux 4.0, ``man 5 proc``); False: not permitted."""
    try:
        (proc / "clear_refs").write_text("5")
        return _mark(proc) is not None
    except OSError:
        return False


def _mark(proc: Path) -> int | None:
    """The high-water mark in bytes; None where the kernel does not give one."""
    for line in (proc / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


def _highest_ever() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
