"""Every branch tried: artifacts made along the trie of steps, then each candidate verified and measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from navigator_core import gates, keys, selection, serde, session
from navigator_core.candidates import Candidate, Home, Recipe
from navigator_core.conversion import Conversion, Converted
from navigator_core.declarations import Format, Ref
from navigator_core.entrant import Entrant
from navigator_core.evaluation import Evaluated, Evaluation
from navigator_core.events import CandidateFinished, Measured, StepStarted, StepStatus
from navigator_core.execution import DEFAULT_TIMEOUT, Done, Failed, Job
from navigator_core.loading import Source
from navigator_core.machine import machine_key
from navigator_core.meaning import Task
from navigator_core.planning import Branch, Plan, Step, runner_use
from navigator_core.results import Measurement, Status
from navigator_core.session import Session
from navigator_core.signature import Names


@frozen(kw_only=True)
class Artifact:
    """A finished step: the folder of its files, the file that names it, and what it calls the signature's tensors."""

    step: str
    format: Format
    folder: Path
    names: Names
    size: int
    precision: str

    @property
    def file(self) -> Path:
        """What implementations are given."""
        return self.folder / self.format.file


Artifacts = Mapping[str, Artifact | Failed]
"""By the step's name; a step after a failed one failed with it."""


def convert(plan: Plan, task: Task, active: Session) -> Artifacts:
    """Perform the plan's steps in order; what fails costs its own branch."""
    made: dict[str, Artifact | Failed] = {}
    soon = _preloads(plan, task)
    for step in plan.steps:
        before = made.get(step.parent) if step.parent else None
        if isinstance(before, Failed):
            made[step.name] = before
            active.passed_over(step.name, "convert", before)
            continue
        made[step.name] = _convert(step, before, task, active, soon)
    return made


def _preloads(plan: Plan, task: Task) -> tuple[tuple[str, ...], ...]:
    """What the workers of the plan's runners import: they may do so while something else is converted."""
    found = set()
    for branch in plan.branches:
        if branch.runner is not None and branch.unavailable is None:
            live = branch.step is None and task.subject.source.framework is not None
            if not (live and task.subject.here):
                declared = task.machine.plugins.runners[branch.runner.name]
                found.add(task.machine.preload(declared, task.subject.source if branch.step is None else None))
    return tuple(sorted(found))


def _convert(
    step: Step, before: Artifact | None, task: Task, active: Session, soon: Iterable[tuple[str, ...]]
) -> Artifact | Failed:
    subject, machine = task.subject, task.machine
    declared = step.conversion.declaration
    target = machine.plugins.formats[step.conversion.target]
    assert isinstance(target, Format)
    job = Job(
        function=Ref("navigator_core.conversion:convert"),
        argument=Conversion(
            source=subject.source if before is None else Source(format=before.format.name, path=before.file),
            implementation=declared.implementation,
            options_type=_type(declared.options),
            options=None if declared.options is None else serde.to_data(step.choice.value),
            target=target.name,
            file=target.file,
            kinds=subject.kinds,
            reference=task.reference,
            reference_folder=task.folder,
            names=before.names if before else Names(),
            device=step.device,
            precision=step.precision,
        ),
        result=Converted,
        preload=machine.preload(declared, subject.source if before is None else None),
    )
    versions = machine.versions(declared)
    key = keys.key_of(job, active.workspace.path, versions if target.portable else {**versions, **machine_key(machine)})
    if key is None or active.workspace.object(key) is None:
        for preload in soon:
            active.workers.prepare(preload)
    stage = "export" if before is None and subject.source.framework else "convert"
    here = subject.here and before is None
    outcome, folder = active.perform(
        step.name, "export" if stage == "export" else "convert", job, key, here=here, timeout=_share(active)
    )
    if isinstance(outcome, Failed):
        return attrs.evolve(outcome, reason=f"{step.name}: {outcome.reason}")
    return Artifact(
        step=step.name,
        format=target,
        folder=folder,
        names=outcome.value.names,
        size=outcome.value.size,
        precision=step.precision.name,
    )


def evaluate(plan: Plan, artifacts: Artifacts, task: Task, active: Session) -> tuple[Candidate, ...]:
    """A candidate for every branch, the unavailable ones included."""
    return tuple(_finished(_evaluate(branch, artifacts, task, active), active) for branch in plan.branches)


def _finished(candidate: Candidate, active: Session) -> Candidate:
    active.tell(CandidateFinished, candidate=candidate)
    return candidate


def _evaluate(branch: Branch, artifacts: Artifacts, task: Task, active: Session) -> Candidate:
    subject, machine, request = task.subject, task.machine, task.request
    blank = Candidate(
        name=branch.name,
        runner=branch.runner.name if branch.runner else "",
        precision=branch.precision.name,
        device=branch.device,
        status="unavailable",
        comparison=branch.comparison,
    )
    if branch.unavailable is not None or branch.runner is None:
        assert branch.unavailable is not None
        return attrs.evolve(blank, reason=branch.unavailable.reason, remedy=branch.unavailable.remedy)
    artifact = artifacts[branch.step] if branch.step else None
    if isinstance(artifact, Failed):
        active.passed_over(branch.name, "verify", artifact)
        status: Status = "skipped" if artifact.skipped else "failed"
        return attrs.evolve(blank, status=status, reason=artifact.reason, remedy=_remedy(artifact), log=artifact.log)
    declared_runner = machine.plugins.runners[branch.runner.name]  # the plugin's own value: who owns it is known
    use = runner_use(branch.runner, request.options, subject.samples.kind, branch.choice)
    is_reference = branch.step is None and branch.runner.name == subject.identified.runner.name
    source = subject.source if artifact is None else Source(format=artifact.format.name, path=artifact.file)
    entrant = Entrant(
        source=source,
        runner=use,
        kinds=subject.kinds,
        reference=task.reference,
        reference_folder=task.folder,
        names=artifact.names if artifact else Names(),
        device=branch.device,
        precision=branch.precision,
    )
    job = Job(
        function=Ref("navigator_core.evaluation:evaluate"),
        argument=Evaluation(
            entrant=entrant,
            is_reference=is_reference,
            tolerance=request.tolerances(task.reference.noise),
            verify=None if request.verify is None else gates.stored(active.run.folder),
            profilers=machine.profilers(),
            seconds=request.seconds,
            calls=selection.calls_needed(request.objective),
            sweep=request.batch_sizes is None,
            check=request.check,
        ),
        result=Evaluated,
        preload=machine.preload(declared_runner, subject.source if artifact is None else None),
    )

    def heard(message: dict[str, Any]) -> None:
        if message.get("stage") == "profile":
            active.tell(StepStarted, step=branch.name, stage="profile")
        if "measured" in message:
            active.tell(Measured, candidate=branch.name, measurement=serde.from_data(message["measured"], Measurement))

    def judge(found: Evaluated) -> tuple[StepStatus, str | None]:
        return ("ok", None) if found.reason is None else ("failed" if found.failed else "incorrect", found.reason)

    versions = {**machine.versions(declared_runner), **machine_key(machine)}
    key = keys.key_of(job, active.workspace.path, versions)
    here = subject.here and artifact is None
    timeout = _share(active)
    outcome, _ = active.perform(branch.name, "verify", job, key, here=here, heard=heard, judge=judge, timeout=timeout)
    if isinstance(outcome, Done) and outcome.cached:
        for measurement in outcome.value.measurements:
            active.tell(Measured, candidate=branch.name, measurement=measurement)
    declared = artifact.format if artifact else subject.identified.declared
    live = artifact is None and subject.source.framework is not None
    recipe = Recipe(
        runner=use,
        format=branch.format,
        precision=branch.precision,
        names=artifact.names if artifact else Names(),
        live=live,
        portable=getattr(declared, "portable", True),
        executes_code=getattr(declared, "executes_code", False),
    )
    whole = attrs.evolve(
        blank,
        recipe=recipe,
        path=None if live else source.path,
        size=None if live else _size(source.path, artifact),
        home=_home(task, live),
    )
    return _judged(whole, outcome, here)


def _share(active: Session) -> float | None:
    """Half of what is left of a budget, so that a step that hangs leaves the others the rest."""
    return None if active.budget is None else min(DEFAULT_TIMEOUT, max(1.0, active.left / 2))


def _judged(candidate: Candidate, outcome: Done[Evaluated] | Failed, here: bool) -> Candidate:
    if isinstance(outcome, Failed):
        status: Status = "skipped" if outcome.skipped else "failed"
        return attrs.evolve(
            candidate,
            status=status,
            reason=outcome.reason,
            remedy=_remedy(outcome, here=here),
            log=outcome.log,
            recipe=None,
        )
    found = outcome.value
    remedy = None
    if found.reason is not None:
        remedy = (
            "the error and the bar are in .verdict; see the log of the step"
            if found.failed
            else ("leave it, or say what you accept with tolerance= or verify=")
        )
    return attrs.evolve(
        candidate,
        status="ok" if found.reason is None else "failed" if found.failed else "incorrect",
        reason=found.reason,
        remedy=remedy,
        verdict=found.verdict,
        measurements=found.measurements,
    )


def _remedy(failed: Failed, *, here: bool = False) -> str | None:
    """What helps; a step ``here``, in the caller's process, cannot be repeated alone."""
    if failed.log is None:
        return "give it more time with budget=" if failed.skipped else None
    log = Path(os.path.relpath(failed.log)) if failed.log.is_relative_to(Path.cwd()) else failed.log
    alone = "" if here else f", or repeat the step alone: python {log.with_name('reproduce.py')}"
    return f"read {log}{alone}"


def _home(task: Task, live: bool) -> Home:
    subject = task.subject
    signature = task.reference.signature.with_parameters(
        subject.samples.parameters if subject.source.framework else None
    )
    module = subject.identified.module
    return Home(signature, subject.identified.model, getattr(module, "prepare", None)) if live else Home(signature)


def _size(path: Path, artifact: Artifact | None) -> int:
    if artifact is not None:
        return artifact.size
    files: Iterable[Path] = path.parent.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file() and file.name != session.RESULT)


def _type(cls: type | None) -> Ref | None:
    return None if cls is None else Ref(f"{cls.__module__}:{cls.__qualname__}")
