"""A plan's steps and branches as jobs: what workers are told, and the key that names the outcome in the workspace."""

from __future__ import annotations

from pathlib import Path

from navigator_core import keys, selection, serde
from navigator_core.artifact import Artifact
from navigator_core.conversion import Conversion, Converted
from navigator_core.declarations import Format, Ref
from navigator_core.dominance import Rival
from navigator_core.entrant import Entrant
from navigator_core.evaluation import Evaluated, Evaluation
from navigator_core.execution import Job
from navigator_core.gating import Judged, Judging
from navigator_core.loading import Kinds, Source
from navigator_core.machine import machine_key
from navigator_core.meaning import Task
from navigator_core.planning import Branch, Step, runner_use
from navigator_core.signature import Names


def conversion(step: Step, before: Artifact | None, task: Task, workspace: Path) -> tuple[Job[Converted], str | None]:
    """An export or conversion; ``before`` is the artifact that it starts from, None for the source."""
    subject, machine = task.subject, task.machine
    declared = step.conversion.declaration
    worker = machine.worker(declared, subject.source if before is None else None)
    target = machine.plugins.formats[step.conversion.target]
    assert isinstance(target, Format)
    job = Job(
        function=Ref("navigator_core.conversion:convert"),
        argument=Conversion(
            source=_source(before, task),
            implementation=declared.implementation,
            options_type=_type(declared.options),
            options=None if declared.options is None else serde.to_data(step.choice.value),
            target=target.name,
            file=target.file,
            kinds=machine.kinds(declared),
            reference=task.reference,
            reference_folder=task.folder,
            names=before.names if before else Names(),
            device=step.device,
            precision=step.precision,
        ),
        result=Converted,
        preload=worker.preload,
        interpreter=worker.interpreter,
    )
    versions = machine.versions(declared)
    everything = versions if target.portable else {**versions, **machine_key(machine)}
    return job, keys.key_of(job, workspace, everything)


def evaluation(
    branch: Branch,
    artifact: Artifact | None,
    task: Task,
    workspace: Path,
    *,
    rivals: tuple[Rival, ...] = (),
    only: int | None = None,
) -> tuple[Job[Evaluated], str | None]:
    """A candidate's verdict and measurements, in full; with ``rivals`` less of it, and the key says of which.

    ``only`` is the one batch size to measure, None for all.
    """
    subject, machine, request = task.subject, task.machine, task.request
    assert branch.runner is not None
    declared = machine.plugins.runners[branch.runner.name]  # the plugin's own value: who owns it is known
    worker = machine.worker(declared, subject.source if artifact is None else None)
    entrant = Entrant(
        source=_source(artifact, task),
        runner=runner_use(branch.runner, request.options, subject.samples.kind, branch.choice),
        kinds=machine.kinds(declared),
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
            is_reference=branch.step is None and branch.runner.name == subject.identified.runner.name,
            tolerance=request.tolerances(task.reference.noise),
            verify=None if worker.interpreter else task.gate,
            judged_later=task.gate is not None and worker.interpreter is not None,
            profilers=machine.profilers(declared),
            seconds=request.seconds,
            calls=selection.calls_needed(request.objective),
            sweep=request.batch_sizes is None,
            callers=request.callers,
            only=only,
            check=request.check,
            clocks=machine.clocks(declared),
            rivals=rivals,
        ),
        result=Evaluated,
        preload=worker.preload,
        interpreter=worker.interpreter,
    )
    return job, keys.key_of(job, workspace, {**machine.versions(declared), **machine_key(machine)})


def gate(
    evaluated: Job[Evaluated], branch: Branch, task: Task, workspace: Path
) -> tuple[Job[Judged], str | None] | None:
    """The user's gate on a candidate that has been evaluated in another environment; None where none is to be asked."""
    if task.gate is None or evaluated.interpreter is None or branch.runner is None:
        return None
    versions = task.machine.versions(task.machine.plugins.runners[branch.runner.name])
    job = Job(
        function=Ref("navigator_core.gating:judge"),
        argument=Judging(
            name=branch.name,
            entrant=evaluated.argument.entrant,
            interpreter=evaluated.interpreter,
            kinds=Kinds(declared=tuple(task.machine.plugins.tensors.values())),
            passed=task.subject.samples.kind,
            verify=task.gate,
        ),
        result=Judged,
    )
    return job, keys.key_of(job, workspace, versions)


def _source(before: Artifact | None, task: Task) -> Source:
    return task.subject.source if before is None else Source(format=before.format.name, path=before.file)


def _type(cls: type | None) -> Ref | None:
    return None if cls is None else Ref(f"{cls.__module__}:{cls.__qualname__}")
