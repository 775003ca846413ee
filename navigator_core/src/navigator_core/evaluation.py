"""One candidate in a worker: loaded once, verified on every batch, then measured."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from navigator_core import batches, gates, loading, profiling, serde, verification, worker
from navigator_core.contention import Others
from navigator_core.declarations import Context, Ref
from navigator_core.entrant import Entrant, Rotation
from navigator_core.loading import Running
from navigator_core.memory import PeakMemory, rss
from navigator_core.reference import StoredBatch
from navigator_core.results import Measurement, Tolerance, Verdict
from navigator_core.signature import Signature
from navigator_core.verification import Deviation

LATENCY = "latency"
UNLIMITED = Tolerance(rtol=math.inf, atol=math.inf)


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

    ``disturbed``: other processes took part of the machine while it was measured.
    """

    verdict: Verdict | None
    reason: str | None = None
    failed: bool = False
    measurements: tuple[Measurement, ...] = ()
    disturbed: bool = False


def evaluate(evaluation: Evaluation, folder: Path, emit: worker.Emit) -> Evaluated:
    """Load, verify, and, if everything holds, measure. Raises what loading raises: the caller makes a failure of it."""
    baseline = worker.empty_rss or rss()
    with evaluation.entrant.loaded() as (run, context):
        if not evaluation.check:
            return _measured(Evaluated(verdict=None), _profile(evaluation, run, context, baseline, emit))
        emit({"stage": "verify"})
        judged = _verify(evaluation, run, context.signature)
        if judged.reason is not None:
            return judged
        emit({"stage": "profile"})
        try:
            return _measured(judged, _profile(evaluation, run, context, baseline, emit))
        except _WrongUnderLoadError as error:
            return evolve(judged, reason=str(error))


def _verify(evaluation: Evaluation, run: Running, signature: Signature) -> Evaluated:
    reference = evaluation.entrant.reference
    bars = _bars(evaluation)
    found: list[Deviation] = []
    checks: dict[str, str] = {}
    pairs: list[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]] = []
    first: dict[str, np.ndarray] | None = None
    for batch in reference.batches:
        expected = batch.reference(evaluation.entrant.reference_folder)
        try:
            outputs = run(batch.inputs(evaluation.entrant.reference_folder))
        except Exception as error:
            checks[batch.name] = f"raised {type(error).__name__}: {_first_line(error)}"
            continue
        if first is None:
            first = outputs
        if batch.name.startswith("sample "):
            pairs.append((expected, outputs))
        truth = batch.truth(evaluation.entrant.reference_folder)
        off = verification.deviations(outputs, expected, truth, reference.noise, evaluation.tolerance)
        if not reference.stochastic:
            found += off
            checks[batch.name] = _check(off, bars, evaluation)
    if first is None:
        return Evaluated(verdict=None, reason=next(iter(checks.values())), failed=True)
    if reference.stochastic:
        why = "the source is stochastic, so that nothing can be compared with it"
        checks["repeatable"] = "ok" if evaluation.is_reference else why
    else:
        checks["repeated call"] = _repeated(evaluation, run, first, bars)
        if reference.neighbours and not reference.coupled:
            checks["rows independent"] = _independent(evaluation, run, signature)
    gate_checks, metrics = gates.check(evaluation.verify, run, signature, dict(reference.metrics), pairs)
    checks.update(gate_checks)
    verdict = verification.verdict(found, checks, bars, evaluation.tolerance, metrics)
    reason = next((f"{name}: {text}" for name, text in checks.items() if text != "ok"), None)
    raised = any(text.startswith("raised ") for text in checks.values())
    return Evaluated(verdict=verdict, reason=reason, failed=raised)


def _bars(evaluation: Evaluation) -> dict[str, Tolerance]:
    """The derived bar of each output; none for a reduced precision that the user's ``verify`` decides about."""
    reference = evaluation.entrant.reference
    gated = evaluation.verify is not None or evaluation.judged_later
    decided = gated and evaluation.entrant.precision.epsilon > reference.precision.epsilon
    return {
        name: UNLIMITED
        if decided and not noise.exact
        else verification.bar(noise, reference.precision, evaluation.entrant.precision)
        for name, noise in reference.noise.items()
    }


def _check(found: list[Deviation], bars: Mapping[str, Tolerance], evaluation: Evaluation) -> str:
    wrong = [d for d in found if not verification.within(d, bars, evaluation.tolerance)]
    return verification.sentence(wrong[0], bars, evaluation.tolerance) if wrong else "ok"


def _repeated(evaluation: Evaluation, run: Running, first: dict[str, np.ndarray], bars: Mapping[str, Tolerance]) -> str:
    """The first call once more, after all the others: nothing may be left of them."""
    again = run(evaluation.entrant.reference.batches[0].inputs(evaluation.entrant.reference_folder))
    off = verification.deviations(again, first, first, evaluation.entrant.reference.noise, {})
    return "ok" if all(verification.within(d, bars, {}) for d in off) else "a repeated call gives another answer"


def _independent(evaluation: Evaluation, run: Running, signature: Signature) -> str:
    """A row's result does not depend on the rows beside it."""
    try:
        a, b = (run(evaluation.entrant.inputs(batch)) for batch in evaluation.entrant.reference.neighbours)
    except Exception as error:
        return f"raised {type(error).__name__}: {_first_line(error)}"
    noise = evaluation.entrant.reference.noise
    epsilon = 2 * evaluation.entrant.precision.epsilon
    for name, row in batches.first_row(a, signature).items():
        other = batches.first_row(b, signature)[name]
        off = verification.deviations({name: other}, {name: row}, {name: row}, noise, {})[0]
        allowed = max(16 * epsilon * noise[name].scale, noise[name].max_absolute)
        if off.wrong or off.max_absolute > allowed:
            by = off.wrong or f"by {off.max_absolute:.1e}, allowed {allowed:.1e}"
            return f"row 0 of output {name!r} changes with the rows beside it ({by})"
    return "ok"


def _measured(judged: Evaluated, found: Iterator[tuple[Measurement, bool]]) -> Evaluated:
    rows = list(found)
    return evolve(judged, measurements=tuple(m for m, _ in rows), disturbed=any(others for _, others in rows))


def _profile(
    evaluation: Evaluation, run: Running, context: Context, baseline: int, emit: worker.Emit
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
        transfer = profiling.measure_transfer(partial(run.bring_in, inputs[0]), partial(loading.take_out, call.last[0]))
        quantities = {name: profiling.quantity(call, measure) for name, measure in profilers.items()}
        reasons = [timing.unstable, others.sentence()]
        altered = _altered(call.ready[0], inputs[0])
        if altered:
            reasons.append("the call writes into its inputs, so that every call after the first saw other values")
        timing = evolve(timing, unstable="; ".join(filter(None, reasons)) or None)
        measurement = profiling.measurement(size, timing, transfer, {"host": memory.peak}, quantities)
        if not reference.stochastic and evaluation.check and not altered:
            measurement = _still_right(evaluation, made, call.last, measurement)
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


def _still_right(
    evaluation: Evaluation, made: list[StoredBatch], last: dict[int, Any], measurement: Measurement
) -> Measurement:
    """The measurement, if the outputs of the timed run were right; else _WrongUnderLoadError."""
    bars = _bars(evaluation)
    for turn, outputs in last.items():
        expected = made[turn].reference(evaluation.entrant.reference_folder)
        truth = made[turn].truth(evaluation.entrant.reference_folder)
        found = loading.take_out(outputs)
        off = verification.deviations(found, expected, truth, evaluation.entrant.reference.noise, evaluation.tolerance)
        text = _check(off, bars, evaluation)
        if text != "ok":
            raise _WrongUnderLoadError(f"right when verified, wrong in the timed run at {made[turn].name}: {text}")
    return measurement


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]
