"""What a run would do: its steps, which of them are done already, and what stands in the way of the others."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from navigator_core import branches, jobs, machine, meaning, planning, subjects
from navigator_core.artifact import Artifact
from navigator_core.candidates import Candidate
from navigator_core.declarations import FP32
from navigator_core.meaning import Task
from navigator_core.planning import Branch, Step
from navigator_core.request import Request
from navigator_core.session import Session


@frozen(kw_only=True)
class Plan:
    """``steps`` are exports and conversions, ``candidates`` what would be verified and measured, by name and in order.

    ``cached`` are those of both that an earlier run has finished and this one would find; what that run found to have
    nothing to do is among them. ``unavailable`` maps a candidate that cannot be tried to (reason, remedy).
    """

    steps: tuple[str, ...]
    candidates: tuple[str, ...]
    cached: frozenset[str]
    unavailable: Mapping[str, tuple[str, str | None]]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan in plain values: what ``--json`` prints."""
        return {
            "steps": [{"name": name, "cached": name in self.cached} for name in self.steps],
            "candidates": [{"name": name, "cached": name in self.cached} for name in self.candidates],
            "unavailable": [
                {"name": name, "reason": reason, "remedy": remedy}
                for name, (reason, remedy) in self.unavailable.items()
            ],
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        from navigator_core import rendering

        lines = [f"{self._mark(name)}build    {name}" for name in self.steps]
        lines += [f"{self._mark(name)}measure  {name}" for name in self.candidates]
        alike: dict[tuple[str, str | None], list[str]] = {}
        for name, why in self.unavailable.items():
            alike.setdefault(why, []).append(name)
        for (reason, remedy), names in alike.items():
            told = ", ".join(rendering.few(names))
            lines.append(f"unavailable      {told}: {reason}" + (f" (what helps: {remedy})" if remedy else ""))
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])

    def _mark(self, name: str) -> str:
        return "cached  " if name in self.cached else "to do   "


def plan(model: Any, samples: Any, request: Request) -> Plan:
    """The first half of `optimize.optimize`, without running the model; see `navigator.plan`."""
    plugins = request.plugins()
    source = subjects.identify(model, samples, request, plugins)
    graph = machine.chart(request, plugins)
    with request.session(plugins) as session:
        session.at_end.append(lambda: shutil.rmtree(session.run.folder, ignore_errors=True))
        subject = subjects.ship(source, request, plugins, session)
        here = machine.survey_machine(subject, graph, request, plugins, session)
        task = meaning.recall(subject, here, request, session)
        precision = task.reference.precision if task else FP32
        made = planning.make(plugins, graph, source.format, precision, here.device.name, request.wishes(), here.survey)
        notes = [*subject.notes, *session.notes, *made.notes]
        if request.search:
            notes.append("then settings of what runs the best of them are tried, which only the run itself can name")
        if task is None:
            notes.append("the source was not run yet: its precision is taken for fp32, and nothing is cached")
        tried = [branch for branch in made.branches if branch.unavailable is None]
        return Plan(
            steps=tuple(step.name for step in made.steps),
            candidates=tuple(branch.name for branch in tried),
            cached=frozenset(_cached(made.steps, tried, task, session)) if task else frozenset(),
            unavailable={
                branch.name: (branch.unavailable.reason, branch.unavailable.remedy)
                for branch in made.branches
                if branch.unavailable is not None
            },
            notes=tuple(dict.fromkeys(notes)),
        )


def _cached(steps: tuple[Step, ...], tried: list[Branch], task: Task, session: Session) -> list[str]:
    """What is done already. After a step that is not, nothing can be: keys hold what was built before.

    What is known to have nothing to do counts, and so does all that would have come after it.
    """
    path = session.workspace.path
    artifacts: dict[str, Artifact] = {}
    idle: set[str] = set()
    for step in steps:
        before = artifacts.get(step.parent) if step.parent else None
        if step.parent is None or before is not None:
            job, key = jobs.conversion(step, before, task, path)
            if (found := session.recall(job, key)) is not None:
                artifacts[step.name] = branches.made(step, *found, task)
            elif session.idle(key) is not None:
                idle.add(step.name)
        elif step.parent in idle:
            idle.add(step.name)
    done = [*artifacts, *idle]
    known: list[Candidate] = []
    for branch in tried:
        if branch.step in idle:
            done.append(branch.name)
        elif branch.step is None or branch.step in artifacts:
            candidate = branches.recall(branch, artifacts.get(branch.step or ""), known, task, session)
            if candidate is not None:
                done.append(branch.name)
                known.append(candidate)
    return done
