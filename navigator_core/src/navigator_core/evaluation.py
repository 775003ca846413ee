"""One candidate in a worker: loaded once, verified on every batch, then measured."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import asdict, evolve, field, frozen

from navigator_core import callers, conditions, dominance, instruments, judging, loading, profiling, serde, worker
from navigator_core.callers import Together
from navigator_core.contention import Others
from navigator_core.declarations import Context, Ref
from navigator_core.dominance import Rival
from navigator_core.entrant import Entrant, Rotation
from navigator_core.instruments import ProfilerUse
from navigator_core.judging import Judge
from navigator_core.loading import Running
from navigator_core.memory import rss
from navigator_core.profiling import Measure
from navigator_core.reference import StoredBatch
from navigator_core.results import Estimate, Measurement, Tolerance, Verdict
from navigator_core.statistics import median, throughput

MOST_CHECKED = 8
"""Outputs that are looked at once more when the calls have been timed."""


class _WrongUnderLoadError(Exception):
    """The outputs of the timed run are off, though those before were right."""


@frozen(kw_only=True)
class Evaluation:
    """What the worker is told. ``is_reference`` marks the source's own runner.

    ``seconds`` is the time share of each batch size, ``sweep`` says that the sizes end where throughput does.
    ``calls`` are the least that the quantities asked for need. ``judged_later``: the user's gate is asked afterwards.
    ``callers`` call the model at once while it is timed. ``only`` is the one batch size to measure, None for all.
    ``clocks`` tells how fast the device is set to run, by the device's name.

    The last two are of this run alone, and no part of the key of what is measured in full: ``rivals`` far ahead of it
    cut the measurement short, and no batch size is begun that may not be finished ``within`` so many seconds.
    """

    entrant: Entrant
    is_reference: bool = False
    tolerance: Mapping[str, Tolerance] = field(factory=dict)
    verify: Path | None = None
    judged_later: bool = False
    profilers: tuple[ProfilerUse, ...] = ()
    seconds: float = 1.0
    calls: int = 6
    sweep: bool = True
    callers: int = 1
    only: int | None = None
    check: bool = True
    clocks: Ref | None = None
    rivals: tuple[Rival, ...] = ()
    within: float | None = None


@frozen(kw_only=True)
class Evaluated:
    """``reason`` is None when every check holds, else the first that does not. ``failed``: it could not be run.

    ``unknown``: nothing says whether it is right. ``disturbed``: other processes took part of the machine while it was
    measured. ``unfinished``: the sentence why it was not measured at every batch size, where there was no time.
    """

    verdict: Verdict | None
    reason: str | None = None
    failed: bool = False
    unknown: bool = False
    measurements: tuple[Measurement, ...] = ()
    disturbed: bool = False
    unfinished: str | None = None

    @property
    def status(self) -> Literal["ok", "failed", "skipped", "incorrect"]:
        """What the candidate is to be called."""
        if self.reason is not None:
            return "failed" if self.failed else "skipped" if self.unknown else "incorrect"
        return "skipped" if self.unfinished and not self.measurements else "ok"

    @property
    def brief(self) -> bool:
        """Whether a rival that is far ahead cut it short."""
        return any(one.brief for one in self.measurements)


def evaluate(evaluation: Evaluation, folder: Path, emit: worker.Emit) -> Evaluated:
    """Load, verify, and, if everything holds, measure. Raises what loading raises: the caller makes a failure of it."""
    baseline = worker.empty_rss or rss()
    until = math.inf if evaluation.within is None else time.monotonic() + evaluation.within
    with evaluation.entrant.loaded() as (run, context):
        if not evaluation.check:
            return _measured(Evaluated(verdict=None), _profile(evaluation, run, context, baseline, emit, None, until))
        emit({"stage": "verify"})
        judge = Judge(
            evaluation.entrant,
            evaluation.tolerance,
            evaluation.verify,
            is_reference=evaluation.is_reference,
            judged_later=evaluation.judged_later,
        )
        judged = Evaluated(**asdict(judge.judge(run, context.signature), recurse=False))
        if judged.reason is not None:
            return judged
        emit({"stage": "profile", "judged": serde.to_data(judged)})
        try:
            return _measured(judged, _profile(evaluation, run, context, baseline + judge.grown, emit, judge, until))
        except _WrongUnderLoadError as error:
            return evolve(judged, reason=str(error))


def _measured(judged: Evaluated, found: Iterator[tuple[Measurement, bool] | str]) -> Evaluated:
    rows = list(found)
    measured = [row for row in rows if not isinstance(row, str)]
    return evolve(
        judged,
        measurements=tuple(m for m, _ in measured),
        disturbed=any(others for _, others in measured),
        unfinished=next((row for row in rows if isinstance(row, str)), None),
    )


def _profile(
    evaluation: Evaluation,
    run: Running,
    context: Context,
    baseline: int,
    emit: worker.Emit,
    judge: Judge | None,
    until: float,
) -> Iterator[tuple[Measurement, bool] | str]:
    """A measurement for each batch size, the smallest first, and whether others disturbed it.

    A sweep ends where throughput stops growing, and where rivals get ever farther ahead. In the end a sentence, if
    there was no time for all.
    """
    reference = evaluation.entrant.reference
    measuring = instruments.ready(evaluation.profilers, context)
    done: list[Measurement] = []
    for size in reference.sizes if evaluation.only is None else (evaluation.only,):
        made = evaluation.entrant.of_size(size)
        if not made:
            continue
        if time.monotonic() + _need(evaluation, done) > until:
            yield unfinished_after(done[-1].batch_size if done else None)
            return
        inputs = [evaluation.entrant.inputs(batch) for batch in made]
        calls = [Rotation(run, inputs) for _ in range(evaluation.callers)]
        call = calls[0]
        with Others() as others:
            enough = partial(_far_behind, evaluation, size, others)
            together, memory = measuring.around(partial(_timed, evaluation, calls, measuring.clock, enough))
        timing = together.timing
        if instruments.HOST in memory:
            memory[instruments.HOST] = max(0, memory[instruments.HOST] - baseline)
        clocks = evaluation.clocks.resolve()(evaluation.entrant.device) if evaluation.clocks else {}
        transfer = profiling.measure_transfer(partial(run.bring_in, inputs[0]), partial(loading.take_out, call.last))
        quantities = measuring.quantities(call)
        reasons = [timing.unstable, others.sentence()]
        altered = _altered(call.ready[0], evaluation.entrant.inputs(made[0]))  # runners of numpy get these very arrays
        if altered:
            reasons.append("the call writes into its inputs, so that every call after the first saw other values")
        medians = [*((one.batch_size, one.p50) for one in done), (size, median(timing.samples))]
        undisturbed = evaluation.sweep and others.sentence() is None
        hopeless = dominance.hopeless(medians, evaluation.rivals) if undisturbed else None
        reasons.append(hopeless)
        brief = timing.brief or hopeless is not None
        timing = evolve(timing, unstable="; ".join(filter(None, reasons)) or None, brief=brief)
        around = conditions.read(others, clocks)
        measurement = profiling.measurement(size, timing, transfer, memory, quantities, around)
        if evaluation.callers > 1:
            of_all = throughput(together.cycles, size * evaluation.callers)
            measurement = evolve(measurement, throughput=of_all, callers=evaluation.callers)
        if not reference.stochastic and judge is not None and not altered:
            _demand_right(judge, made, calls)
            if evaluation.callers > 1:
                _demand_right_together(judge, evaluation, run)
        emit({"measured": serde.to_data(measurement)})
        yield measurement, others.sentence() is not None
        done.append(measurement)
        if hopeless or (evaluation.sweep and profiling.saturated([(m.batch_size, m.throughput) for m in done])):
            return


def unfinished_after(size: int | None) -> str:
    """What is said of a candidate that there was no time to measure any further."""
    if size is None:
        return "the time budget was spent before it could be measured"
    return f"the time budget was spent before batches larger than {size} could be measured"


def _far_behind(evaluation: Evaluation, size: int, others: Others, found: Estimate) -> str | None:
    """Why a few calls are enough; None where they are not, and where others take part of the machine just now."""
    others.look()
    if others.sentence() is not None:
        return None
    return dominance.behind(found, size, evaluation.rivals)


def _need(evaluation: Evaluation, done: Sequence[Measurement]) -> float:
    """Seconds that the next batch size may take: warm-up and time share, or the fewest calls of twice the last."""
    return max(1.5 * evaluation.seconds, (profiling.FEWEST + 2) * 2 * done[-1].p50.value if done else 0.0)


def _timed(
    evaluation: Evaluation,
    calls: Sequence[Rotation],
    clock: Measure | None,
    enough: Callable[[Estimate], str | None],
) -> Together:
    """One caller until it is sure, several for the whole time share."""
    share, least = evaluation.seconds, evaluation.calls
    if len(calls) > 1:
        return callers.time_together(calls, seconds=share, min_calls=least, measure=clock)
    timing = profiling.time_calls(
        calls[0], seconds=share, min_calls=least, measure=clock, turns=len(calls[0].ready), enough=enough
    )
    return Together(timing, timing.samples)


def _altered(used: dict[str, Any], given: dict[str, np.ndarray]) -> bool:
    """Whether a model that was called with tensors has changed them."""
    return any(
        not np.array_equal(now, given[name], equal_nan=now.dtype.kind in "fc")
        for name, now in loading.take_out(used).items()
    )


def _demand_right(judge: Judge, made: Sequence[StoredBatch], calls: Sequence[Rotation]) -> None:
    """Raises _WrongUnderLoadError where a newest output of the timed run is not right, or one of the next few."""
    company = f" with {len(calls)} callers at once" if len(calls) > 1 else ""
    first = [(call.turn, call.last) for call in calls]
    more = range(min(len(made), MOST_CHECKED)) if len(calls) == 1 else ()
    others = _made(calls[0], (turn for turn in more if turn != first[0][0]))
    for turn, outputs in chain(first, others):  # one after the other: the next call may overwrite what this one gave
        _demand(judge, made[turn], outputs, f"in the timed run{company}")


def _made(call: Rotation, turns: Iterable[int]) -> Iterator[tuple[int, Any]]:
    for turn in turns:
        call(turn)
        yield turn, call.last


def _demand_right_together(judge: Judge, evaluation: Evaluation, run: Running) -> None:
    """Raises _WrongUnderLoadError where one of several answers given at once, each to another question, is not right.

    What one caller gets of another's is seen only if the two asked for different things.
    """
    entrant = evaluation.entrant
    asked = sorted(entrant.reference.batches, key=lambda batch: batch.size)[:MOST_CHECKED]
    calls = [Rotation(run, [entrant.inputs(batch) for batch in asked]) for _ in range(evaluation.callers)]
    for turn, outputs in callers.at_once(calls, MOST_CHECKED):
        _demand(judge, asked[turn], outputs, f"when {evaluation.callers} called at once")


def _demand(judge: Judge, batch: StoredBatch, outputs: Any, when: str) -> None:
    text = judge.still_right(batch, loading.take_out(outputs))
    if text != judging.OK:
        raise _WrongUnderLoadError(f"right when verified, wrong {when} at {batch.name}: {text}")
