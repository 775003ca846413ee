"""Which candidates are so far behind that measuring them as closely as the others would change nothing.

Only what no luck could turn round is cut short: a median whose interval begins above 1.5 times the end of a rival's, at
the same batch size. Starting again moves a result by 1 to 6 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from attrs import frozen

from navigator_core.contention import NOTICEABLE
from navigator_core.results import Estimate, Measurement

BEYOND = 1.5
"""Times as long, interval to interval, from which on a candidate is behind beyond doubt."""

FEWEST_SIZES = 3
"""Batch sizes at which a candidate is behind before larger ones are left out."""


@frozen(kw_only=True)
class Rival:
    """A candidate that may win whenever the other one may: its medians by batch size, the smallest first."""

    name: str
    sizes: tuple[int, ...]
    times: tuple[Estimate, ...]

    def at(self, size: int) -> Estimate | None:
        """Its median at a batch size; None where that was not measured."""
        return next((time for n, time in zip(self.sizes, self.times, strict=True) if n == size), None)


def rival(name: str, measurements: Sequence[Measurement]) -> Rival | None:
    """What is measured in full as a rival; None where nothing is, or where others took part of the machine."""
    full = [one for one in measurements if not one.brief]
    if not full or any(one.conditions is not None and one.conditions.others >= NOTICEABLE for one in measurements):
        return None
    return Rival(name=name, sizes=tuple(one.batch_size for one in full), times=tuple(one.p50 for one in full))


def behind(median: Estimate, size: int, rivals: Sequence[Rival]) -> str | None:
    """The sentence that says which rival is far faster at a batch size, and by how much at least; None if none is."""
    found = [(median.low / time.high, one.name) for one in rivals if (time := one.at(size)) and time.high > 0]
    least, name = max(found, default=(0.0, ""))
    return f"at least {least:.2g} times as slow as {name}" if least > BEYOND else None


def hopeless(own: Sequence[tuple[int, Estimate]], rivals: Sequence[Rival]) -> str | None:
    """The sentence that says why no larger batch would help; None where one might.

    A rival must be far faster at each of at least three sizes, and what a call takes more for every further sample must
    be as far apart, interval to interval, over both of the last two steps. Then times that go on to grow as they did
    never meet.
    """
    if len(own) < FEWEST_SIZES:
        return None
    for one in rivals:
        theirs = [one.at(size) for size, _ in own]
        pairs = [(mine, their) for (_, mine), their in zip(own, theirs, strict=True) if their is not None]
        if len(pairs) < len(own) or any(mine.low <= BEYOND * their.high for mine, their in pairs):
            continue
        if all(
            larger.low - mine.high > BEYOND * max(0.0, greater.high - their.low)
            for (mine, their), (larger, greater) in pairwise(pairs[-FEWEST_SIZES:])
        ):
            return f"{one.name} is far faster at every size so far, and by more the larger: larger ones were left out"
    return None
