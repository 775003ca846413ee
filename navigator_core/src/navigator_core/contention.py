"""Whether something else used the processor while a candidate was timed. Linux."""

from __future__ import annotations

import os
import time
from pathlib import Path
from types import TracebackType
from typing import Self

NOTICEABLE = 0.10
"""A share of the cores, taken by others, from which on times say more about them than about the candidate."""

_TICKS = os.sysconf("SC_CLK_TCK")


class Others:
    """Measures what share of the cores other processes took while the block ran: ``share``, known after it.

    ``stolen`` is the part of it that went to other virtual machines.

    The kernel counts in ticks of 10 ms: blocks of half a second and more are told from noise.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self.share = 0.0
        self.stolen = 0.0
        self._stat = stat
        self._before = (0.0, 0.0, 0.0, 0.0)

    def __enter__(self) -> Self:
        self._before = self._now()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.look()

    def look(self) -> None:
        """Bring the shares up to date within the block."""
        elapsed, busy, own, stolen = (after - before for after, before in zip(self._now(), self._before, strict=True))
        cores = os.cpu_count() or 1
        if elapsed > 0.1:
            self.share = max(0.0, (busy - own) / (elapsed * cores))
            self.stolen = max(0.0, stolen / (elapsed * cores))

    def sentence(self) -> str | None:
        """What to say of a measurement that was disturbed; None for one that was not."""
        if self.share < NOTICEABLE:
            return None
        return (
            f"other processes took {self.share:.0%} of the cores; threads that wait for each other are then slowed by "
            "whole scheduler slices"
        )

    def _now(self) -> tuple[float, float, float, float]:
        """Seconds: of the clock, of all processors busy (user to steal, but for idle and iowait), of this process, and
        of the processors given to other virtual machines."""
        try:
            fields = [int(text) for text in self._stat.read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return 0.0, 0.0, 0.0, 0.0
        user, nice, system, _idle, _iowait, irq, softirq, steal = (*fields, *[0] * 8)[:8]
        busy = (user + nice + system + irq + softirq + steal) / _TICKS
        return time.monotonic(), busy, time.process_time(), steal / _TICKS
