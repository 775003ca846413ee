"""A candidate in a playoff, in its own process: loaded, warm, and timed in the slices it is asked for."""

from __future__ import annotations

import gc
import mmap
import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import frozen

from navigator_core import callers, profiling, worker
from navigator_core.entrant import Entrant, Rotation


@frozen(kw_only=True)
class Contestant:
    """What the process is told. ``preload`` names the modules that it imports first, ``interpreter`` another Python.

    ``warm_up`` are the most seconds after the first call, as long as the times show a trend; ``callers`` call at once.
    """

    name: str
    entrant: Entrant
    batch_size: int
    warm_up: float = 1.0
    callers: int = 1
    preload: tuple[str, ...] = ()
    interpreter: str | None = None


_HUGE = 2**21 // mmap.PAGESIZE
"""Pages of a huge page: whether memory gets one depends on where it begins."""


def compete(contestant: Contestant, folder: Path, emit: worker.Emit) -> None:
    """Load and warm up, tell the seconds of a call, and then the median of every slice that is asked for."""
    entrant = contestant.entrant
    with _elsewhere_in_memory(), entrant.loaded() as (run, _):
        inputs = [entrant.inputs(batch) for batch in entrant.of_size(contestant.batch_size)]
        calls = [Rotation(run, inputs) for _ in range(contestant.callers)]
        share, warm_up = contestant.warm_up / 20, contestant.warm_up
        if contestant.callers > 1:
            times = callers.time_together(calls, seconds=share, warmup_seconds=warm_up / 2).timing.samples
        else:
            times = profiling.time_calls(calls[0], seconds=share, warmup_seconds=warm_up).samples
        gc.collect()
        gc.freeze()
        emit({"seconds": statistics.median(times)})
        while True:
            seconds = worker.hear()["slice"]
            several = contestant.callers > 1
            emit({"median": callers.measure_slice(calls, seconds) if several else measure_slice(calls[0], seconds)})


@contextmanager
def _elsewhere_in_memory() -> Iterator[None]:
    """Move what is allocated next, on the heap and beside it, by a random distance.

    Processes forked from one worker would all lay out their memory alike, and what one layout gains or loses, up to
    several percent, would look like the candidate's own. See Curtsinger and Berger, "STABILIZER: statistically sound
    performance evaluation", ASPLOS 2013.
    """
    small = [bytearray(random.randrange(16, 2**14)) for _ in range(16)]
    with mmap.mmap(-1, random.randint(1, _HUGE) * mmap.PAGESIZE):
        yield
    del small


def measure_slice(
    call: Callable[[int], object], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> float:
    """The median of the calls that begin after the first third of the slice; the last call, if none does.

    >>> ticks = iter(range(100))
    >>> measure_slice(lambda i: None, 6, clock=lambda: next(ticks))
    1.0
    """
    kept: list[float] = []
    began = now = clock()
    number, last = 0, 0.0
    while now - began < seconds:
        start = clock()
        call(number)
        now = clock()
        number, last = number + 1, now - start
        if start - began >= seconds / 3:
            kept.append(last)
    return statistics.median(kept or [last])
