"""The user's own gate on what runs in another environment: asked here, of a proxy, for it cannot be unpickled there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import evolve, field, frozen

from navigator_core import gates, proxy
from navigator_core.entrant import Entrant
from navigator_core.loading import Kinds, Running
from navigator_core.serving import Serving
from navigator_core.worker import Emit


@frozen(kw_only=True)
class Judging:
    """What the worker is told. ``entrant`` has the kinds of tensor of there, ``kinds`` are those of here.

    ``passed`` is what the user's samples are.
    """

    name: str
    entrant: Entrant
    interpreter: str
    kinds: Kinds
    passed: str
    verify: Path

    def start(self) -> Running:
        """The model, loaded there."""
        self.kinds.register()
        entrant = self.entrant
        serving = Serving(
            runner=entrant.runner,
            path=entrant.source.path,
            signature=evolve(entrant.reference.signature, structure=None),
            kinds=entrant.kinds,
            device=entrant.device,
            precision=entrant.precision,
            names=entrant.names,
        )
        return proxy.start(self.name, self.interpreter, serving, self.passed)


@frozen
class Judged:
    """What the gate said: checks, "ok" or one sentence, and values of the metric."""

    checks: Mapping[str, str] = field(factory=dict)
    metrics: Mapping[str, float] = field(factory=dict)

    def reason(self) -> str | None:
        """The first check that does not hold."""
        return next((f"{name}: {text}" for name, text in self.checks.items() if text != "ok"), None)

    def raised(self) -> bool:
        """Whether the gate could not be asked."""
        return any(text.startswith("raised ") for text in self.checks.values())


def judge(judging: Judging, folder: Path, emit: Emit) -> Judged:
    """Ask the gate of a candidate."""
    entrant = judging.entrant
    reference = entrant.reference
    with judging.start() as run:
        pairs = [
            (batch.reference(entrant.reference_folder), run(batch.inputs(entrant.reference_folder)))
            for batch in reference.batches
            if batch.name.startswith("sample ")
        ]
        checks, metrics = gates.check(judging.verify, run, reference.signature, dict(reference.metrics), pairs)
    return Judged(checks, metrics)


def measure(judging: Judging, folder: Path, emit: Emit) -> Judged:
    """The source's own value of a metric. Raises SourceRaisedError as `gates.measure_source` does."""
    with judging.start() as run:
        return Judged(metrics=gates.measure_source(judging.verify, run, judging.entrant.reference.signature))
