"""What a playoff says: better, worse or a tie, by a test that stays valid however often the times are looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from navigator_core.results import Duel, Estimate
from navigator_core.statistics import student

MARGIN = 0.03
"""Candidates within 3 % of each other are a tie: a restart alone moves a result by as much."""

FEWEST_ROUNDS = 3
MOST_ROUNDS = 64
LOOKS = (4, 7, 12, 20, 36)
"""The rounds after which the times are looked at, beside once more at the end."""

ERROR = 0.01
"""How often, at most, a difference is seen where there is none, over all looks at all pairs of one playoff."""

EARLY = ERROR / 20
"""What each early look may spend of that; the last one has all that is left, three quarters at least."""

Times = Mapping[str, Sequence[float]]
"""Seconds per sample: one value for every round of fresh processes; fewer for one that was beaten and left."""


def over_turns(turns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """One value for each contestant in a round, from its slices' medians in turns of everyone's: the lower quartile.

    What else runs on the machine makes slices slower and never faster. Of five, the second fastest varies as little as
    the median where all are alike, and half as much where one in seven was disturbed.

    >>> over_turns([{"a": 1.0, "b": 2.0}, {"a": 1.5, "b": 2.2}, {"a": 1.1, "b": 9.0}, {"a": 3.0, "b": 2.1}])
    {'a': 1.1, 'b': 2.1}
    """
    return {name: sorted(turn[name] for turn in turns)[len(turns) // 4] for name in turns[0]}


def judge(times: Times, batch_sizes: Mapping[str, int], margin: float = MARGIN) -> tuple[Duel, ...]:
    """The fastest of those that are still there against each of the others, in the rounds that both played.

    What slows a whole round cancels in the ratio of two contestants, and the ratios' logarithms have a t interval. Its
    confidence makes up for the looks: each early one spends a small fixed share of the error, and the last all the
    rest, as Haybittle (Br. J. Radiology 44, 1971) and Peto et al. (Br. J. Cancer 34, 1976) stop a trial early.
    Looks, and the pairs of contestants, share by Bonferroni's inequality, which asks nothing of how they depend, so
    that this holds for few rounds as well. A number of rounds that is not one of `LOOKS` is taken for the last.

    "better" is a ratio that cannot be 1 and is above the margin, else it is a tie.
    """
    rounds = max(len(row) for row in times.values())
    logs = {name: np.log(np.asarray(row, dtype=np.float64)) for name, row in times.items()}
    leader = min((name for name in times if len(times[name]) == rounds), key=lambda name: float(logs[name].mean()))
    pairs = len(times) * (len(times) - 1) / 2
    duels = []
    for name, row in logs.items():
        if name == leader:
            continue
        ratio = _ratio(row - logs[leader][: len(row)], 1 - _level(len(row)) / pairs)
        duels.append(
            Duel(
                candidate=leader,
                rival=name,
                batch_sizes=(batch_sizes[leader], batch_sizes[name]),
                ratio=ratio,
                verdict="better" if verdict(ratio, margin) == "better" else "tie",
                rounds=len(row),
                margin=margin,
            )
        )
    return tuple(duels)


def verdict(ratio: Estimate, margin: float = MARGIN) -> Literal["better", "worse", "tie"]:
    """What the ratio of the other's time to one's own says, with the interval of the test.

    >>> verdict(Estimate(1.06, 1.01, 1.11)), verdict(Estimate(0.94, 0.9, 0.99)), verdict(Estimate(1.06, 0.99, 1.13))
    ('better', 'worse', 'tie')
    """
    if ratio.low > 1 and ratio.value > 1 + margin:
        return "better"
    if ratio.high < 1 and ratio.value < 1 / (1 + margin):
        return "worse"
    return "tie"


def playing_on(times: Times, batch_sizes: Mapping[str, int], margin: float = MARGIN) -> tuple[str, ...]:
    """Who plays on after a look: the leader and whom it has not beaten; nobody, where more rounds would change nothing.

    They would not where the 95 % interval of every ratio that is left lies within the margin. Ending there can only
    miss a difference, never make one, so it costs nothing of the error.
    """
    rounds = max(len(row) for row in times.values())
    left = [d for d in judge(times, batch_sizes, margin) if d.verdict == "tie" and d.rounds == rounds]
    if all(_alike(times[d.candidate], times[d.rival], margin) for d in left):
        return ()
    return (left[0].candidate, *(d.rival for d in left))


def _alike(ours: Sequence[float], theirs: Sequence[float], margin: float) -> bool:
    rounds = min(len(ours), len(theirs))
    logs = np.log(np.asarray(theirs[:rounds])) - np.log(np.asarray(ours[:rounds]))
    found = _ratio(logs, 0.95)
    return rounds >= FEWEST_ROUNDS and 1 / (1 + margin) <= found.low and found.high <= 1 + margin


def _ratio(logs: np.ndarray, confidence: float) -> Estimate:
    """The geometric mean and its t interval; of one value, 0 to infinity."""
    n, centre = len(logs), float(logs.mean())
    reach = float(logs.std(ddof=1)) / math.sqrt(n) * student(confidence, n - 1) if n > 1 else math.inf
    return Estimate(_exp(centre), _exp(centre - reach), _exp(centre + reach))


def _level(rounds: int) -> float:
    """How often a look after so many rounds may be wrong."""
    if rounds in LOOKS:
        return EARLY
    return ERROR - EARLY * sum(look < rounds for look in LOOKS)


def _exp(x: float) -> float:
    return math.exp(x) if x < 700 else math.inf
