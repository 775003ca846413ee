"""How fast, in this process: calls timed one by one until the answer is sure enough, or the time is spent."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from attrs import frozen

from navigator_core.intruders import Counters, Disturbance, slow_calls
from navigator_core.results import Conditions, Estimate, Measurement, SlowCalls
from navigator_core.statistics import has_trend, median, quantile, relative_half_width, throughput

Clock = Callable[[], float]
Measure = Callable[[Callable[[], object]], float]
"""A profiler at work: calls once and returns the quantity, for latency the seconds."""

FEWEST = 6
"""Calls without which nothing bounds a median."""

_EARLIEST_STOP = 50
"""Calls before which a narrow interval ends nothing: the first few agree by luck too often."""

FIRST_LOOK = 10
"""Calls after which a rival that is far faster may end the timing."""

_LITTER = 2000
"""New Python objects after which they are collected, between two calls."""


@frozen
class Timing:
    """Seconds of single calls after ``warmup_calls`` others. ``unstable``: None, or why they say less than asked.

    ``brief``: they were enough at the first look. ``slow`` are the calls that something seems to have disturbed.
    """

    samples: tuple[float, ...]
    warmup_calls: int
    unstable: str | None
    brief: bool = False
    slow: SlowCalls | None = None


def time_calls(
    call: Callable[[int], object],
    *,
    target: float = 0.02,
    seconds: float = 1.0,
    min_calls: int = 6,
    longest: float = 30.0,
    max_calls: int = 100_000,
    warmup_seconds: float | None = None,
    clock: Clock = time.perf_counter,
    measure: Measure | None = None,
    turns: int = 1,
    enough: Callable[[Estimate], str | None] = lambda _: None,
) -> Timing:
    """Time ``call(0)``, ``call(1)``, ... until the median is known to ``target``, or ``seconds`` are spent.

    ``call(i)`` does all of its work before it returns: it waits for the device, and takes its input by ``i``.
    Warm-up calls come first, count in ``i``, and go on until the times show no trend, for at most
    ``warmup_seconds`` (default: half of ``seconds``) after the first, which may compile for as long as it likes.
    At least ``min_calls`` are timed, unless that takes more than ``longest`` seconds, and 6 (the least that bound a
    median) in any case; at most ``max_calls``. Python's garbage collection runs between the calls, not in them. Noise
    raises nothing. ``turns`` inputs take turns.

    ``enough`` is asked of the median once, after ten calls and a fifth of ``seconds``: a sentence ends the timing.
    """
    measure = measure or partial(by_clock, clock)
    with _collecting_outside() as collect:
        warm = _warm_up(call, seconds / 2 if warmup_seconds is None else warmup_seconds, clock, measure)
        samples: list[float] = []
        counters, disturbances = Counters(), list[Disturbance]()
        why, looked = None, False
        began, next_look, sure = clock(), _EARLIEST_STOP, 0
        counters.mark()
        while _more(len(samples), min_calls, clock() - began, longest) or (
            len(samples) < max_calls and clock() - began < seconds
        ):
            samples.append(measure(partial(call, len(warm) + len(samples))))
            disturbances.append(counters.since())
            collect()
            if not looked and len(samples) >= FIRST_LOOK and clock() - began >= seconds / 5:
                looked, why = True, enough(median(samples))
                if why is not None:
                    break
            if len(samples) >= max(next_look, min_calls):
                next_look = len(samples) + len(samples) // 5
                sure = sure + 1 if relative_half_width(median(samples)) <= target else 0
                if sure == 2:  # once may be luck: ending at the first narrow interval costs about 1 % of confidence
                    break
        spent = clock() - began
    return Timing(
        tuple(samples),
        len(warm),
        why or instability(samples, target, spent),
        brief=why is not None,
        slow=slow_calls(samples, disturbances, turns),
    )


def quantity(call: Callable[[int], object], measure: Measure, repetitions: int = 11) -> Estimate:
    """What a plugin's profiler says of single calls: the median of some, after one more."""
    return median([measure(partial(call, i)) for i in range(repetitions + 1)][1:])


def measurement(
    batch_size: int,
    timing: Timing,
    transfer: float | None,
    memory: Mapping[str, int],
    others: Mapping[str, Estimate] | None = None,
    conditions: Conditions | None = None,
) -> Measurement:
    """All that is said about one candidate at one batch size, from the seconds of its single calls."""
    samples = timing.samples
    return Measurement(
        batch_size=batch_size,
        p50=median(samples),
        p95=quantile(samples, 0.95),
        p99=quantile(samples, 0.99),
        throughput=throughput(samples, batch_size),
        transfer=transfer,
        memory=memory,
        calls=len(samples),
        unstable=timing.unstable,
        others=others or {},
        slow=timing.slow,
        brief=timing.brief,
        conditions=conditions,
        p90=quantile(samples, 0.9),
    )


def measure_transfer(
    bring_in: Callable[[], object],
    take_out: Callable[[], object],
    *,
    repetitions: int = 5,
    clock: Clock = time.perf_counter,
) -> float:
    """Median seconds of moving the inputs in and the outputs out; both wait until it is done. One more goes first."""

    def both() -> None:
        bring_in()
        take_out()

    both()
    return median([by_clock(clock, both) for _ in range(repetitions)]).value


def saturated(throughputs: Sequence[tuple[int, Estimate]], growth: float = 0.05, patience: int = 2) -> bool:
    """Whether larger batches bring no more: ``patience`` sizes running, none ``growth`` above the best before it.

    ``throughputs`` are (batch size, samples per second) in the order of the sweep. One dip ends nothing.
    """
    best, without = 0.0, 0
    for _, found in throughputs:
        without = 0 if found.value >= best * (1 + growth) else without + 1
        best = max(best, found.value)
    return without >= patience


def _more(calls: int, min_calls: int, spent: float, longest: float) -> bool:
    return calls < min(FEWEST, min_calls) or (calls < min_calls and spent < longest)


def by_clock(clock: Clock, call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = clock()
    call()
    return clock() - start


def _warm_up(call: Callable[[int], object], seconds: float, clock: Clock, measure: Measure) -> list[float]:
    """Call until the later half shows no trend. Half, so that a slow beginning cannot hide in a long row."""
    times = [measure(partial(call, 0))]
    began, next_look = clock(), 20
    while clock() - began < seconds:
        times.append(measure(partial(call, len(times))))
        if len(times) >= next_look:
            next_look = len(times) + len(times) // 5
            if not has_trend(times[len(times) // 2 :]):
                break
    return times


@contextmanager
def _collecting_outside() -> Iterator[Callable[[], None]]:
    """Switch automatic garbage collection off; what is given collects what has come up, when it is called."""

    def collect() -> None:
        if gc.get_count()[0] > _LITTER:
            gc.collect(1)

    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield collect
    finally:
        if was_enabled:
            gc.enable()


def instability(samples: Sequence[float], target: float, spent: float) -> str | None:
    """Why seconds of calls, in order, say less than was asked; None where they do not."""
    calls = "1 call" if len(samples) == 1 else f"{len(samples)} calls"
    half = relative_half_width(median(samples))
    if math.isinf(half):
        return f"nothing bounds the median after {calls} in {spent:.2g} s"
    reasons = []
    if half > target:
        reasons.append(f"the interval of the median is ±{100 * half:.2g} % after {calls} in {spent:.2g} s")
    if has_trend(samples, margin=target):
        third = len(samples) // 3
        change = median(samples[-third:]).value / median(samples[:third]).value - 1
        reasons.append(f"the times changed by {100 * change:+.2g} % from the first third of the calls to the last")
    return ", and ".join(reasons) or None
