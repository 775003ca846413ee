"""Every branch tried: artifacts made along the trie of steps, then each candidate verified and measured."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import attrs

from navigator_core import jobs, rivalry, session
from navigator_core.artifact import Artifact
from navigator_core.candidates import Candidate, Home, Recipe
from navigator_core.conversion import Converted
from navigator_core.declarations import Format
from navigator_core.evaluation import Evaluated
from navigator_core.events import CandidateFinished, Stage, StepStatus
from navigator_core.execution import Done, Failed, Job, Kind
from navigator_core.gating import Judged
from navigator_core.meaning import Task
from navigator_core.planning import Branch, Plan, Step
from navigator_core.results import Status
from navigator_core.session import Session

REMEDIES = {
    "failed": "the error and the bar are in .verdict; see the log of the step",
    "skipped": "say what is right with verify=, which then decides, or make the source repeat itself",
    "incorrect": "leave it, or say what you accept with tolerance= or verify=",
}

LARGE = 2**28
"""Bytes of a model from which on no worker waits beside a conversion: each holds what it imported, 0.3 GiB of torch."""

MORE_TIME = "give it more time with budget= (--budget)"

Artifacts = Mapping[str, Artifact | Failed]
"""By the step's name; a step after a failed one failed with it."""


def try_all(plan: Plan, task: Task, active: Session) -> tuple[Artifacts, tuple[Candidate, ...]]:
    """What became of the plan's steps, and a candidate for every branch, the unavailable ones included.

    Everything is converted before anything is measured, so that nothing imports beside what is measured. With a budget
    each artifact is tried as soon as it is there, the source before all: whenever the time is up, something was tried.
    """
    parts = [plan] if active.budget is None else plan.by_artifact()
    made: dict[str, Artifact | Failed] = {}
    candidates: list[Candidate] = []
    for part in parts:
        _convert_all(part, made, task, active)
        for branch in part.branches:
            found = candidate(branch, made, task, active, before=candidates)
            candidates.append(finished(found, active))
    return made, tuple(candidates)


def _convert_all(plan: Plan, made: dict[str, Artifact | Failed], task: Task, active: Session) -> None:
    """Perform the plan's steps in order; what fails costs its own branch."""
    soon = _workers(plan, task)
    for step in plan.steps:
        before = made.get(step.parent) if step.parent else None
        if isinstance(before, Failed):
            made[step.name] = before
            active.passed_over(step.name, "convert", before)
            continue
        made[step.name] = _convert(step, before, task, active, soon)


def _workers(plan: Plan, task: Task) -> tuple[Kind, ...]:
    """The workers of the plan's runners: they may import while something else is converted."""
    found: dict[Kind, None] = {}
    for branch in plan.branches:
        if branch.runner is not None and branch.unavailable is None:
            live = branch.step is None and task.subject.source.framework is not None
            if not (live and task.subject.here):
                declared = task.machine.plugins.runners[branch.runner.name]
                found[task.machine.worker(declared, task.subject.source if branch.step is None else None)] = None
    return tuple(found)


def _convert(
    step: Step, before: Artifact | None, task: Task, active: Session, soon: Iterable[Kind]
) -> Artifact | Failed:
    job, key = jobs.conversion(step, before, task, active.workspace.path)
    room = before.size if before else _source_size(task.subject.source.path)
    if key is None or active.workspace.object(key) is None:
        if room >= LARGE:
            active.workers.only(job.kind)
        else:
            for kind in soon:
                active.workers.prepare(kind)
    stage: Stage = "export" if before is None and task.subject.source.framework else "convert"
    here = task.subject.here and before is None
    outcome, folder = active.perform(
        step.name, stage, job, key, here=here, timeout=active.share, room=room, takes=task.took
    )
    if isinstance(outcome, Failed):
        return outcome if outcome.nothing_to_do else attrs.evolve(outcome, reason=f"{step.name}: {outcome.reason}")
    return made(step, outcome.value, folder, task)


def made(step: Step, converted: Converted, folder: Path, task: Task) -> Artifact:
    """What a finished step left."""
    target = task.machine.plugins.formats[step.conversion.target]
    assert isinstance(target, Format)
    return Artifact(
        step=step.name,
        format=target,
        folder=folder,
        names=converted.names,
        size=converted.size,
        precision=step.precision.name,
    )


def finished(candidate: Candidate, active: Session) -> Candidate:
    """The candidate, when everybody has been told of it."""
    active.tell(CandidateFinished, candidate=candidate)
    return candidate


def candidate(
    branch: Branch,
    artifacts: Artifacts,
    task: Task,
    active: Session,
    *,
    before: Sequence[Candidate] = (),
    only: int | None = None,
    stage: Stage = "verify",
) -> Candidate:
    """What comes of one branch, verified and measured; ``only`` is the one batch size to measure, None for all.

    Where one of those ``before`` it is far ahead, less of it is measured.
    """
    subject = task.subject
    blank = _blank(branch)
    if branch.unavailable is not None or branch.runner is None:
        assert branch.unavailable is not None
        return attrs.evolve(blank, reason=branch.unavailable.reason, remedy=branch.unavailable.remedy)
    artifact = artifacts[branch.step] if branch.step else None
    if isinstance(artifact, Failed):
        active.passed_over(branch.name, "verify", artifact)
        status: Status = "skipped" if artifact.skipped else "failed"
        return attrs.evolve(
            blank,
            status=status,
            reason=artifact.reason,
            remedy=_remedy(artifact, budgeted=active.budget is not None),
            log=artifact.log,
        )
    asked = rivalry.question(branch, artifact, before, task, active, only)
    job, entrant = asked.job, asked.job.argument.entrant
    here = subject.here and artifact is None
    outcome = rivalry.perform(branch.name, asked, here, task.took, active, stage)
    if isinstance(outcome, Done):
        if outcome.value.unfinished and outcome.value.measurements:
            active.notes.append(f"{branch.name}: {outcome.value.unfinished}")
        outcome = _gated(outcome, job, branch, task, active)
    declared = artifact.format if artifact else subject.identified.declared
    live = artifact is None and subject.source.framework is not None
    recipe = Recipe(
        runner=entrant.runner,
        format=branch.format,
        precision=branch.precision,
        names=entrant.names,
        live=live,
        portable=getattr(declared, "portable", True),
        executes_code=getattr(declared, "executes_code", False),
    )
    whole = attrs.evolve(
        blank,
        recipe=recipe,
        path=None if live else entrant.source.path,
        size=None if live else _size(entrant.source.path, artifact),
        home=_home(task, live),
    )
    return _judged(whole, outcome, here, budgeted=active.budget is not None)


def recall(
    branch: Branch, artifact: Artifact | None, before: Sequence[Candidate], task: Task, active: Session
) -> Candidate | None:
    """A candidate as an earlier run left it, for those after it to be compared with; None where there is none.

    ``before`` are those of the branches before it. What the user's gate in another environment says is left out.
    """
    asked = rivalry.question(branch, artifact, before, task, active)
    found = active.recall(asked.job, asked.key)
    if found is None:
        idle = active.idle(asked.key)
        return None if idle is None else attrs.evolve(_blank(branch), status="skipped", reason=idle)
    source = asked.job.argument.entrant.source
    size = _size(source.path, artifact) if artifact or source.framework is None else None
    return _judged(attrs.evolve(_blank(branch), size=size), Done(found[0], 0.0), here=False, budgeted=False)


def _blank(branch: Branch) -> Candidate:
    return Candidate(
        name=branch.name,
        runner=branch.runner.name if branch.runner else "",
        precision=branch.precision.name,
        device=branch.device,
        status="unavailable",
        comparison=branch.comparison,
    )


def _gated(
    outcome: Done[Evaluated], job: Job[Evaluated], branch: Branch, task: Task, active: Session
) -> Done[Evaluated] | Failed:
    """What came of a candidate, with what the user's gate says of it where that could not be asked in the same step."""
    value, verdict = outcome.value, outcome.value.verdict
    asked = jobs.gate(job, branch, task, active.workspace.path)
    if asked is None or value.reason is not None or verdict is None:
        return outcome

    def said(found: Judged) -> tuple[StepStatus, str | None]:
        reason = found.reason()
        return ("ok" if reason is None else "incorrect", reason)

    name = f"{branch.name} by the user's verify"
    judged, _ = active.perform(name, "verify", *asked, judge=said, timeout=active.share)
    if isinstance(judged, Failed):
        return judged
    found: Judged = judged.value
    checks = {f"metric {name}" if name in verdict.checks else name: text for name, text in found.checks.items()}
    verdict = attrs.evolve(
        verdict,
        ok=verdict.ok and found.reason() is None,
        checks={**verdict.checks, **checks},
        metrics={**verdict.metrics, **found.metrics},
    )
    whole = attrs.evolve(value, verdict=verdict, reason=found.reason(), failed=found.raised())
    return attrs.evolve(outcome, value=whole)


def _judged(candidate: Candidate, outcome: Done[Evaluated] | Failed, here: bool, *, budgeted: bool) -> Candidate:
    if isinstance(outcome, Failed):
        status: Status = "skipped" if outcome.skipped else "failed"
        return attrs.evolve(
            candidate,
            status=status,
            reason=outcome.reason,
            remedy=_remedy(outcome, budgeted=budgeted, here=here),
            log=outcome.log,
            recipe=None,
        )
    found = outcome.value
    status = found.status
    unmeasured = status == "skipped" and not found.unknown
    return attrs.evolve(
        candidate,
        status=status,
        reason=found.unfinished if unmeasured else found.reason,
        remedy=MORE_TIME if unmeasured else REMEDIES.get(status),
        verdict=found.verdict,
        measurements=found.measurements,
    )


def _remedy(failed: Failed, *, budgeted: bool, here: bool = False) -> str | None:
    """What helps; a step ``here``, in the caller's process, cannot be repeated alone."""
    if failed.interrupted:
        return "make the same call again: it goes on from here"
    if failed.nothing_to_do:
        return "nothing has to be done: the other candidates do without it"
    if failed.log is None:
        return MORE_TIME if failed.skipped else None
    log = Path(os.path.relpath(failed.log)) if failed.log.is_relative_to(Path.cwd()) else failed.log
    more = f"{MORE_TIME}, or " if failed.timed_out and budgeted else ""
    alone = "" if here else f", or repeat the step alone: python {log.with_name('reproduce.py')}"
    return f"{more}read {log}{alone}"


def _home(task: Task, live: bool) -> Home:
    subject = task.subject
    signature = task.reference.signature.with_parameters(
        subject.samples.parameters if subject.source.framework else None
    )
    module = subject.identified.module
    return Home(signature, subject.identified.model, getattr(module, "prepare", None)) if live else Home(signature)


def _size(path: Path, artifact: Artifact | None) -> int:
    return _source_size(path.parent) if artifact is None else artifact.size


def _source_size(path: Path) -> int:
    """Bytes of the source's files, which lie in a folder of their own; of one file, those beside it included."""
    folder = path if path.is_dir() else path.parent
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name != session.RESULT)
