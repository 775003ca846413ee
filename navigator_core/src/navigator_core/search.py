"""Other settings of what runs the best candidates, tried one at a time: the fields that runners declare as knobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from attrs import define, field, frozen

from navigator_core import branches, rules, selection
from navigator_core.branches import Artifacts
from navigator_core.candidates import Candidate
from navigator_core.declarations import Knob
from navigator_core.duels import MARGIN
from navigator_core.meaning import Task
from navigator_core.options import Choice
from navigator_core.planning import Branch, Plan
from navigator_core.results import Estimate, Objective, Trial
from navigator_core.rules import Rules
from navigator_core.selection import Ranked
from navigator_core.session import Session
from navigator_core.survey import kind

MOST = 3
"""Candidates whose settings are tried, each of another runner: what helps one of a runner helps its others."""

PROMISING = 2.0
"""Times the leader's score from which on no setting is expected to make a candidate the first."""

LEAST = 30.0
"""Seconds that a search may take in any case; else as long as all that was done before it."""


@frozen
class Searched:
    """The better settings as candidates of their own, and all that were tried."""

    candidates: tuple[Candidate, ...] = ()
    trials: tuple[Trial, ...] = ()


def search(plan: Plan, artifacts: Artifacts, candidates: Sequence[Candidate], task: Task, active: Session) -> Searched:
    """Turn the knobs of the most promising candidates, one after the other, at the batch size that decides.

    Every setting is verified as a candidate is, and found again by a later run. A setting that is better beyond doubt
    and by more than a tie is where the next knob starts from. What comes of it is verified and measured in full.
    """
    asked = rules.of(task, candidates)
    by_name = {branch.name: branch for branch in plan.branches}
    chosen = [
        (by_name[one.candidate.name], one)
        for one in promising(selection.rank(candidates, asked).scored, asked.objective)
        if _knobs(by_name[one.candidate.name], task)
    ]
    if not chosen:
        active.notes.append("there was nothing to search: no runner of a promising candidate declares settings to try")
    share = min(max(LEAST, active.elapsed), active.left / 2)
    made = _Search(artifacts, task, active, asked, time.monotonic() + share)
    for branch, ranked in chosen[:MOST]:
        made.turn(branch, ranked)
    if made.cut_off:
        active.notes.append(
            f"the search ended after {len(made.trials)} settings, when its share of {share:.0f} s was spent; the same "
            "call again goes on from there"
        )
    return Searched(tuple(made.found), tuple(made.trials))


def promising(scored: Sequence[Ranked], objective: Objective) -> list[Ranked]:
    """The best candidate of each runner, as long as it is within reach of the first."""
    best: dict[tuple[str, str], Ranked] = {}
    for one in scored:
        best.setdefault((one.candidate.runner, one.candidate.precision), one)
    return [one for one in best.values() if _within(one, scored[0], objective)]


def _within(one: Ranked, leader: Ranked, objective: Objective) -> bool:
    if objective.maximize:
        return -one.score * PROMISING >= -leader.score
    return one.score <= leader.score * PROMISING


def better(found: Estimate, before: Estimate, objective: Objective, margin: float = MARGIN) -> bool:
    """Whether a quantity is better beyond doubt, and by more than what counts as a tie."""
    if objective.maximize:
        return found.low > before.high and found.value > before.value * (1 + margin)
    return found.high < before.low and found.value * (1 + margin) < before.value


def _knobs(branch: Branch, task: Task) -> list[Knob]:
    """Those that may be turned: what the user has set stays."""
    if branch.runner is None or branch.choice.value is None:
        return []
    said = task.request.options.get(f"@{branch.runner.name}", {})
    here = kind(branch.device)
    return [
        knob for knob in branch.runner.knobs if knob.field not in said and (not knob.devices or here in knob.devices)
    ]


@define
class _Search:
    """What is found while it goes on, until the clock says ``until``."""

    artifacts: Artifacts
    task: Task
    active: Session
    asked: Rules
    until: float
    found: list[Candidate] = field(factory=list)
    trials: list[Trial] = field(factory=list)
    cut_off: bool = False

    def turn(self, branch: Branch, ranked: Ranked) -> None:
        """Turn every knob of one candidate."""
        objective, size = self.asked.objective, ranked.measurement.batch_size
        now, current = branch, self._value(ranked.candidate, size)
        assert current is not None
        for knob in _knobs(branch, self.task):
            start = now
            for changed, setting in _turned(start, branch, knob):
                if self._over():
                    return self._conclude(branch, now)
                tried = branches.candidate(changed, self.artifacts, self.task, self.active, only=size, stage="search")
                refused = selection.rank([tried], self.asked).refused.get(tried.name)
                value = self._value(tried, size)
                wins = refused is None and value is not None and better(value, current, objective, self.task.margin)
                self.trials.append(
                    Trial(
                        candidate=branch.name,
                        setting=setting,
                        batch_size=size,
                        status=tried.status,
                        reason=tried.reason or refused,
                        value=value,
                        before=current,
                        better=wins,
                    )
                )
                if wins and value is not None:
                    now, current = changed, value
        return self._conclude(branch, now)

    def _conclude(self, before: Branch, now: Branch) -> None:
        """A better setting becomes a candidate: at every batch size, as the others are."""
        if now is not before:
            whole = branches.candidate(now, self.artifacts, self.task, self.active, stage="search")
            self.found.append(branches.finished(whole, self.active))

    def _over(self) -> bool:
        interrupted = self.active.interruption.signal is not None
        self.cut_off = self.cut_off or (not interrupted and time.monotonic() >= self.until)
        return interrupted or self.cut_off

    def _value(self, candidate: Candidate, size: int) -> Estimate | None:
        objective, measurement = self.asked.objective, candidate.at(size)
        name = objective.maximize or objective.minimize or "latency"
        return None if measurement is None else selection.quantity(name, candidate, measurement)


def _turned(now: Branch, first: Branch, knob: Knob) -> Iterator[tuple[Branch, str]]:
    """The branch with each other value of a knob, and what is then changed of the candidate as it was planned."""
    for value in knob.values:
        if getattr(now.choice.value, knob.field) == value:
            continue
        try:
            options = attrs.evolve(now.choice.value, **{knob.field: value})
        except (ValueError, TypeError):  # it does not go together with what was set before
            continue
        setting = ",".join(f"{name}={given}" for name, given in _changes(first.choice.value, options))
        yield attrs.evolve(now, name=_named(first.name, setting), choice=Choice(options, setting)), setting


def _changes(before: Any, after: Any) -> Iterator[tuple[str, Any]]:
    for one in attrs.fields(type(before)):
        if getattr(before, one.name) != getattr(after, one.name):
            yield one.name, getattr(after, one.name)


def _named(name: str, setting: str) -> str:
    """A candidate's name with a setting more in its last brackets.

    >>> _named("onnx @ onnxruntime-cpu", "threads=1"), _named("torch @ torch-eager[channels-last]", "threads=1")
    ('onnx @ onnxruntime-cpu[threads=1]', 'torch @ torch-eager[channels-last,threads=1]')
    """
    path, _, runner = name.rpartition(" @ ")
    return f"{path} @ {runner[:-1]},{setting}]" if runner.endswith("]") else f"{name}[{setting}]"
