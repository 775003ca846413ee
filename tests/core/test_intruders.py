"""Calls that something disturbed are told from the rest, explained, and left where they are."""

from __future__ import annotations

import numpy as np
import pytest

from navigator_core.intruders import Counters, Disturbance, slow_calls
from navigator_core.profiling import time_calls
from navigator_core.results import SlowCalls

QUIET = Disturbance()


def usual(n: int, seed: int = 0) -> np.ndarray:
    return 1e-3 * (1 + 0.02 * np.random.default_rng(seed).standard_normal(n))


def test_slow_calls_are_counted_measured_in_medians_and_explained() -> None:
    times = usual(200)
    times[[10, 90, 91, 150]] = 4e-3
    during = [QUIET] * 200
    during[10] = during[90] = Disturbance(preempted=1)
    during[91] = Disturbance(faults=700)
    found = slow_calls(times, during)
    assert found is not None
    assert (found.calls, found.causes) == (4, {"page faults": 1, "preempted": 2, "unknown": 1})
    assert found.times == pytest.approx(4.0, rel=0.02)


def test_what_the_kernel_counts_in_every_call_explains_nothing() -> None:
    times = usual(100)
    times[50] = 9e-3
    found = slow_calls(times, [Disturbance(preempted=2, faults=40)] * 100)
    assert found is not None
    assert found.causes == {"unknown": 1}


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_no_intruder(seed: int) -> None:
    assert slow_calls(usual(1000, seed), [QUIET] * 1000) is None


def test_an_input_that_takes_longer_is_no_intruder() -> None:
    times = usual(200)
    times[::8] *= 3  # a long sentence among seven short ones
    assert slow_calls(times, [QUIET] * 200, turns=8) is None
    taken_for_one = slow_calls(times, [QUIET] * 200)
    assert taken_for_one is not None
    times[17] *= 5
    found = slow_calls(times, [QUIET] * 200, turns=8)
    assert found is not None
    assert found.calls == 1


def test_where_times_agree_to_the_clocks_tick_a_tick_more_is_not_slow() -> None:
    times = [1e-3] * 199 + [1.1e-3]
    assert slow_calls(times, [QUIET] * 200) is None
    assert slow_calls([*times[:-1], 2e-3], [QUIET] * 200) == SlowCalls(1, 2.0, {"unknown": 1})


def test_a_handful_of_calls_tells_nothing() -> None:
    assert slow_calls([1.0] * 18 + [9.0], [QUIET] * 19) is None


def test_pages_that_a_call_touches_for_the_first_time_are_counted() -> None:
    counters = Counters()
    counters.mark()
    block = np.ones(20_000_000)  # 40,000 small pages, or 80 huge ones
    assert counters.since().faults > 50
    assert counters.since().faults < 50
    assert block[0] == 1


def test_intruders_stay_among_the_samples() -> None:
    now = 0.0

    def call(i: int) -> None:
        nonlocal now
        now += 5e-3 if i % 50 == 49 else 1e-3

    timing = time_calls(call, seconds=0.5, clock=lambda: now)
    assert timing.slow is not None
    assert timing.slow.calls == sum(sample > 4e-3 for sample in timing.samples) >= 1
    assert timing.slow.times == pytest.approx(5.0)
