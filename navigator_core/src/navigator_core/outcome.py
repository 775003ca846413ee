"""The report, put together from all that happened."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence

import attrs

import navigator_core
from navigator_core import availability, duels, planning, rules, selection, verification
from navigator_core.artifact import Artifact
from navigator_core.branches import Artifacts
from navigator_core.calibration import Calibration
from navigator_core.candidates import Candidate
from navigator_core.declarations import Precision, Requirement
from navigator_core.elsewhere import environment_of, spelt, split
from navigator_core.machine import Machine
from navigator_core.meaning import Task
from navigator_core.report import Report
from navigator_core.results import Duel, Trial
from navigator_core.session import Session

NOTICED = 0.02
"""The part of a call from which on the time that it takes to read the clock is said."""

NO_DISTRIBUTIONS = ("python", "platform", "device", "cores", "noise floor", "timer overhead")
"""What `environment` and `told_apart` say beside the versions of distributions."""


def report(
    candidates: Sequence[Candidate],
    played: Sequence[Duel],
    trials: Sequence[Trial],
    artifacts: Artifacts,
    task: Task,
    active: Session,
) -> Report:
    """Select the best, put the candidates in order and say what was assumed."""
    subject, machine, request, value = task.subject, task.machine, task.request, task.reference
    asked = rules.of(task, candidates)
    chosen = selection.select(candidates, asked, played)
    baseline = planning.baseline_name(subject.identified.format, subject.identified.runner)
    notes = [*subject.notes, *value.notes, *active.notes]
    notes += [f"{c.name}: {note}" for c in candidates if c.verdict is not None for note in c.verdict.notes]
    if active.interruption.signal is not None:
        notes.append(f"interrupted by {active.interruption.signal}: the same call again does what is skipped for it")
    made = Report(
        candidates=selection.in_order(candidates, chosen),
        signature=value.signature.with_parameters(subject.samples.parameters),
        environment={**environment(machine), **told_apart(task.calibration)},
        objective=request.objective,
        precision=asked.source,
        precisions=asked.precisions,
        epsilons=asked.epsilons,
        baseline=baseline if any(c.name == baseline for c in candidates) else None,
        duels=tuple(played),
        units=asked.profilers,
        trials=tuple(trials),
        best_name=chosen.best,
        why=chosen.why,
        bar="\n".join(_bars(candidates, task)) if request.check and not value.stochastic else "",
        run=active.run.name,
        elapsed=active.elapsed,
        reference=value,
        reference_folder=task.folder,
        artifacts={name: one for name, one in artifacts.items() if isinstance(one, Artifact)},
    )
    notes += [*offers(made), *hasty(candidates, task.calibration)]
    return attrs.evolve(made, notes=tuple(dict.fromkeys(notes)))


def told_apart(calibration: Calibration | None) -> dict[str, str]:
    """What the machine can tell apart, as the environment has it."""
    if calibration is None:
        return {}
    return {
        "noise floor": f"{calibration.noise_floor:.1%} between equals in a playoff of three rounds",
        "timer overhead": f"{1e6 * calibration.timer_overhead:.2f} µs a call, not subtracted",
    }


def hasty(candidates: Sequence[Candidate], calibration: Calibration | None) -> list[str]:
    """What to say where calls are so short that reading the clock is a part of them."""
    if calibration is None:
        return []
    overhead = calibration.timer_overhead
    short = [c.name for c in candidates if any(overhead > NOTICED * m.p50.value for m in c.measurements)]
    if not short:
        return []
    more = f" and {len(short) - 1} more" if len(short) > 1 else ""
    return [
        f"timing a call adds {1e6 * overhead:.2f} µs, the same for all: more than {NOTICED:.0%} of some calls of "
        f"{short[0]}{more}, which are farther apart than their ratios say"
    ]


def _bars(candidates: Sequence[Candidate], task: Task) -> list[str]:
    """Where each bar comes from: a line for the source's precision, each reduced one, and what the user said."""
    value, request = task.reference, task.request
    given = request.tolerances(value.noise)
    own = value.precision
    told = [f"{verification.explain_bar(own)}; the truth is {value.truth}"]
    judged = {c.precision for c in candidates if c.verdict is not None}
    known = [Precision(name, epsilon) for name, epsilon in task.machine.epsilons().items()]
    for precision in known:
        if precision.name in judged and precision.epsilon > own.epsilon:
            decides = f"bar of {precision.name}: what verify= says"
            told.append(decides if request.verify is not None else verification.explain_reduced(own, precision))
    said = (verification.explain_given(output, one, value.masks.get(output)) for output, one in given.items())
    return [*told, *filter(None, said)]


def offers(made: Report) -> list[str]:
    """What reduced precisions would bring, if the user allowed them."""
    best = made.best
    told = []
    for candidate in made.candidates:
        refused = candidate.status == "ok" and (candidate.reason or "").startswith("reduced precision")
        if not refused or not candidate.measurements:
            continue
        error = (
            max((o.relative_l2 for o in candidate.verdict.outputs.values()), default=0.0) if candidate.verdict else 0.0
        )
        allow = f"allow it with precisions=({made.precision!r}, {candidate.precision!r})"
        if best is None or not best.measurements:
            told.append(f"{candidate.name} is right for {candidate.precision}, at relative error {error:.0e}: {allow}")
            continue
        ratio = best.measurements[0].p50.value / candidate.measurements[0].p50.value
        if ratio > 1 + duels.MARGIN:
            told.append(f"{candidate.name} is {ratio:.1f} times faster at relative error {error:.0e}: {allow}")
    return told


def environment(machine: Machine) -> dict[str, str]:
    """Where the numbers come from: machine, device, and the versions of everything that took part."""
    found = {
        "navigator-core": navigator_core.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": f"{machine.device.name}: {machine.device.description}",
        "cores": str(len(os.sched_getaffinity(0))),
    }
    for plugin in machine.plugins.loaded:
        if plugin.distribution:
            found[spelt(plugin.distribution, plugin.environment)] = plugin.version or ""
    declared = [*(c.declaration for c in machine.graph.conversions), *machine.plugins.runners.values()]
    for there in machine.plugins.environments.values():
        found[spelt("python", there.name)] = there.version
    for one in declared:
        if environment_of(one) is not None:
            found |= {name: text for name, text in machine.versions(one).items() if _tells(name)}
            continue
        for requirement in one.requirements:
            for text in requirement.any_of if isinstance(requirement, Requirement) else ():
                name = availability.parse(text).name
                version = availability.installed_version(name)
                if version:
                    found[name] = version
    return found


def absent(environment: Mapping[str, str]) -> list[str]:
    """Of the distributions that a report was made with, those that are not installed here, with their versions."""
    return [
        f"{name} {version}"
        for name, version in environment.items()
        if name not in NO_DISTRIBUTIONS and split(name)[1] is None and availability.installed_version(name) is None
    ]


def _tells(name: str) -> bool:
    """Whether it is a version, and nothing that only keys are made of."""
    return split(name)[0] != "source"
