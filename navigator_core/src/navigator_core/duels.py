"""What a playoff says: better or a tie, by a test that stays valid however often the times are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from navigator_core.results import Duel, Estimate
from navigator_core.statistics import student

MARGIN = 0.03
"""Candidates within 3 % of each other are a tie: a restart alone moves a result by as much."""

FEWEST_ROUNDS = 3
MOST_ROUNDS = 8
LOOKS = (3, 5, 8)
"""The rounds after which the times are looked at, beside once more when the time is up."""

ERROR = 0.01
"""How often, at most, a difference is seen where there is none, over all looks at all rivals of one playoff."""


def judge(times: Mapping[str, Sequence[float]], batch_sizes: Mapping[str, int]) -> tuple[Duel, ...]:
    """The fastest against each of the others, from seconds per sample: one value for every round of fresh processes.

    The logarithms of the times are taken for contestant + round + noise, with the same variance of noise for all, as
    in a two-way analysis of variance: what slows a whole round cancels, and k contestants in n rounds leave
    (k - 1) (n - 1) degrees of freedom. The looks, at every rival, share the error by Bonferroni's inequality.
    """
    names = list(times)
    logs = np.log(np.array([times[name] for name in names], dtype=np.float64))
    centres = logs.mean(axis=1)
    k, n = logs.shape
    degrees = (k - 1) * (n - 1)
    residuals = logs - centres[:, None] - logs.mean(axis=0) + logs.mean()
    error = math.sqrt(2 / n * float((residuals**2).sum()) / degrees) if degrees else math.inf
    confidence = 1 - ERROR / ((k - 1) * (len(LOOKS) + 1))
    reach = error * student(confidence, degrees) if degrees else math.inf
    first = int(centres.argmin())
    duels = []
    for place, name in enumerate(names):
        if place == first:
            continue
        slower = float(centres[place] - centres[first])
        found = Estimate(math.exp(slower), _exp(slower - reach), _exp(slower + reach))
        duels.append(
            Duel(
                candidate=names[first],
                rival=name,
                batch_sizes=(batch_sizes[names[first]], batch_sizes[name]),
                ratio=found,
                verdict="better" if found.low > 1 and found.value > 1 + MARGIN else "tie",
                rounds=n,
            )
        )
    return tuple(duels)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf


def settled(duels: Sequence[Duel]) -> bool:
    """Whether more rounds would change nothing: each rival is slower, or as fast within the margin."""
    return all(
        d.rounds >= FEWEST_ROUNDS
        and (d.verdict == "better" or (d.ratio.low >= 1 / (1 + MARGIN) and d.ratio.high <= 1 + MARGIN))
        for d in duels
    )
