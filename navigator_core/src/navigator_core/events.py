"""What ``observe(event)`` hears: in the caller's process, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import frozen

if TYPE_CHECKING:
    from navigator_core.candidates import Candidate
    from navigator_core.report import Report
    from navigator_core.results import Measurement

Stage = Literal["prepare", "export", "convert", "verify", "profile", "search", "playoff"]
"""What comes before the plan is "prepare": only the built-in display hears of it, so that `RunStarted` is first."""

StepStatus = Literal["ok", "cached", "incorrect", "failed", "skipped"]


@frozen(kw_only=True)
class Event:
    """``run`` is the journal's name, ``elapsed`` seconds since the run began."""

    run: str
    elapsed: float


@frozen(kw_only=True)
class RunStarted(Event):
    """The plan is made; ``steps`` will be tried."""

    steps: int


@frozen(kw_only=True)
class StepStarted(Event):
    """``step`` is "torch->onnx[dynamo]" or "torch->onnx[dynamo] @ onnxruntime-cpu"."""

    step: str
    stage: Stage


@frozen(kw_only=True)
class StepFinished(Event):
    """``duration`` in seconds; ``log`` is the path of what the step printed."""

    step: str
    stage: Stage
    status: StepStatus
    reason: str | None
    duration: float
    log: str | None


@frozen(kw_only=True)
class Measured(Event):
    """One batch size of one candidate was measured."""

    candidate: str
    measurement: Measurement


@frozen(kw_only=True)
class CandidateFinished(Event):
    """A candidate has its status, verdict and measurements."""

    candidate: Candidate


@frozen(kw_only=True)
class RunFinished(Event):
    """Always the last event."""

    report: Report
