"""Timing on a clock that only the calls move: what is counted, when it ends, and what is said about it."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from navigator_core.profiling import Timing, measure_transfer, measurement, saturated, time_calls
from navigator_core.results import Estimate
from navigator_core.statistics import median, relative_half_width


class Machine:
    """A clock, and calls that take as long as ``latency(i)`` says."""

    def __init__(self, latency: Callable[[int], float]):
        self.now = 0.0
        self.latency = latency
        self.calls: list[int] = []

    def call(self, i: int) -> None:
        self.calls.append(i)
        self.now += self.latency(i)

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def clock(self) -> float:
        return self.now

    def time(self, **settings: Any) -> Timing:
        return time_calls(self.call, clock=self.clock, **settings)


def noisy(seconds: float, spread: float, seed: int = 0) -> Callable[[int], float]:
    noise = np.random.default_rng(seed).standard_normal(200_000)
    return lambda i: seconds * math.exp(spread * float(noise[i]))


def test_a_steady_call_ends_early_and_is_stable() -> None:
    machine = Machine(noisy(1e-3, 0.01))
    timing = machine.time(seconds=10.0)
    assert timing.unstable is None
    assert median(timing.samples).value == pytest.approx(1e-3, rel=0.01)
    assert machine.now < 1.0


def test_calls_are_numbered_through_so_that_inputs_rotate() -> None:
    machine = Machine(noisy(1e-3, 0.01))
    timing = machine.time()
    assert machine.calls == list(range(timing.warmup_calls + len(timing.samples)))


def test_samples_are_the_seconds_of_the_calls_after_warm_up() -> None:
    latency = noisy(1e-3, 0.05)
    timing = Machine(latency).time()
    expected = [latency(timing.warmup_calls + k) for k in range(len(timing.samples))]
    assert timing.samples == pytest.approx(expected)


@pytest.mark.parametrize("spread", [0.02, 0.1, 0.3])
def test_noise_is_answered_by_more_calls_until_the_target_is_met(spread: float) -> None:
    timing = Machine(noisy(1e-4, spread)).time(seconds=10.0, target=0.01)
    assert timing.unstable is None
    assert relative_half_width(median(timing.samples)) <= 0.01
    assert len(timing.samples) >= 50


@pytest.mark.long
@pytest.mark.parametrize(("shape", "phi"), [("normal", 0.0), ("lognormal", 0.0), ("two modes", 0.0), ("normal", 0.6)])
def test_ending_as_soon_as_the_interval_is_narrow_leaves_the_truth_in_it_93_times_in_100(
    shape: str, phi: float
) -> None:
    """Whoever looks often enough sees a narrow interval by luck; that must not cost more than the bar allows."""
    rng = np.random.default_rng(13)
    held = []
    for _ in range(300):
        z = rng.standard_normal(4000)
        for i in range(1, 4000) if phi else ():
            z[i] = phi * z[i - 1] + math.sqrt(1 - phi**2) * z[i]
        slow = np.where(z < 2.05, 1.0, 3.0) if shape == "two modes" else 1.0  # 2 in a hundred
        times = 1e-3 * slow * (1 + 0.1 * z if shape == "normal" else np.exp(0.1 * z))
        machine = Machine(lambda i, times=times: float(times[i]))  # type: ignore[misc]
        found = median(machine.time(seconds=10.0, max_calls=2000).samples)
        held.append(found.low <= 1e-3 <= found.high)
    assert np.mean(held) >= 0.93


def test_a_closer_target_takes_more_calls() -> None:
    coarse, fine = (Machine(noisy(1e-4, 0.1)).time(seconds=10.0, target=target) for target in (0.02, 0.005))
    assert len(fine.samples) > 2 * len(coarse.samples)


def test_too_much_noise_ends_with_the_time_and_a_sentence() -> None:
    machine = Machine(noisy(5e-3, 1.0))
    timing = machine.time(seconds=1.0)
    assert timing.unstable is not None
    half = 100 * relative_half_width(median(timing.samples))
    assert timing.unstable == f"the interval of the median is ±{half:.2g} % after {len(timing.samples)} calls in 1 s"
    assert machine.now < 1.6


def test_a_slow_call_is_made_six_times_and_the_sentence_says_how_long_that_took() -> None:
    timing = Machine(noisy(30.0, 0.1)).time(seconds=1.0)
    assert (timing.warmup_calls, len(timing.samples)) == (2, 6)
    assert timing.unstable is not None
    assert "after 6 calls in 1" in timing.unstable


def test_a_slow_call_that_agrees_with_itself_is_stable() -> None:
    assert Machine(lambda i: 30.0).time(seconds=1.0) == Timing((30.0,) * 6, 2, None)


def test_a_single_call_bounds_nothing_and_says_so() -> None:
    timing = Machine(lambda i: 30.0).time(seconds=1.0, min_calls=1)
    assert timing == Timing((30.0,), 2, "nothing bounds the median after 1 call in 30 s")


def test_no_more_calls_than_allowed_are_timed() -> None:
    timing = Machine(noisy(1e-4, 1.0)).time(seconds=10.0, max_calls=80)
    assert len(timing.samples) == 80
    assert timing.unstable is not None


def test_a_slow_beginning_is_not_among_the_samples() -> None:
    noise = noisy(1e-3, 0.01)
    machine = Machine(lambda i: noise(i) * (1 + 3 * math.exp(-i / 30)))
    timing = machine.time(seconds=4.0)
    assert timing.warmup_calls > 60
    assert timing.unstable is None
    assert median(timing.samples).value == pytest.approx(1e-3, rel=0.05)


def test_a_first_call_that_compiles_does_not_use_up_the_warm_up() -> None:
    noise = noisy(1e-3, 0.01)
    machine = Machine(lambda i: 20.0 if i == 0 else noise(i))
    timing = machine.time(seconds=1.0)
    assert timing.warmup_calls >= 20
    assert max(timing.samples) < 2e-3


def test_warm_up_that_never_ends_is_bounded_and_the_drift_reported() -> None:
    machine = Machine(lambda i: 1e-3 * (1 + 1e-3 * i))
    timing = machine.time(seconds=0.5, warmup_seconds=0.2)
    assert machine.now < 0.8
    assert timing.unstable is not None
    assert "the interval of the median is ±" in timing.unstable
    assert ", and the times changed by +" in timing.unstable


def test_a_drift_that_a_narrow_interval_would_hide_is_reported() -> None:
    timing = Machine(lambda i: 1e-3 * (1 + 8e-4 * i)).time(target=0.025, warmup_seconds=0.02)
    assert relative_half_width(median(timing.samples)) <= 0.025
    assert timing.unstable == "the times changed by +3.1 % from the first third of the calls to the last"


def test_an_error_of_the_call_is_the_callers_and_garbage_collection_is_on_again() -> None:
    def broken(i: int) -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        time_calls(broken)
    assert gc.isenabled()


def test_garbage_is_collected_between_calls_and_not_in_them() -> None:
    inside, in_call, in_between = False, 0, 0

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal in_call, in_between
        in_call += inside
        in_between += not inside

    machine = Machine(noisy(1e-3, 0.01))

    def littering(i: int) -> None:
        nonlocal inside
        inside = True
        for _ in range(1000):
            cycle: list[object] = []
            cycle.append(cycle)
        machine.call(i)
        inside = False

    gc.callbacks.append(watch)
    try:
        time_calls(littering, clock=machine.clock)
    finally:
        gc.callbacks.remove(watch)
    assert in_call == 0
    assert in_between > 10


def test_garbage_collection_that_was_off_stays_off() -> None:
    gc.disable()
    try:
        Machine(noisy(1e-3, 0.01)).time()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_a_real_clock_is_the_default() -> None:
    timing = time_calls(lambda i: sum(range(1000)), seconds=0.05)
    assert len(timing.samples) >= 6
    assert min(timing.samples) > 0


def test_few_calls_leave_far_percentiles_out_of_a_measurement() -> None:
    latency = noisy(1e-3, 0.1)
    samples = tuple(latency(i) for i in range(500))
    few, some, many = (measurement(8, Timing(samples[:n], 3, None), None, {}) for n in (50, 100, 500))
    assert (few.p95, few.p99) == (None, None)
    assert some.p95 is not None
    assert some.p99 is None
    assert many.p99 is not None
    assert many.p50.value < many.p95.value < many.p99.value  # type: ignore[union-attr]


def test_a_measurement_carries_over_what_was_found() -> None:
    timing = Timing((0.5,) * 10, 3, "the room is on fire")
    found = measurement(4, timing, 0.1, {"host": 100, "cuda:0": 200})
    assert found.throughput == Estimate(8.0, 8.0, 8.0)
    assert (found.batch_size, found.calls, found.transfer) == (4, 10, 0.1)
    assert found.memory == {"host": 100, "cuda:0": 200}
    assert found.unstable == "the room is on fire"


def test_transfer_is_the_median_of_both_ways_without_the_first() -> None:
    machine = Machine(lambda i: [9.0, 1.0, 2.0, 7.0, 3.0, 1.5][i])
    ways = iter(range(6))
    taken = measure_transfer(lambda: machine.call(next(ways)), lambda: machine.pass_by(0.5), clock=machine.clock)
    assert taken == 2.5


def sweep(*values: float) -> list[tuple[int, Estimate]]:
    return [(2**k, Estimate(value, 0.99 * value, 1.01 * value)) for k, value in enumerate(values)]


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((), False),
        ((100,), False),
        ((100, 101), False),
        ((100, 200, 400), False),
        ((100, 200, 190), False),
        ((100, 200, 190, 400), False),
        ((100, 200, 190, 195), True),
        ((100, 200, 208, 212), True),
        ((100, 200, 190, 211), False),
        ((100, 200, 190, 211, 212, 213), True),
        ((100, 90, 80), True),
    ],
)
def test_a_sweep_ends_after_two_sizes_running_without_growth(values: tuple[float, ...], ends: bool) -> None:
    assert saturated(sweep(*values)) is ends


def test_growth_and_patience_of_a_sweep_can_be_set() -> None:
    assert saturated(sweep(100, 110), growth=0.2, patience=1)
    assert not saturated(sweep(100, 110), growth=0.05, patience=1)
