"""Intervals hold the truth as often as they say, and no interval is made up from too few samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from navigator_core.results import Estimate
from navigator_core.statistics import (
    effective_size,
    has_trend,
    mean,
    median,
    quantile,
    ratio,
    relative_half_width,
    student,
    throughput,
)

times = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=120)


def normal(z: np.ndarray) -> np.ndarray:
    return 1 + 0.05 * z


def lognormal(z: np.ndarray) -> np.ndarray:
    return np.exp(0.5 * z)


def bimodal(z: np.ndarray) -> np.ndarray:
    """Two in a hundred take three times as long."""
    return np.where(z < NormalDist().inv_cdf(0.98), 1.0, 3.0) * np.exp(0.02 * z)


def autoregressive(rng: np.random.Generator, rows: int, n: int, phi: float) -> np.ndarray:
    """Rows of standard normals, each correlated by ``phi`` with the one before it."""
    z = rng.standard_normal((rows, n))
    for i in range(1, n):
        z[:, i] = phi * z[:, i - 1] + math.sqrt(1 - phi**2) * z[:, i]
    return z


def inside(truth: float, estimate: Estimate | None) -> bool | None:
    return None if estimate is None else estimate.low <= truth <= estimate.high


def share(answers: list[bool | None]) -> float:
    given = [answer for answer in answers if answer is not None]
    return sum(given) / len(given)


@pytest.mark.parametrize(
    ("transform", "phi"),
    [(normal, 0.0), (lognormal, 0.0), (bimodal, 0.0), (normal, 0.2), (normal, 0.5), (normal, 0.8), (lognormal, 0.8)],
)
def test_intervals_of_two_hundred_samples_hold_the_truth_at_least_93_times_in_100(
    transform: Callable[[np.ndarray], np.ndarray], phi: float
) -> None:
    z = np.linspace(-8, 8, 200_001)
    true_mean = float(np.average(transform(z), weights=np.exp(-z * z / 2)))
    true_median = float(transform(np.array(0.0)))
    rows = transform(autoregressive(np.random.default_rng(11), 600, 200, phi))
    assert share([inside(true_median, median(row)) for row in rows]) >= 0.93
    assert share([inside(true_mean, mean(row)) for row in rows]) >= 0.93


@pytest.mark.parametrize(("q", "n", "phi"), [(0.95, 200, 0.0), (0.95, 400, 0.5), (0.95, 400, 0.8), (0.99, 1000, 0.5)])
@pytest.mark.parametrize("transform", [normal, bimodal])
def test_intervals_of_tail_quantiles_hold_the_truth_at_least_93_times_in_100(
    transform: Callable[[np.ndarray], np.ndarray], q: float, n: int, phi: float
) -> None:
    truth = float(transform(np.array(NormalDist().inv_cdf(q))))
    rows = transform(autoregressive(np.random.default_rng(12), 300, n, phi))
    answers = [inside(truth, quantile(row, q)) for row in rows]
    assert share(answers) >= 0.93
    assert answers.count(None) <= len(answers) / 3


@pytest.mark.long
@pytest.mark.parametrize("n", [200, 500, 2000])
@pytest.mark.parametrize("phi", [0.0, 0.2, 0.5, 0.8])
@pytest.mark.parametrize("transform", [normal, lognormal, bimodal])
def test_every_interval_holds_the_truth_at_least_93_times_in_100(
    transform: Callable[[np.ndarray], np.ndarray], phi: float, n: int
) -> None:
    z = np.linspace(-8, 8, 200_001)
    true_mean = float(np.average(transform(z), weights=np.exp(-z * z / 2)))
    rows = transform(autoregressive(np.random.default_rng(21), 2000, n, phi))
    assert share([inside(true_mean, mean(row)) for row in rows]) >= 0.93
    for q in (0.5, 0.95, 0.99):
        truth = float(transform(np.array(NormalDist().inv_cdf(q))))
        answers = [inside(truth, quantile(row, q)) for row in rows]
        if answers.count(None) <= len(answers) / 2:
            assert share(answers) >= 0.93, q


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.95, 72), (0.05, 72), (0.99, 368), (0.999, 3688)])
def test_a_quantile_is_given_from_the_count_that_can_support_it(q: float, needed: int) -> None:
    samples = np.random.default_rng(1).permutation(needed) + 1.0
    assert max(q, 1 - q) ** needed <= 0.025 < max(q, 1 - q) ** (needed - 1)
    assert quantile(samples, q) is not None
    assert quantile(samples[:-1], q) is None


@pytest.mark.parametrize(("n", "ranks"), [(6, (1, 6)), (9, (2, 8)), (20, (6, 15)), (100, (40, 61))])
def test_the_ranks_of_a_median_are_those_of_the_published_tables(n: int, ranks: tuple[int, int]) -> None:
    samples = np.random.default_rng(3).permutation(n) + 1.0
    estimate = quantile(samples, 0.5)
    assert estimate is not None
    assert (estimate.low, estimate.high) == ranks


def test_ranks_are_exact_for_a_hundred_thousand_samples() -> None:
    binom = pytest.importorskip("scipy.stats", reason="scipy is needed to compare with").binom
    n, q = 100_000, 0.99
    estimate = quantile(np.random.default_rng(1).permutation(n) + 1.0, q)
    assert estimate is not None
    assert binom.cdf(estimate.low - 1, n, q) <= 0.025 < binom.cdf(estimate.low, n, q)
    assert binom.sf(estimate.high - 1, n, q) <= 0.025 < binom.sf(estimate.high - 2, n, q)


def test_samples_that_come_in_bursts_support_no_far_quantile() -> None:
    bursts = autoregressive(np.random.default_rng(0), 1, 400, 0.9)[0] + 10
    assert quantile(bursts, 0.99) is None


@given(times, st.floats(0.01, 0.99), st.floats(0.5, 0.99), st.floats(0.5, 0.99))
def test_more_confidence_never_narrows_a_quantile(samples: list[float], q: float, c: float, d: float) -> None:
    narrow, wide = (quantile(samples, q, confidence) for confidence in sorted((c, d)))
    if wide is not None:
        assert narrow is not None
        assert wide.low <= narrow.low <= narrow.value == wide.value <= narrow.high <= wide.high


@given(times)
def test_every_interval_holds_its_value_and_nothing_is_negative(samples: list[float]) -> None:
    for estimate in (median(samples), mean(samples), throughput(samples, 4), ratio(samples, samples[::-1])):
        assert 0 <= estimate.low <= estimate.value <= estimate.high


@given(times, st.integers(-20, 20))
def test_another_unit_of_time_changes_nothing_but_the_unit(samples: list[float], exponent: int) -> None:
    unit = 2.0**exponent
    scaled = [sample * unit for sample in samples]
    for measure in (median, mean):
        before, after = measure(samples), measure(scaled)
        found = (after.value / unit, after.low / unit, after.high / unit)
        assert found == pytest.approx((before.value, before.low, before.high), rel=1e-6)


@given(times)
def test_order_does_not_move_the_value_of_a_quantile(samples: list[float]) -> None:
    expected = pytest.approx(float(np.median(samples)))
    assert median(samples).value == expected
    assert median(sorted(samples)).value == expected


def test_one_sample_bounds_nothing() -> None:
    assert median([2.0]) == Estimate(2.0, 0.0, math.inf)
    assert mean([2.0]) == Estimate(2.0, 0.0, math.inf)
    assert throughput([2.0], 4) == Estimate(2.0, 0.0, math.inf)
    assert ratio([2.0], [1.0]) == Estimate(2.0, 0.0, math.inf)


def test_a_median_of_too_few_samples_reaches_beyond_all_of_them() -> None:
    estimate = median([1.0, 1.1, 1.2])
    assert estimate.low < 1.0 < 1.1 == estimate.value < 1.2 < estimate.high


def test_a_median_of_too_few_samples_is_wider_the_fewer_they_are() -> None:
    widths = [relative_half_width(median([1.0, 1.1] * (n // 2) + [1.05] * (n % 2))) for n in (2, 3, 4, 5)]
    assert all(fewer > more for fewer, more in pairwise(widths))


def test_the_median_of_a_long_drift_reaches_as_far_as_the_samples() -> None:
    estimate = median(np.linspace(1.0, 1.6, 761))
    assert (estimate.low, estimate.high) == (1.0, 1.6)


def test_equal_times_have_intervals_without_width() -> None:
    assert median([0.25] * 10) == mean([0.25] * 10) == Estimate(0.25, 0.25, 0.25)
    assert throughput([0.25] * 10, 2) == Estimate(8.0, 8.0, 8.0)


def test_throughput_is_the_batch_over_the_mean_time_with_its_interval_turned_round() -> None:
    samples = np.random.default_rng(0).lognormal(size=100)
    time, rate = mean(samples), throughput(samples, 8)
    assert rate == Estimate(8 / time.value, 8 / time.high, 8 / time.low)


def test_slow_calls_stretch_the_interval_of_the_mean_upwards() -> None:
    estimate = mean(bimodal(np.random.default_rng(0).standard_normal(300)))
    assert estimate.high - estimate.value > 1.2 * (estimate.value - estimate.low)


def test_no_samples_is_an_error_that_says_so() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        median([])


@pytest.mark.parametrize(("phi", "independent"), [(0.0, 1.0), (0.5, 3.0), (0.8, 9.0)])
def test_effective_size_is_that_of_theory(phi: float, independent: float) -> None:
    rows = autoregressive(np.random.default_rng(2), 50, 2000, phi)
    assert np.median([2000 / effective_size(row) for row in rows]) == pytest.approx(independent, rel=0.15)


@given(times)
def test_effective_size_is_between_one_and_the_count(samples: list[float]) -> None:
    assert 1 <= effective_size(samples) <= len(samples)


def test_inputs_that_take_turns_count_in_full() -> None:
    assert effective_size([1.0, 2.0] * 100) == 200


@pytest.mark.parametrize(("phi", "alarms"), [(0.0, 0.08), (0.5, 0.1), (0.8, 0.1)])
def test_times_without_a_trend_seldom_raise_an_alarm(phi: float, alarms: float) -> None:
    rows = lognormal(autoregressive(np.random.default_rng(4), 500, 200, phi))
    assert 0.01 < np.mean([has_trend(row) for row in rows]) <= alarms


@pytest.mark.parametrize(
    "trend",
    [np.linspace(1.1, 1.0, 60), 1 + 0.5 * np.exp(-np.arange(60) / 10), np.where(np.arange(60) < 30, 1.1, 1.0)],
    ids=["steady", "settling", "step"],
)
def test_a_trend_in_noise_is_found(trend: np.ndarray) -> None:
    rng = np.random.default_rng(5)
    found = [has_trend(trend * (1 + 0.02 * rng.standard_normal(60))) for _ in range(100)]
    assert np.mean(found) >= 0.95


def test_a_single_outlier_is_no_trend() -> None:
    rng = np.random.default_rng(6)
    rows = [1 + 0.02 * rng.standard_normal(60) for _ in range(200)]
    for row in rows:
        row[0] = 100.0
    assert np.mean([has_trend(row) for row in rows]) < 0.12


def test_a_trend_within_the_margin_does_not_matter() -> None:
    samples = np.linspace(1.0, 1.01, 1000)
    assert has_trend(samples)
    assert not has_trend(samples, margin=0.02)
    assert has_trend(samples, margin=0.005)


@pytest.mark.parametrize("samples", [[1.0], [1.0, 2.0, 3.0], [2.0] * 50])
def test_few_or_equal_times_show_no_trend(samples: list[float]) -> None:
    assert not has_trend(samples)


def test_the_ratio_of_pairs_that_drift_together_is_sure() -> None:
    drift = np.array([1.0, 2.0, 1.5, 3.0])
    assert ratio(1.2 * drift, drift).value == pytest.approx(1.2)
    assert relative_half_width(ratio(1.2 * drift, drift)) < 1e-6


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)), min_size=2, max_size=10))
def test_the_ratio_turned_round_is_its_inverse(pairs: list[tuple[float, float]]) -> None:
    a, b = zip(*pairs, strict=True)
    there, back = ratio(a, b), ratio(b, a)
    assume(there.high < 1e300)
    assert (1 / back.value, 1 / back.high, 1 / back.low) == pytest.approx((there.value, there.low, there.high))


def test_the_interval_of_three_pairs_holds_the_true_ratio_19_times_in_20() -> None:
    rng = np.random.default_rng(7)
    restart = np.exp(0.03 * rng.standard_normal((2, 2000, 3)))
    found = [inside(1.1, ratio(1.1 * a, b)) for a, b in zip(*restart, strict=True)]
    assert share(found) == pytest.approx(0.95, abs=0.015)


def test_a_ratio_needs_pairs() -> None:
    with pytest.raises(ValueError, match="2 values of a and 3 of b"):
        ratio([1.0, 2.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [(Estimate(10, 9, 12), 0.15), (Estimate(5, 5, 5), 0.0), (Estimate(1, 0, math.inf), math.inf)],
)
def test_relative_half_width_is_half_the_interval_over_the_value(estimate: Estimate, expected: float) -> None:
    assert relative_half_width(estimate) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [(0.95, 1, 12.706205), (0.95, 2, 4.302653), (0.95, 5, 2.570582), (0.9, 10, 1.812461), (0.99, 30, 2.749996)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(confidence: float, degrees: int, expected: float) -> None:
    assert student(confidence, degrees) == pytest.approx(expected, abs=1e-6)
