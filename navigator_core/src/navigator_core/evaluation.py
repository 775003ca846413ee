"""One candidate in a worker: loaded once, verified on every batch, then measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import asdict, evolve, field, frozen

from navigator_core import judging, loading, profiling, serde, worker
from navigator_core.contention import Others
from navigator_core.declarations import Context, Ref
from navigator_core.entrant import Entrant, Rotation
from navigator_core.judging import Judge
from navigator_core.loading import Running
from navigator_core.memory import PeakMemory, rss
from navigator_core.reference import StoredBatch
from navigator_core.results import Measurement, Tolerance, Verdict

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


@frozen(kw_only=True)
class Evaluated:
    """``reason`` is None when every check holds, else the first that does not. ``failed``: it could not be run.

    ``unknown``: nothing says whether it is right. ``disturbed``: other processes took part of the machine while it was
    measured.
    """

    verdict: Verdict | None
    reason: str | None = None
    failed: bool = False
    unknown: bool = False
    measurements: tuple[Measurement, ...] = ()
    disturbed: bool = False


def evaluate(evaluation: Evaluation, folder: Path, emit: worker.Emit) -> Evaluated:
    """Load, verify, and, if everything holds, measure. Raises what loading raises: the caller makes a failure of it."""
    baseline = worker.empty_rss or rss()
    with evaluation.entrant.loaded() as (run, context):
        if not evaluation.check:
            return _measured(Evaluated(verdict=None), _profile(evaluation, run, context, baseline, emit, None))
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
        emit({"stage": "profile"})
        try:
            return _measured(judged, _profile(evaluation, run, context, baseline, emit, judge))
        except _WrongUnderLoadError as error:
            return evolve(judged, reason=str(error))


def _measured(judged: Evaluated, found: Iterator[tuple[Measurement, bool]]) -> Evaluated:
    rows = list(found)
    return evolve(judged, measurements=tuple(m for m, _ in rows), disturbed=any(others for _, others in rows))


def _profile(
    evaluation: Evaluation, run: Running, context: Context, baseline: int, emit: worker.Emit, judge: Judge | None
) -> Iterator[tuple[Measurement, bool]]:
    """A measurement for each batch size, the smallest first, and whether others disturbed it.

    A sweep ends where throughput stops growing.
    """
    reference = evaluation.entrant.reference
    throughputs = []
    profilers = {use.name: use.implementation.resolve()(context) for use in evaluation.profilers}
    clock = profilers.pop(LATENCY, None)
    for size in reference.sizes:
        made = evaluation.entrant.of_size(size)
        if not made:
            continue
        inputs = [evaluation.entrant.inputs(batch) for batch in made]
        call = Rotation(run, inputs)
        with PeakMemory(baseline) as memory, Others() as others:
            timing = profiling.time_calls(call, seconds=evaluation.seconds, min_calls=evaluation.calls, measure=clock)
        transfer = profiling.measure_transfer(partial(run.bring_in, inputs[0]), partial(loading.take_out, call.last))
        quantities = {name: profiling.quantity(call, measure) for name, measure in profilers.items()}
        reasons = [timing.unstable, others.sentence()]
        altered = _altered(call.ready[0], evaluation.entrant.inputs(made[0]))  # runners of numpy get these very arrays
        if altered:
            reasons.append("the call writes into its inputs, so that every call after the first saw other values")
        timing = evolve(timing, unstable="; ".join(filter(None, reasons)) or None)
        measurement = profiling.measurement(size, timing, transfer, {"host": memory.peak}, quantities)
        if not reference.stochastic and judge is not None and not altered:
            _demand_right(judge, made, call)
        emit({"measured": serde.to_data(measurement)})
        yield measurement, others.sentence() is not None
        throughputs.append((size, measurement.throughput))
        if evaluation.sweep and profiling.saturated(throughputs):
            return


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
