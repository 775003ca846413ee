"""One candidate in a worker: loaded once, verified on every batch, then measured."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import asdict, evolve, field, frozen

from navigator_core import conditions, dominance, judging, loading, profiling, serde, worker
from navigator_core.contention import Others
from navigator_core.declarations import Context, Ref
from navigator_core.dominance import Rival
from navigator_core.entrant import Entrant, Rotation
from navigator_core.judging import Judge
from navigator_core.loading import Running
from navigator_core.memory import PeakMemory, rss
from navigator_core.reference import StoredBatch
from navigator_core.results import Estimate, Measurement, Tolerance, Verdict
from navigator_core.statistics import median

LATENCY = "latency"
MOST_CHECKED = 8
"""Outputs that are looked at once more when the calls have been timed."""


class _WrongUnderLoadError(Exception):
    """The outputs of the timed run are off, though those before were right."""


@frozen(kw_only=True)
class ProfilerUse:
    """A profiler as a worker is told of it. The one named "latency" is the clock; the others add their quantity."""

    name: str
    implementation: Ref


@frozen(kw_only=True)
class Evaluation:
    """What the worker is told. ``is_reference`` marks the source's own runner.

    ``seconds`` is the time share of each batch size, ``sweep`` says that the sizes end where throughput does.
    ``calls`` are the least that the quantities asked for need. ``judged_later``: the user's gate is asked afterwards.
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
            return _measured(judged, _profile(evaluation, run, context, baseline, emit, judge, until))
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
    profilers = {use.name: use.implementation.resolve()(context) for use in evaluation.profilers}
    clock = profilers.pop(LATENCY, None)
    done: list[Measurement] = []
    for size in evaluation.entrant.reference.sizes:
        made = evaluation.entrant.of_size(size)
        if not made:
            continue
        if time.monotonic() + _need(evaluation, done) > until:
            yield unfinished_after(done[-1].batch_size if done else None)
            return
        inputs = [evaluation.entrant.inputs(batch) for batch in made]
        call = Rotation(run, inputs)
        with PeakMemory(baseline) as memory, Others() as others:
            timing = profiling.time_calls(
                call,
                seconds=evaluation.seconds,
                min_calls=evaluation.calls,
                measure=clock,
                turns=len(inputs),
                enough=partial(_far_behind, evaluation, size, others),
            )
        clocks = evaluation.clocks.resolve()(evaluation.entrant.device) if evaluation.clocks else {}
        transfer = profiling.measure_transfer(partial(run.bring_in, inputs[0]), partial(loading.take_out, call.last))
        quantities = {name: profiling.quantity(call, measure) for name, measure in profilers.items()}
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
        measurement = profiling.measurement(size, timing, transfer, {"host": memory.peak}, quantities, around)
        if not evaluation.entrant.reference.stochastic and judge is not None and not altered:
            _demand_right(judge, made, call)
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


def _altered(used: dict[str, Any], given: dict[str, np.ndarray]) -> bool:
    """Whether a model that was called with tensors has changed them."""
    return any(
        not np.array_equal(now, given[name], equal_nan=now.dtype.kind in "fc")
        for name, now in loading.take_out(used).items()
    )


def _demand_right(judge: Judge, made: Sequence[StoredBatch], call: Rotation) -> None:
    """Raises _WrongUnderLoadError where the newest output of the timed run is not right, or one of the next few."""
    for turn in (call.turn, *(turn for turn in range(min(len(made), MOST_CHECKED)) if turn != call.turn)):
        if turn != call.turn:
            call(turn)
        text = judge.still_right(made[turn], loading.take_out(call.last))
        if text != judging.OK:
            raise _WrongUnderLoadError(f"right when verified, wrong in the timed run at {made[turn].name}: {text}")
