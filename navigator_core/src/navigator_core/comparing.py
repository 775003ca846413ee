"""Two packages compared, in order: what they are, what they answer, who is faster, what that comes to."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from navigator_core import arrays, drift, pairing, rendering, replies, sides
from navigator_core.comparison import Compared, Comparison, Pace
from navigator_core.duels import MARGIN, judge, verdict
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.execution import Workers
from navigator_core.interruption import Interruption
from navigator_core.progress import watching
from navigator_core.reference import StoredBatch
from navigator_core.replies import Replies
from navigator_core.results import Estimate, OutputError, Tolerance
from navigator_core.samples import Arrays
from navigator_core.sides import Side
from navigator_core.turns import Played

A, B = "A", "B"
SHARE = 1.0
"""Seconds of each one's turns in a round, as in a run."""


@frozen(kw_only=True)
class Asked:
    """What is allowed: B's over A's, at most. None: it is reported and does not decide. Raises RequestError."""

    batch_sizes: tuple[int, ...] | None = None
    runner: str | None = None
    trust: bool = False
    tolerance: Tolerance | Mapping[str, Tolerance] | None = None
    latency_ratio: float = 1 + MARGIN
    memory_ratio: float | None = None
    size_ratio: float | None = None
    seconds: float = SHARE

    def __attrs_post_init__(self) -> None:
        for name, least in (("latency_ratio", 1.0), ("memory_ratio", 0.0), ("size_ratio", 0.0)):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and least <= value < float("inf")
            if value is not None and not number:
                raise RequestError(f"{name} must be at least {least:g}, such as 1.05 for 5 % more, not {value!r}")
        sizes = self.batch_sizes
        if sizes is not None and (not sizes or not all(type(n) is int and n > 0 for n in sizes)):
            raise RequestError(f"batch_sizes must be positive integers, not {list(sizes)}")


def compare(a: Any, b: Any, samples: Any, asked: Asked) -> Comparison:
    """See `navigator.compare`."""
    ours, theirs = sides.side(A, a, asked.runner, asked.trust), sides.side(B, b, asked.runner, asked.trust)
    differing = drift.differences(ours.signature, theirs.signature)
    if differing:
        told = "".join(f"\n  {one}" for one in differing)
        raise RequestError(f"B cannot stand in A's place, so that nothing is to be compared:{told}")
    given = sides.tolerances(asked.tolerance, ours.signature)
    sizes, notes = _sizes(ours, theirs, asked.batch_sizes)
    rows, more = _samples(ours, theirs, samples)
    with (
        Interruption(),
        tempfile.TemporaryDirectory(prefix="navigator-compare-") as name,
        Workers() as workers,
        watching(2 + len(sizes)) as step,
    ):
        folder = Path(name)
        stored = pairing.store(folder / "inputs", rows, ours.signature, sizes)
        entrants = {one.label: pairing.entrant(one, stored, sizes, folder / "inputs") for one in (ours, theirs)}
        said = {}
        for one in (ours, theirs):
            with step(f"{one.label}: {one.candidate.name}"):
                said[one.label] = pairing.ask(one, entrants[one.label], folder / one.label, workers)
        found = _drift(ours, theirs, said, stored, folder, given)
        played = {}
        for size in sizes:
            with step(f"A against B at batch size {size}"):
                played[size] = pairing.play(
                    (ours, theirs), entrants, size, asked.seconds, asked.latency_ratio - 1, folder / f"{size}", workers
                )
    return _concluded(
        compared=[_compared(one, said[one.label]) for one in (ours, theirs)],
        asked=asked,
        found=found,
        played=played,
        notes=[*ours.notes, *theirs.notes, *notes, *more],
    )


def _sizes(a: Side, b: Side, asked: Sequence[int] | None) -> tuple[tuple[int, ...], list[str]]:
    """The batch sizes to compare at: the user's, else those that both measured."""
    batched = any(spec.batch_axis is not None for spec in a.signature.inputs)
    if asked is not None:
        if not batched and set(asked) != {1}:
            raise RequestError(f"batch_sizes={list(asked)}, but the model has no batch axis")
        return tuple(sorted(set(asked))), []
    measured = [{m.batch_size for m in one.candidate.measurements} for one in (a, b)]
    both = tuple(sorted(set.intersection(*measured)))
    if both:
        return both, []
    return (1,), ["there is no batch size that both measured: they are compared at 1, or at batch_sizes="]


def _samples(a: Side, b: Side, given: Any) -> tuple[tuple[Arrays, ...], list[str]]:
    """The user's samples, else those of both sides, each once."""
    if given is not None:
        return sides.given_samples(given, a.signature), []
    found: dict[Any, Arrays] = {}
    unfit = 0
    for sample in (*a.samples, *b.samples):
        if sides.misfit(sample, a.signature) is not None:
            unfit += 1
            continue
        found.setdefault(tuple((n, sample[n].shape, sample[n].tobytes()) for n in sorted(sample)), sample)
    if not found:
        raise RequestError("neither side holds samples to call it with: give some with samples=")
    return tuple(found.values()), [f"{unfit} samples of B have a shape that A does not take"] if unfit else []


@frozen(kw_only=True)
class _Drift:
    outputs: Mapping[str, OutputError] = field(factory=dict)
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()


def _drift(
    a: Side,
    b: Side,
    said: Mapping[str, Replies],
    stored: Sequence[StoredBatch],
    folder: Path,
    given: Mapping[str, Tolerance],
) -> _Drift:
    """How far the answers are apart, where there are two to compare."""
    raised = {label: said[label].raised for label in (A, B)}
    alone = {name: why for name, why in raised[B].items() if name not in raised[A]}
    lost = [f"B does not answer {name}, which A does: it {why}" for name, why in alone.items()]
    notes = [f"A does not answer {name}, which is not compared: it {why}" for name, why in raised[A].items()]
    both = [batch for batch in stored if batch.name not in raised[A] and batch.name not in raised[B]]
    if not said[A].steady:
        return _Drift(reasons=lost, notes=[*notes, "A answers something else when it is called again: no drift"])
    if not both:
        return _Drift(reasons=lost, notes=notes)
    ours, theirs = (
        {batch.name: arrays.load(replies.place(folder / label, batch)) for batch in both} for label in (A, B)
    )
    allowed = drift.bars(a.candidate, b.candidate, list(ours.values()), a.signature, given)
    free = [name for name, bar in allowed.items() if bar.atol == float("inf") and bar.top1 is None]
    if free:
        notes.append(f"how far {', '.join(free)} may drift is not known, as verify= decided: tolerance= says it")
    inputs = {batch.name: batch.inputs(folder / "inputs") for batch in both}
    outputs, beyond = drift.measure(inputs, ours, theirs, allowed)
    if not said[B].steady:
        lost.append("B answers something else when it is called again, which A does not")
    return _Drift(outputs=outputs, reasons=[*lost, *(f"its outputs drifted: {text}" for text in beyond)], notes=notes)


def _compared(one: Side, said: Replies) -> Compared:
    candidate = one.candidate
    return Compared(
        name=one.name,
        candidate=candidate.name,
        runner=candidate.runner,
        precision=candidate.precision,
        device=candidate.device,
        size=candidate.size,
        memory=said.memory,
    )


def _concluded(
    compared: Sequence[Compared], asked: Asked, found: _Drift, played: Mapping[int, Played], notes: Sequence[str]
) -> Comparison:
    """Everything that is worse is a reason; B is better only where nothing is, and it is faster somewhere."""
    a, b = compared
    told = [*notes, *found.notes]
    reasons = list(found.reasons)
    paces = []
    for size, one in played.items():
        if not one.lost:
            paces.append(_pace(size, one, asked.latency_ratio))
            continue
        label, why = next(iter(one.lost.items()))
        (reasons if label == B else told).append(f"{label} fell out of the playoff at batch size {size}: it {why}")
    if not paces and not reasons:
        raise NavigatorError("\n".join(["nothing could be compared side by side:", *told]))
    for pace in paces:
        if pace.verdict == "worse":
            more = 100 * (pace.ratio.value - 1)
            reasons.append(
                f"it takes {more:.1f} % longer at batch size {pace.batch_size}, allowed {_percent(asked.latency_ratio)}"
            )
    reasons += _larger("memory", a.memory, b.memory, asked.memory_ratio)
    reasons += _larger("size", a.size, b.size, asked.size_ratio)
    faster = any(pace.verdict == "better" for pace in paces)
    return Comparison(
        a=a,
        b=b,
        verdict="worse" if reasons else "better" if faster else "tie",
        reasons=tuple(reasons),
        paces=tuple(paces),
        drift=found.outputs,
        latency_ratio=asked.latency_ratio,
        memory_ratio=asked.memory_ratio,
        size_ratio=asked.size_ratio,
        notes=tuple(told),
    )


def _pace(size: int, played: Played, allowed: float) -> Pace:
    (duel,) = judge(played.times, {A: size, B: size}, allowed - 1)
    b_over_a, a_over_b = duel.ratio, _inverse(duel.ratio)  # their times; a duel's is the slower one's over the other's
    if duel.candidate == B:
        b_over_a, a_over_b = a_over_b, b_over_a
    return Pace(
        batch_size=size,
        latency_a=statistics.median(played.times[A]) * size,
        latency_b=statistics.median(played.times[B]) * size,
        ratio=b_over_a,
        rounds=duel.rounds,
        verdict=verdict(a_over_b, allowed - 1),
    )


def _inverse(ratio: Estimate) -> Estimate:
    return Estimate(1 / ratio.value, 1 / ratio.high, 1 / ratio.low if ratio.low else math.inf)


def _larger(what: str, a: int | None, b: int | None, allowed: float | None) -> list[str]:
    if allowed is None or a is None or b is None or b <= allowed * a:
        return []
    return [f"its {what} is {rendering.size(b)}, A's {rendering.size(a)}: allowed {_percent(allowed)}"]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.3g} %"
