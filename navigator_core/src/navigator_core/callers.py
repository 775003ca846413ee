"""Several callers of one loaded model at once: threads that call it without a pause, timed together."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from attrs import frozen

from navigator_core import profiling
from navigator_core.entrant import Rotation
from navigator_core.profiling import FEWEST, Clock, Measure, Timing

Calls = Sequence[Callable[[int], object]]
"""One for each caller, as `profiling.time_calls` takes it."""


@frozen
class _Ended:
    """One call: when it ended, and how long it took."""

    at: float
    latency: float


@frozen
class Together:
    """``timing`` are the seconds of all callers' calls in the order in which they ended.

    ``cycles`` are the seconds in which as many calls ended as there are callers, one such time after the other. Calls
    that begin together end together: seconds from one end to the next would be 0 or a whole call's.
    """

    timing: Timing
    cycles: tuple[float, ...]


def time_together(
    calls: Calls,
    *,
    target: float = 0.02,
    seconds: float = 1.0,
    min_calls: int = FEWEST,
    longest: float = 30.0,
    warmup_seconds: float | None = None,
    clock: Clock = time.perf_counter,
    measure: Measure | None = None,
) -> Together:
    """Let every caller call without a pause for ``seconds``, after as many of half of that to warm up.

    The first call of each is made alone, since it may compile. It goes on until there are ``min_calls``, unless that
    takes more than ``longest`` seconds, and 6 for each caller in any case. What is measured does not end early: the
    callers would have to be stopped to look. Each one's last call counts for nothing, as others have left before it
    ends. Raises what a call raises.
    """
    for call in calls:
        call(0)
    warmup = seconds / 2 if warmup_seconds is None else warmup_seconds
    warm = _Crowd(calls, warmup, 0, 0.0, clock, measure, first=1).run()
    began = clock()
    least, so_far = max(min_calls, FEWEST * len(calls)), 1 + max(map(len, warm))
    crowd = _Crowd(calls, seconds, least, longest, clock, measure, first=so_far)
    rows = crowd.run()
    ended = sorted((one for row in rows for one in row[:-1]), key=lambda one: one.at)
    latencies = tuple(one.latency for one in ended)
    unstable = profiling.instability(latencies, target, clock() - began)
    timing = Timing(latencies, len(calls) + sum(map(len, warm)), unstable)
    marks = [crowd.began, *(one.at for one in ended[len(calls) - 1 :: len(calls)])]
    return Together(timing, tuple(after - before for before, after in itertools.pairwise(marks)))


def measure_slice(calls: Calls, seconds: float, clock: Clock = time.perf_counter) -> float:
    """As `contestant.measure_slice`, of all callers' calls: the median of those that begin after the first third."""
    crowd = _Crowd(calls, seconds, 0, 0.0, clock, None, first=0)
    rows = crowd.run()
    late = [one.latency for row in rows for one in row if one.at - one.latency >= crowd.began + seconds / 3]
    return statistics.median(late or [row[-1].latency for row in rows])


def at_once(calls: Sequence[Rotation], most: int) -> Iterator[tuple[int, Any]]:
    """The inputs' place and the outputs of ``most`` calls or some more, that callers with other inputs make at once."""
    for number in range(-(-most // len(calls))):
        _at_once([partial(call, number + place) for place, call in enumerate(calls)])
        yield from [(call.turn, call.last) for call in calls]


class _Crowd:
    """Threads that call until the time is up and there are calls enough, numbered from ``first``."""

    def __init__(
        self,
        calls: Calls,
        seconds: float,
        least: int,
        longest: float,
        clock: Clock,
        measure: Measure | None,
        *,
        first: int,
    ) -> None:
        self.began = 0.0
        self._calls = calls
        self._seconds, self._longest = seconds, longest
        self._least, self._fewest = least, min(least, FEWEST * len(calls))
        self._clock = clock
        self._measure = measure or partial(profiling.by_clock, clock)
        self._first = first
        self._rows: list[list[_Ended]] = [[] for _ in calls]
        self._leave = threading.Event()

    def run(self) -> list[list[_Ended]]:
        """Every caller's calls; at least one each. Raises what one raises."""
        _at_once([partial(self._work, place) for place in range(len(self._calls))], self._begin, self._leave.set)
        return self._rows

    def _begin(self) -> None:
        self.began = self._clock()

    def _work(self, place: int) -> None:
        call, row = self._calls[place], self._rows[place]
        try:
            while True:
                latency = self._measure(partial(call, self._first + place + len(row)))  # others have other inputs
                now = self._clock()
                row.append(_Ended(now, latency))
                if self._leave.is_set() or self._over(now - self.began):
                    return
        finally:
            self._leave.set()

    def _over(self, spent: float) -> bool:
        counted = sum(len(row) - 1 for row in self._rows if row)
        enough = counted >= self._least or (spent >= self._longest and counted >= self._fewest)
        return spent >= self._seconds and enough


def _at_once(
    tasks: Sequence[Callable[[], object]],
    begin: Callable[[], None] = lambda: None,
    leave: Callable[[], None] = lambda: None,
) -> None:
    """Run each in a thread of its own and wait for all of them, with ``leave()`` first if the wait is interrupted.

    They begin when all threads are there, after ``begin()``. Raises what the first of them raised.
    """
    raised: list[BaseException] = []
    barrier = threading.Barrier(len(tasks), action=begin)

    def attempt(task: Callable[[], object]) -> None:
        try:
            barrier.wait()
            task()
        except BaseException as error:  # it is raised where it is waited for
            raised.append(error)

    threads = [threading.Thread(target=attempt, args=(task,), name="navigator-caller") for task in tasks]
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    except BaseException:
        barrier.abort()  # those that have not begun would wait for the others for good
        raise
    finally:
        leave()
    if raised:
        raise raised[0]
