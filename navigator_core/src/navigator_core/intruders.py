"""Calls that something disturbed: told from the rest by their times, explained by the kernel's counters, never dropped.

A server meets the same disturbances, so they count in every percentile and in throughput. But a reader of a p99 wants
to know whether the model is slow at times or the machine was.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Sequence

import numpy as np
from attrs import define, field, frozen

from navigator_core.results import SlowCalls

FENCE = 3.0
"""Interquartile ranges above the third quartile: Tukey's "far out" (Exploratory Data Analysis, 1977, section 2D).

Of calls whose times are normal it takes two in a million.
"""

LEAST = 1.25
"""Times the median that a call takes at least to be called slow: where all others agree to the clock's tick, a
quartile is no measure."""

FEWEST = 20
"""Calls that have quartiles worth the name."""


@frozen
class Disturbance:
    """What the kernel counted during one call, all threads together."""

    preempted: int = 0
    """Times that a thread lost its core to something else while it wanted to go on."""
    faults: int = 0
    """Pages of memory that were touched and not there."""


@define
class Counters:
    """Reads the kernel's counters after each call: `mark` before the first one, `since` after every one."""

    _last: tuple[int, int] = field(init=False, default=(0, 0))

    def mark(self) -> None:
        """Forget what has been counted."""
        self._last = self._now()

    def since(self) -> Disturbance:
        """What was counted since the last look."""
        before, self._last = self._last, self._now()
        return Disturbance(*(new - old for new, old in zip(self._last, before, strict=True)))

    def _now(self) -> tuple[int, int]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_nivcsw, used.ru_minflt + used.ru_majflt


def slow_calls(samples: Sequence[float], disturbances: Sequence[Disturbance], turns: int = 1) -> SlowCalls | None:
    """The calls that are far slower than others with the same input; None where there are none, or too few to tell.

    ``turns`` inputs took turns. Each call is held to the median of its own input's calls: a long sentence among short
    ones is no intruder. One is explained by what was counted during it and not during the usual call.
    """
    times = np.asarray(samples, dtype=np.float64)
    if len(times) < FEWEST or times.min() <= 0:
        return None
    relative = times / _usual(times, turns)
    first, third = np.quantile(relative, [0.25, 0.75])
    fence = max(third + FENCE * (third - first), LEAST)
    found = np.flatnonzero(relative > fence)
    if not len(found):
        return None
    usual = Disturbance(
        int(np.quantile([one.preempted for one in disturbances], 0.75)),
        int(np.quantile([one.faults for one in disturbances], 0.75)),
    )
    causes = Counter(_cause(disturbances[int(place)], usual) for place in found)
    return SlowCalls(len(found), float(np.median(relative[found])), dict(sorted(causes.items())))


def _usual(times: np.ndarray, turns: int) -> np.ndarray:
    """Each call's median among those with the same input, where these are enough; else that of all."""
    if len(times) < 5 * turns:
        return np.full(len(times), np.median(times))
    medians = np.array([np.median(times[turn::turns]) for turn in range(turns)])
    return medians[np.arange(len(times)) % turns]


def _cause(during: Disturbance, usual: Disturbance) -> str:
    if during.preempted > usual.preempted:
        return "preempted"
    return "page faults" if during.faults > usual.faults else "unknown"
