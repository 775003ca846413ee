"""How a candidate is evaluated, once some are known: in full, or less of it where a rival is far ahead.

What is measured in full has a key that knows of no rivals: every run finds it. What was cut short has one that holds
the rivals and their times, and is found only where the same ones would cut it short again. What other processes
disturbed has a third, and is found as long as they go on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from attrs import frozen

from navigator_core import dominance, jobs, rules, selection, serde
from navigator_core.artifact import Artifact
from navigator_core.candidates import Candidate
from navigator_core.dominance import Rival
from navigator_core.evaluation import Evaluated, unfinished_after
from navigator_core.events import Measured, Stage, StepStarted, StepStatus
from navigator_core.execution import Done, Failed, Job
from navigator_core.meaning import Task
from navigator_core.planning import Branch
from navigator_core.results import Measurement
from navigator_core.session import Session


@frozen
class Question:
    """The job, the key under which it is looked for, and the one under which it is kept where it was cut short."""

    job: Job[Evaluated]
    key: str | None
    brief_key: str | None

    def keeps(self, found: Evaluated) -> bool:
        """Whether what came of it is stored under the key that it was looked for."""
        return lasting(found) and not found.brief


def lasting(found: Evaluated) -> bool:
    """Whether a later run may take it as it is: it may find the machine quiet, or have what was lacking in this."""
    return not found.disturbed and _complete(found)


def _complete(found: Evaluated) -> bool:
    return not found.failed and found.unfinished is None


def _disturbed(key: str) -> str:
    """Where it is kept if other processes took part of the machine meanwhile."""
    return serde.digest(key, "disturbed")


def question(
    branch: Branch,
    artifact: Artifact | None,
    before: Sequence[Candidate],
    task: Task,
    active: Session,
    only: int | None = None,
) -> Question:
    """What to ask of a branch after the candidates ``before`` it; ``only`` is the one batch size to measure."""
    path = active.workspace.path
    whole, key = jobs.evaluation(branch, artifact, task, path, only=only)
    ahead = () if whole.argument.is_reference else rivals(branch, before, task)
    if not ahead:
        return _again(Question(whole, key, None), active)
    job, brief_key = jobs.evaluation(branch, artifact, task, path, rivals=ahead, only=only)
    if key is not None and brief_key is not None and active.find(key) is None and active.find(brief_key) is not None:
        return Question(job, brief_key, brief_key)
    return _again(Question(job, key, brief_key), active)


def _again(asked: Question, active: Session) -> Question:
    """The same, to be found where it was disturbed and nothing has changed: measured again it would be no better."""
    if asked.key is None or active.find(asked.key) is not None or active.find(_disturbed(asked.key)) is None:
        return asked
    return asked if active.quiet() else attrs.evolve(asked, key=_disturbed(asked.key), brief_key=None)


def perform(
    name: str, asked: Question, here: bool, takes: float, active: Session, stage: Stage = "verify"
) -> Done[Evaluated] | Failed:
    """Evaluated, or found so. Where the budget ended it, what had been measured by then, if anything had.

    ``takes`` are the seconds that it may take ``here``, in this process.
    """
    judged: list[Evaluated] = []
    measured: list[Measurement] = []

    def heard(message: dict[str, Any]) -> None:
        if message.get("stage") == "profile":
            judged.append(serde.from_data(message["judged"], Evaluated))
            active.tell(StepStarted, step=name, stage="profile")
        if "measured" in message:
            measured.append(serde.from_data(message["measured"], Measurement))
            active.tell(Measured, candidate=name, measurement=measured[-1])

    def judge(found: Evaluated) -> tuple[StepStatus, str | None]:
        return found.status, found.reason if found.measurements else found.reason or found.unfinished

    share = active.share
    job = attrs.evolve(asked.job, argument=attrs.evolve(asked.job.argument, within=share))
    outcome, _ = active.perform(
        name,
        stage,
        job,
        asked.key,
        here=here,
        heard=heard,
        judge=judge,
        keep=asked.keeps,
        timeout=share,
        takes=takes,
    )
    if isinstance(outcome, Failed):
        if not (outcome.skipped and outcome.timed_out and judged and measured):
            return outcome
        why = unfinished_after(measured[-1].batch_size)
        return Done(attrs.evolve(judged[-1], measurements=tuple(measured), unfinished=why), outcome.duration)
    if outcome.cached:
        for measurement in outcome.value.measurements:
            active.tell(Measured, candidate=name, measurement=measurement)
    elif outcome.value.brief and asked.brief_key is not None and lasting(outcome.value):
        active.keep(asked.brief_key, outcome)
    elif outcome.value.disturbed and asked.key is not None and _complete(outcome.value):
        active.keep(_disturbed(asked.key), outcome)
    return outcome


def rivals(branch: Branch, before: Sequence[Candidate], task: Task) -> tuple[Rival, ...]:
    """The candidates before it that may win whenever it may: right, of its precision, and within the limits.

    None for what is only compared with or only measured, and where something else than time decides.
    """
    request = task.request
    asked = rules.of(task, before)
    if branch.comparison or not request.check or request.exhaustive or not selection.raced(request.objective):
        return ()
    alike = [one for one in before if (one.precision, one.device) == (branch.precision.name, branch.device)]
    allowed = attrs.evolve(asked, precisions=(branch.precision.name,))
    able = [one.candidate for one in selection.rank(alike, allowed).scored]
    found = (dominance.rival(one.name, one.measurements) for one in alike if one in able)
    return tuple(one for one in found if one is not None)
