"""What a row of measured times says, and how sure it is: pure functions on one-dimensional sequences of seconds.

Times of calls are skewed, have several modes and depend on their neighbours. So the intervals of quantiles assume no
distribution, that of the mean allows for skew, and all are as wide as if only `effective_size` samples were drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from navigator_core.results import Estimate

Array = npt.NDArray[np.float64]
Samples = Sequence[float] | npt.NDArray[np.floating[Any]]


def quantile(samples: Samples, q: float, confidence: float = 0.95) -> Estimate | None:
    """The ``q`` quantile between two order statistics; None where the samples are too few to bound it.

    Each tail holds ``(1 - confidence) / 2``, so 95 % need 6 samples for the median, 72 for p95 and 368 for p99:
    the least n with ``max(q, 1 - q) ** n <= 0.025`` (Conover, Practical Nonparametric Statistics, section 3.2).
    Samples that depend on their neighbours count less: by the `effective_size` of "is it under the quantile?", the
    series whose sum the binomial distribution describes. A handful of samples beyond it would hide that they come in
    bursts, so the question is asked where at least 30 lie on either side.

    >>> quantile([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.5)
    Estimate(value=3.5, low=1.0, high=6.0)
    """
    times = _array(samples)
    n, value = len(times), float(np.quantile(times, q))
    beyond = min(0.5, 30 / n)
    counted = int(effective_size(times <= np.quantile(times, min(max(q, beyond), 1 - beyond))))
    ranks = _ranks(counted, q, confidence)
    if ranks is None:
        return None
    ordered = np.sort(times)
    low = float(ordered[ranks[0] * n // counted - 1])
    high = float(ordered[-(-ranks[1] * n // counted) - 1])
    return Estimate(value, min(value, low), max(value, high))


def median(samples: Samples, confidence: float = 0.95) -> Estimate:
    """The median, always with an interval: that of `quantile` where there is one.

    Else it is the reach of the samples, if there are enough and only their dependence (a long drift) forbids more;
    of fewer, that widened to the t interval which takes the logarithms to be normal. One bounds nothing: 0 to infinity.
    """
    estimate = quantile(samples, 0.5, confidence)
    if estimate is not None:
        return estimate
    times = _array(samples)
    value, least, most = float(np.median(times)), float(times.min()), float(times.max())
    if _ranks(len(times), 0.5, confidence) is not None:
        return Estimate(value, least, most)
    if len(times) == 1 or least <= 0.0:
        return Estimate(value, 0.0, math.inf)
    centre, error, counted = _centre(np.log(times))
    reach = error * student(confidence, _degrees(counted, len(times)))
    return Estimate(value, min(least, _exp(centre - reach)), max(most, _exp(centre + reach)))


def mean(samples: Samples, confidence: float = 0.95) -> Estimate:
    """The mean with its t interval, bent by the samples' skew; never below 0.

    Without the bend, a few slow calls in a hundred put the mean outside too often. It is the inverse of the cubic
    transformation in P. Hall, "On the removal of skewness by transformation", J. R. Statist. Soc. B 54 (1992).
    What is too rare to be among the samples cannot be in the interval. One sample bounds nothing: 0 to infinity.
    """
    times = _array(samples)
    if len(times) == 1:
        return Estimate(float(times[0]), 0.0, math.inf)
    centre, error, counted = _centre(times)
    if error <= 1e-12 * abs(centre):
        return Estimate(centre, centre, centre)
    reach = student(confidence, _degrees(counted, len(times)))
    skew = float(np.mean(((times - centre) / times.std()) ** 3)) / math.sqrt(counted)
    low, high = centre - error * _bent(reach, skew), centre - error * _bent(-reach, skew)
    return Estimate(centre, max(0.0, min(centre, low)), max(centre, high))


def throughput(samples: Samples, batch_size: int, confidence: float = 0.95) -> Estimate:
    """Samples per second when calls of ``batch_size`` follow each other: the batch size over the `mean` time.

    >>> throughput([0.5, 0.5, 0.5], batch_size=8)
    Estimate(value=16.0, low=16.0, high=16.0)
    """
    time = mean(samples, confidence)
    return Estimate(*(batch_size / seconds if seconds else math.inf for seconds in (time.value, time.high, time.low)))


def ratio(a: Samples, b: Samples, confidence: float = 0.95) -> Estimate:
    """How many times as long ``a`` takes as ``b``: the geometric mean of the pairs' ratios, with its t interval.

    One value per independent pair, such as the medians of two slices run in turn. Where a fresh process moves all of
    its slices, they are no independent pairs: give one value per process. One pair bounds nothing: 0 to infinity.
    """
    if len(a) != len(b):
        raise ValueError(f"pairs are needed, but there are {len(a)} values of a and {len(b)} of b")
    logs = np.log(_array(a)) - np.log(_array(b))
    value, n = _exp(float(logs.mean())), len(logs)
    if n == 1:
        return Estimate(value, 0.0, math.inf)
    reach = float(logs.std(ddof=1)) / math.sqrt(n) * student(confidence, n - 1)
    return Estimate(value, value * _exp(-reach), value * _exp(reach))


def relative_half_width(estimate: Estimate) -> float:
    """Half of the interval over the value: 0.02 is "±2 %". Infinite for an open interval, or about 0.

    >>> relative_half_width(Estimate(10.0, 9.0, 12.0))
    0.15
    """
    half = (estimate.high - estimate.low) / 2
    if half == 0.0:
        return 0.0
    return half / abs(estimate.value) if estimate.value else math.inf


def has_trend(samples: Samples, margin: float = 0.0) -> bool:
    """Whether times rise or fall steadily from first to last; a false alarm in about 5 % of rows without a trend.

    Spearman's correlation of times with their order, judged by the `effective_size` of what is left of the ranks
    once a straight line is taken out: what Hamed and Rao did for Mann and Kendall's test in "A modified Mann-Kendall
    trend test for autocorrelated data", J. Hydrology 204 (1998). With a ``margin``, the medians of the first and
    last third must also differ by more than that share: thousands of calls reveal trends too small to matter.
    """
    times = _array(samples)
    n = len(times)
    if n < 5 or times.min() == times.max():
        return False
    _, place, count = np.unique(times, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    ranks, order = ranks - ranks.mean(), np.arange(n) - (n - 1) / 2
    slope = float(ranks @ order / (order @ order))
    correlation = slope * math.sqrt(float(order @ order / (ranks @ ranks)))
    counted = effective_size(ranks - slope * order)
    if abs(correlation) * math.sqrt(max(counted - 1, 0.0)) <= 1.96:
        return False
    first, last = float(np.median(times[: n // 3])), float(np.median(times[-(n // 3) :]))
    return abs(last - first) > margin * abs(first)


def effective_size(samples: Samples | npt.NDArray[np.bool_]) -> float:
    """How many independent samples would tell the mean as well: n over the autocorrelation time, from 1 to n.

    The time sums autocorrelations in pairs until a pair is not positive: C. J. Geyer, "Practical Markov chain
    Monte Carlo", Statistical Science 7 (1992). Two corrections: autocorrelations about the samples' own mean are too
    small by the time over n, and where neighbours show no dependence at the 5 % level all n count.
    """
    values = _array(samples)
    n = len(values)
    if n < 4 or values.min() == values.max():
        return float(n)
    spectrum = np.fft.rfft(values - values.mean(), 1 << (2 * n - 1).bit_length())
    covariance = np.fft.irfft((spectrum * spectrum.conj()).real)[: n // 2 * 2]
    found = covariance / covariance[0]
    noise = 1 / math.sqrt(n)
    if found[1] < 1.645 * noise and found[2] + found[3] < 1.645 * noise * math.sqrt(2):
        return float(n)
    time = 0.0
    for _ in range(3):
        corrected = (found + time / n) / (1 + time / n)
        pairs = corrected.reshape(-1, 2).sum(axis=1)
        lost = np.flatnonzero(pairs <= 0)
        time = max(1.0, 2 * float(pairs[: lost[0] if len(lost) else None].sum()) - 1)
    return max(1.0, n / time)


def _array(samples: Any) -> Array:
    array = np.asarray(samples, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"a row of at least one sample is needed, not an array of shape {array.shape}")
    return array


def _centre(values: Array) -> tuple[float, float, float]:
    """The mean, its standard error, and how many samples count (at least 2)."""
    counted = max(2.0, effective_size(values))
    return float(values.mean()), float(values.std()) / math.sqrt(counted - 1), counted


def _degrees(counted: float, n: int) -> int:
    """Degrees of freedom of the standard error: about half where the dependence had to be estimated as well."""
    return n - 1 if counted == n else max(1, int(counted / 2))


def _bent(t: float, skew: float) -> float:
    """The statistic whose transformation by Hall is ``t``; ``skew`` is that of the samples over the root of n."""
    if abs(skew) < 1e-6:
        return t
    return 3 / skew * (math.cbrt(1 + skew * (t - skew / 6)) - 1)


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


@lru_cache(maxsize=512)
def _ranks(n: int, q: float, confidence: float) -> tuple[int, int] | None:
    """The order statistics, counted from 1, that leave at most half the doubt on either side; None if none do."""
    doubt = (1 - confidence) / 2 * (1 + 1e-9)
    if not 0 < q < 1 or max(q, 1 - q) ** n > doubt:
        return None
    k = np.arange(n + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
    chances = np.exp(factorials[n] - factorials - factorials[::-1] + k * math.log(q) + (n - k) * math.log1p(-q))
    below = int(np.searchsorted(np.cumsum(chances), doubt, side="right"))  # P(at most below - 1 under) <= doubt
    above = int(np.searchsorted(np.cumsum(chances[::-1]), doubt, side="right"))
    return below, n + 1 - above


@lru_cache(maxsize=512)
def student(confidence: float, degrees: int) -> float:
    """The two-sided quantile of Student's t, from Abramowitz and Stegun 26.7.3 and 26.7.4.

    More than 200 degrees of freedom count as 200, which is 0.6 % too wide at most for 95 %.
    """
    degrees = max(1, min(degrees, 200))
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        low, high = (angle, high) if _student_within(angle, degrees) < confidence else (low, angle)
    return math.sqrt(degrees) * math.tan(low)


def _student_within(angle: float, degrees: int) -> float:
    """The chance that ``abs(t) < sqrt(degrees) * tan(angle)``."""
    odd = degrees % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0 if degrees == 1 else term
    for k in range(2 + odd, degrees - 1, 2):
        term *= (k - 1) / k * math.cos(angle) ** 2
        total += term
    return 2 / math.pi * (angle + math.sin(angle) * total) if odd else math.sin(angle) * total
