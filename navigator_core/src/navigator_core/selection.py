"""Which candidate is best under an objective, who may win at all, and why."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from attrs import evolve, frozen

from navigator_core.candidates import Candidate
from navigator_core.duels import MARGIN
from navigator_core.errors import RequestError, unknown
from navigator_core.results import Duel, Estimate, Measurement, Objective
from navigator_core.rules import Rules

RACED = ("latency", "p50", "throughput")
"""The quantities that a playoff decides: all come down to the median time of a call."""

REACH = 1.10
"""Times as long as the leader a candidate may take, interval to interval, and still be the faster one in truth."""

TIMES = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
SIZES = {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12} | {
    "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40
}  # fmt: skip

ONLY_COMPARED = "not asked for: speed-ups are relative to it"

TAILS = {"p90": 50, "p95": 100, "p99": 500}
"""The calls without which a percentile cannot be said: 36, 72 and 368, some more where they depend on each other."""

MINIMIZED = ("latency", "p50", *TAILS, "memory", "size")
MAXIMIZED = ("throughput",)

_NUMBER = r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)"
_LIMIT = re.compile(rf"\s*(\w[\w.+-]*)\s*(<=|>=)\s*{_NUMBER}\s*([^\s\d]*)\s*", re.IGNORECASE)


@frozen
class Limit:
    """``quantity`` must be at most (or at least) ``bound``; durations in seconds, sizes in bytes."""

    text: str
    quantity: str
    at_most: bool
    bound: float


@frozen
class Ranked:
    """A candidate that may win: its score, the lower the better, and the measurement that this is from."""

    score: float
    candidate: Candidate
    measurement: Measurement


@frozen
class Ranking:
    """Who may win, the best first; and of the others that are right why they may not."""

    scored: tuple[Ranked, ...]
    refused: Mapping[str, str]


@frozen
class Selection:
    """``best`` by name, None if nothing may win. ``ties`` are what the best was preferred to, ``why`` a sentence."""

    best: str | None
    order: tuple[str, ...]
    refused: Mapping[str, str]
    ties: tuple[str, ...] = ()
    why: str = ""


def check(objective: Objective, profilers: Mapping[str, str] = MappingProxyType({})) -> None:
    """Raises RequestError for an objective that names no quantity, two, or a limit that cannot be read.

    ``profilers`` are plugins' profilers, whose quantities may be minimized and limited as well: their units by name.
    """
    minimized = (*MINIMIZED, *profilers)
    if objective.minimize is not None and objective.maximize is not None:
        raise RequestError("an objective minimizes or maximizes one quantity; put the other into limits")
    if objective.minimize is not None and objective.minimize not in minimized:
        raise unknown("quantity to minimize", objective.minimize, minimized)
    if objective.maximize is not None and objective.maximize not in MAXIMIZED:
        raise unknown("quantity to maximize", objective.maximize, MAXIMIZED)
    if objective.batch_size is not None and objective.batch_size < 1:
        raise RequestError(f"batch_size must be at least 1, not {objective.batch_size}")
    if isinstance(objective.limits, str):
        raise RequestError(f"limits must be a tuple, such as ({objective.limits!r},), not a str")
    for text in objective.limits:
        parse_limit(text, profilers)


def parse_limit(text: str, profilers: Mapping[str, str] = MappingProxyType({})) -> Limit:
    """ "p99<=20ms" as a value; the bound of a plugin's quantity is in its profiler's unit. Raises RequestError.

    >>> parse_limit("memory<=2GiB").bound
    2147483648.0
    """
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise RequestError(
            f"cannot read the limit {text!r}; write it as 'p99<=20ms', 'memory<=2GiB' or 'throughput>=100'"
        )
    quantity, sign, number, unit = match.groups()
    known = (*MINIMIZED, *MAXIMIZED, *profilers)
    if quantity not in known:
        raise unknown("quantity in limits", quantity, known)
    units = _units(quantity, profilers)
    if unit.lower() not in units:
        raise unknown(f"unit in the limit {text!r}", unit, units)
    at_most = sign == "<="
    if at_most is (quantity in MAXIMIZED):
        raise RequestError(f"the limit {text!r} points the wrong way: {quantity} needs {'>=' if at_most else '<='}")
    return Limit(text, quantity, at_most, float(number) * units[unit.lower()])


def _units(quantity: str, profilers: Mapping[str, str]) -> dict[str, float]:
    """The units that a bound may be given in, by what makes of each the unit that the quantity is measured in."""
    if quantity in MAXIMIZED:
        return {"": 1.0}
    own = "b" if quantity in ("memory", "size") else "s" if quantity in MINIMIZED else profilers[quantity].lower()
    for family in (SIZES, TIMES):
        if own in family:
            return {"": 1.0, **{unit: value / family[own] for unit, value in family.items()}}
    return {"": 1.0, own: 1.0}


def calls_needed(objective: Objective) -> int:
    """The calls without which what is asked for cannot be said."""
    asked = f"{objective.minimize} {' '.join(objective.limits)}"
    return max((calls for name, calls in TAILS.items() if name in asked), default=6)


def quantity(name: str, candidate: Candidate, measurement: Measurement) -> Estimate | None:
    """A quantity of a measurement with its interval; None where it is not known."""
    if name in ("latency", "p50"):
        return measurement.p50
    if name in TAILS:
        found: Estimate | None = getattr(measurement, name)
        return found
    if name == "throughput":
        return measurement.throughput
    if name in measurement.others:
        return measurement.others[name]
    if name not in MINIMIZED:
        return None
    value = candidate.size if name == "size" else max(measurement.memory.values(), default=None)
    return None if value is None else Estimate(float(value), float(value), float(value))


def rank(candidates: Iterable[Candidate], rules: Rules) -> Ranking:
    """Those that may win by their score, the best first, and of the others that are right why they may not.

    Raises RequestError as `check` does.
    """
    check(rules.objective, rules.profilers)
    limits = [parse_limit(text, rules.profilers) for text in rules.objective.limits]
    refused: dict[str, str] = {}
    scored: list[Ranked] = []
    for candidate in candidates:
        if candidate.status != "ok":
            continue
        found = _score(candidate, rules.objective, limits)
        why = ONLY_COMPARED if candidate.comparison else rules.why_not(candidate.precision)
        if isinstance(found, Ranked) and why is None:
            scored.append(found)
        else:
            refused[candidate.name] = why or str(found)
    return Ranking(tuple(sorted(scored, key=lambda one: one.score)), refused)


def select(candidates: Sequence[Candidate], rules: Rules, duels: Sequence[Duel] = ()) -> Selection:
    """The best candidate: right, of a precision that may win, within the limits, and first by the objective.

    What ``duels`` say of the very candidates and batch sizes that the objective asks for counts more than
    measurements taken apart from each other, which are a tie within 3 %. A tie is broken by memory, then size,
    then portability; where a playoff could not tell two apart that look farther from each other than its margin, the
    one that looks faster is preferred.
    """
    ranking = rank(candidates, rules)
    if not ranking.scored:
        return Selection(None, (), ranking.refused)
    scored = {one.candidate.name: one for one in ranking.scored}
    said = [d for d in duels if _fits(d, scored, rules.objective)]
    undecided = [d for d in said if d.verdict == "tie" and d.ratio.value > 1 + d.margin]
    if said:
        leader = scored[said[0].candidate]
        tied = [leader, *(scored[d.rival] for d in said if d.verdict == "tie" and d not in undecided)]
    else:
        leader = ranking.scored[0]
        bound = leader.score * (1 + MARGIN if leader.score > 0 else 1 - MARGIN)
        tied = [one for one in ranking.scored if one.score <= bound]
    first, *behind = sorted(tied, key=_merit)
    best = first.candidate
    beaten = {d.rival: d.ratio.value for d in said if d.verdict == "better" or d in undecided}
    places = {one.candidate.name: (place, 0.0) for place, one in enumerate(ranking.scored, start=2)}
    places |= {name: (1, slower) for name, slower in beaten.items()}
    places |= {one.candidate.name: (0, one.score) for one in tied}
    places[best.name] = (-1, 0.0)
    others = tuple(one.candidate.name for one in tied if one.candidate is not best)
    why = _tied(first, behind[0], others, said) if behind else _won(said)
    ties = (*others, *(d.rival for d in undecided))
    return Selection(best.name, tuple(sorted(scored, key=lambda name: places[name])), ranking.refused, ties, why)


def raced(objective: Objective) -> bool:
    """Whether the median time of a call decides, so that a playoff may."""
    return _quantity(objective) in RACED


def leaders(scored: Sequence[Ranked], objective: Objective, reach: float = REACH) -> list[Ranked]:
    """The first, with those whose measured times do not tell that they are slower, the best first."""
    if not raced(objective) or not scored:
        return []
    least = _seconds(scored[0].measurement).high * reach
    return [one for one in scored if _seconds(one.measurement).low <= least]


def _seconds(measurement: Measurement) -> Estimate:
    """Of a call's median, for one sample."""
    found = measurement.p50
    return Estimate(*(value / measurement.batch_size for value in (found.value, found.low, found.high)))


def _fits(duel: Duel, scored: Mapping[str, Ranked], objective: Objective) -> bool:
    """Whether a duel was about this question."""
    if not raced(objective) or not {duel.candidate, duel.rival} <= set(scored):
        return False
    sizes = scored[duel.candidate].measurement.batch_size, scored[duel.rival].measurement.batch_size
    return sizes == duel.batch_sizes


def _tied(best: Ranked, second: Ranked, others: Sequence[str], said: Sequence[Duel]) -> str:
    tie = f"a tie with {', '.join(others)}"
    if said:
        tie += f" in a playoff of {max(duel.rounds for duel in said)} rounds"
        duel = next((d for d in said if {d.candidate, d.rival} == {best.candidate.name, second.candidate.name}), None)
        tie += f", where {duel.candidate} looked {_times(duel)} as fast as {duel.rival}" if duel else ""
    return f"{tie}; {best.candidate.name} {_preferred(best, second)}"


def _preferred(best: Ranked, second: Ranked) -> str:
    """What broke a tie."""
    (memory, size, foreign, _), (more, larger, elsewhere, _) = _merit(best), _merit(second)
    if memory < more:
        return f"needs less memory, {memory} MiB and not {more} MiB"
    if size < larger:
        return "can be stored" if math.isinf(larger) else f"is smaller, {size:,} bytes and not {larger:,}"
    if foreign < elsewhere:
        return "is portable"
    return "is the first by name, alike in memory, size and portability"


def _won(said: Sequence[Duel]) -> str:
    if not said:
        return ""
    closest = min(said, key=lambda d: d.ratio.value)
    what = f"{_times(closest)} as fast as {closest.rival} in a playoff of {closest.rounds} rounds"
    return what if closest.verdict == "better" else f"it looked {what}, which could not tell them apart"


def _times(duel: Duel) -> str:
    high = f"{duel.ratio.high:.2f}" if duel.ratio.high < 100 else "over 100"
    return f"{duel.ratio.value:.2f} times [{duel.ratio.low:.2f}, {high}]"


def _quantity(objective: Objective) -> str:
    return objective.maximize or objective.minimize or "latency"


def _score(candidate: Candidate, objective: Objective, limits: Iterable[Limit]) -> Ranked | str:
    """By the best of the batch sizes that count and hold the limits, or the sentence why none does."""
    name = _quantity(objective)
    measurements = _counting(candidate, objective)
    if not measurements:
        where = "" if objective.batch_size is None else f" at batch size {objective.batch_size}"
        ended = next((f": {one.unstable}" for one in candidate.measurements[-1:] if one.brief), "")
        return f"was not measured{where}{ended}"
    scores: list[Ranked] = []
    why = f"{name} was not measured"
    for measurement in measurements:
        broken = next((text for limit in limits if (text := _broken(limit, candidate, measurement))), None)
        found = quantity(name, candidate, measurement)
        if broken is None and found is not None:
            scores.append(Ranked(-found.value if objective.maximize else found.value, candidate, measurement))
        else:
            why = broken or f"unknown: {_unsupported(name, measurement)}"
    return min(scores, key=lambda one: one.score) if scores else why


def _counting(candidate: Candidate, objective: Objective) -> tuple[Measurement, ...]:
    if objective.batch_size is not None:
        found = candidate.at(objective.batch_size)
        return (found,) if found else ()
    return candidate.measurements if objective.maximize else candidate.measurements[:1]


def _broken(limit: Limit, candidate: Candidate, measurement: Measurement) -> str | None:
    found = quantity(limit.quantity, candidate, measurement)
    where = f"at batch size {measurement.batch_size}"
    if found is None:
        return f"unknown: {_unsupported(limit.quantity, measurement)} {where}, which leaves {limit.text} undecided"
    worst = found.high if limit.at_most else found.low
    holds = worst <= limit.bound if limit.at_most else worst >= limit.bound
    return None if holds else f"over the limit: {limit.text} does not hold {where} ({worst:.4g})"


def _unsupported(name: str, measurement: Measurement) -> str:
    if name == "size":
        return "what exists only in memory has no size"
    if name in TAILS:
        return f"{measurement.calls} calls do not support {name}"
    return f"{name} was not measured"


def _merit(ranked: Ranked) -> tuple[int, float, bool, str]:
    """What breaks a tie, the least first: memory in MiB, bytes of the artifact, whether it is bound here, the name."""
    candidate = ranked.candidate
    memory = max(ranked.measurement.memory.values(), default=0)
    portable = candidate.recipe is not None and candidate.recipe.portable and not candidate.recipe.live
    size = math.inf if candidate.size is None else candidate.size
    return (round(memory / 2**20), size, not portable, candidate.name)


ORDER: Mapping[str, int] = {"ok": 0, "incorrect": 1, "failed": 2, "skipped": 3, "unavailable": 4}


def in_order(candidates: Iterable[Candidate], selection: Selection) -> tuple[Candidate, ...]:
    """The candidates in order of merit, those that may not win with the reason; failed and unavailable ones last."""
    places = {name: place for place, name in enumerate(selection.order)}
    ordered = sorted(candidates, key=lambda c: (ORDER[c.status], places.get(c.name, len(places)), c.name))
    return tuple(evolve(c, reason=selection.refused.get(c.name)) if c.status == "ok" else c for c in ordered)
