"""What the source means, asked in a worker: the caller's side of `reference`, and all that branches start from."""

from __future__ import annotations

from pathlib import Path

import attrs
from attrs import frozen

from navigator_core import availability, calibration, gates, keys, obstacles, recognition, survey
from navigator_core.calibration import Calibration
from navigator_core.declarations import Framework, Ref
from navigator_core.duels import MARGIN
from navigator_core.entrant import Entrant
from navigator_core.errors import RequestError
from navigator_core.execution import Job
from navigator_core.gates import Metric
from navigator_core.gating import Judged, Judging
from navigator_core.inspection import Inspection
from navigator_core.loading import Kinds
from navigator_core.machine import Machine, machine_key
from navigator_core.objects import UnknownError
from navigator_core.planning import runner_use
from navigator_core.plugins import Plugins
from navigator_core.reference import Reference
from navigator_core.request import Request
from navigator_core.session import Session
from navigator_core.subjects import Subject, required


@frozen(kw_only=True)
class Task:
    """All that is known before the first branch: who asked what of which model, on which machine, and what is right.

    ``folder`` holds the reference's files, ``gate`` is the file of the user's ``verify``. ``took`` are the seconds in
    which the source was asked what it means, ``calibration`` is what the machine can tell apart.
    """

    subject: Subject
    machine: Machine
    request: Request
    reference: Reference
    folder: Path
    gate: Path | None = None
    took: float = 0.0
    calibration: Calibration | None = None

    @property
    def margin(self) -> float:
        """The share within which two candidates are a tie: 3 %, or the machine's own noise where that is more."""
        return MARGIN if self.calibration is None else self.calibration.margin


def understand(subject: Subject, machine: Machine, request: Request, active: Session) -> Task:
    """Run the source in a worker: axes, references, truth and noise.

    Raises the user's own exception where their model raises, RequestError where the samples do not fit.
    """
    runner = subject.identified.runner
    obstacle = availability.missing(runner.requirements) or obstacles.probed(runner.requirements, machine.survey)
    if obstacle is not None:
        raise RequestError(f"{runner.name}, which says what a {subject.identified.format} model means, {obstacle}")
    gate = _gate(request, machine.plugins, active)
    job, key = _job(subject, machine, request, active, gate)
    if key is None or active.workspace.object(key) is None:
        _get_ready(subject, machine, active)
    outcome, folder = active.perform("the source", "prepare", job, key, here=subject.here)
    value: Reference = required(outcome)
    if gate is not None and job.interpreter is not None and isinstance(request.verify, Metric):
        value = attrs.evolve(value, metrics=_measured(gate, job, value, folder, subject, machine, active))
    request.tolerances(value.noise)
    gates.demand_of_source(request.verify, value.metrics)
    return Task(
        subject=subject,
        machine=machine,
        request=request,
        reference=value,
        folder=folder,
        gate=gate,
        took=outcome.duration,
        calibration=calibration.learn(request.seconds, active),
    )


def recall(subject: Subject, machine: Machine, request: Request, active: Session) -> Task | None:
    """The same where an earlier run has understood the source, without running anything; else None."""
    gate = _gate(request, machine.plugins, active)
    job, key = _job(subject, machine, request, active, gate)
    found = active.recall(job, key)
    if found is None:
        return None
    value, folder = found
    return Task(subject=subject, machine=machine, request=request, reference=value, folder=folder, gate=gate)


def _gate(request: Request, plugins: Plugins, active: Session) -> Path | None:
    """Put the user's gate where workers find it: by its key, so that what it decides is found again.

    One without a key lies in the run's folder, where no other run looks. Raises RequestError where it cannot be sent.
    """
    verify = request.verify
    if verify is None:
        return None
    try:
        key = f"verify-{recognition.fingerprint(verify, plugins)}"
    except UnknownError as error:
        active.notes.append(f"verify cannot be recognised in a later run, which then asks it again: {error}")
        return gates.store(verify, active.run.folder)

    def build(folder: Path) -> None:
        gates.store(verify, folder)

    return gates.stored(active.store(key, build))


def _job(
    subject: Subject, machine: Machine, request: Request, active: Session, gate: Path | None
) -> tuple[Job[Reference], str | None]:
    runner = subject.identified.runner
    declared = subject.identified.declared
    worker = machine.worker(runner, subject.source)
    job = Job(
        function=Ref("navigator_core.reference:inspect"),
        argument=Inspection(
            source=subject.source,
            runner=runner_use(runner, request.options, subject.samples.kind),
            kinds=machine.kinds(runner),
            samples=subject.sample_paths,
            dtypes=subject.samples.dtypes,
            file_signature=subject.signature,
            truth=None if isinstance(declared, Framework) else declared.truth,
            noise=None if isinstance(declared, Framework) else declared.noise,
            batching=request.batching,
            batch_sizes=request.batch_sizes,
            output_names=request.output_names,
            device=machine.device.name if survey.kind(machine.device.name) in runner.devices else survey.CPU,
            verify=None if worker.interpreter else gate,
            masks=request.masks(),
        ),
        result=Reference,
        preload=worker.preload,
        interpreter=worker.interpreter,
    )
    return job, keys.key_of(job, active.workspace.path, {**machine.versions(runner), **machine_key(machine)})


def _measured(
    gate: Path,
    job: Job[Reference],
    value: Reference,
    folder: Path,
    subject: Subject,
    machine: Machine,
    active: Session,
) -> dict[str, float]:
    """The metric of a source that another environment runs, which cannot be asked there."""
    inspection = job.argument
    assert job.interpreter is not None
    entrant = Entrant(
        source=subject.source,
        runner=inspection.runner,
        kinds=inspection.kinds,
        reference=value,
        reference_folder=folder,
        device=inspection.device,
        precision=value.precision,
    )
    asked = Job(
        function=Ref("navigator_core.gating:measure"),
        argument=Judging(
            name=subject.source.path.name,
            entrant=entrant,
            interpreter=job.interpreter,
            kinds=Kinds(declared=tuple(machine.plugins.tensors.values())),
            passed=subject.samples.kind,
            verify=gate,
        ),
        result=Judged,
    )
    judged: Judged = required(active.perform("the metric of the source", "prepare", asked, None)[0])
    return dict(judged.metrics)


def _get_ready(subject: Subject, machine: Machine, active: Session) -> None:
    """Let the workers of the exports import what they need while the source runs, which is not being measured.

    With a budget it is measured right away.
    """
    exports = [step.conversion for step in machine.foreseen.steps if step.parent is None]
    here = [c.declaration for c in exports if c.environment is None]
    workers = dict.fromkeys(machine.worker(declared, subject.source) for declared in here)
    for kind in workers if not subject.here and active.budget is None else ():
        active.workers.prepare(kind)
