"""The most memory that this process and all that it started held, looked at over and over while they work."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil

INTERVAL = 0.03
"""Seconds between two looks."""


class Watched:
    """``look`` gives the bytes that count of processes' numbers, ours and those of all its descendants."""

    def __init__(self, look: Callable[[Sequence[int]], int]) -> None:
        self._look = look
        self._most = 0
        self._asked = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def peak(self) -> int:
        """Bytes since it was last asked; looked at once more, and begun anew."""
        now = self._now()
        with self._lock:
            most, self._most = max(self._most, now), 0
            self._asked += 1
        return most

    def _watch(self) -> None:
        while not self._over.wait(INTERVAL):
            asked, now = self._asked, self._now()
            with self._lock:
                if asked == self._asked:  # else it was begun before what is asked for now
                    self._most = max(self._most, now)

    def _now(self) -> int:
        me = psutil.Process()
        family = [me.pid]
        with suppress(psutil.Error):  # one ended while they were listed
            family += [child.pid for child in me.children(recursive=True)]
        return self._look(family)
