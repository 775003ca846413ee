"""The leaders against each other: whom to compare, and what came of it; the caller's side of `turns`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psutil

from navigator_core import duels, keys, rules, selection
from navigator_core.candidates import Candidate
from navigator_core.contestant import Contestant
from navigator_core.declarations import Ref
from navigator_core.entrant import Entrant
from navigator_core.execution import Done, Job
from navigator_core.loading import Source
from navigator_core.machine import machine_key
from navigator_core.meaning import Task
from navigator_core.results import Duel
from navigator_core.selection import Ranked
from navigator_core.session import Session
from navigator_core.turns import Played, Playoff

MOST = 8
"""Candidates that are compared: more than that are seldom within reach, and each costs a load in every round."""

OUTSIDE = 1.6
"""Times as long as the leader an outsider may seem to take: half a second on a machine that others share can be so far
off, and nothing shows it but another look."""

WARM_UP = 2.0
"""Times the time share of a batch size: how long a contestant may warm up in each round."""

LIMIT = 120.0
"""Times the time share of a batch size: after that, a minute by default, no more rounds are begun."""


def settle(candidates: Sequence[Candidate], task: Task, active: Session) -> tuple[Duel, ...]:
    """The fastest against each that measurements alone cannot tell from it; nothing where the leader is clear.

    Only for latency and throughput. Outsiders, who were measured behind them, play the first round, in case that they
    were unlucky, and play on if they are within reach then. Who is within 3 % of the fastest is a tie, or within the
    machine's own noise where that is more. A candidate that fell out may not have been slower: it is said in a note.
    """
    margin = task.margin
    asked = rules.of(task, candidates)
    scored = selection.rank(candidates, asked).scored
    leaders = selection.leaders(scored, asked.objective)
    field = selection.leaders(scored, asked.objective, OUTSIDE)[:MOST]
    field = _fitting(_comparable(field, task, active), active) if task.request.check else []
    if len(field) < 2:
        return ()
    share = task.request.seconds
    contestants = tuple(_contestant(one, task) for one in field)
    outsiders = tuple(one.candidate.name for one in field if one not in leaders)
    job = Job(
        function=Ref("navigator_core.turns:play"),
        argument=Playoff(
            contestants=contestants,
            outsiders=outsiders,
            seconds=share,
            limit=LIMIT * share,
            margin=margin,
        ),
        result=Played,
    )
    rounds: list[dict[str, float]] = []

    def heard(message: dict[str, Any]) -> None:
        if "round" in message:
            rounds.append(message["round"])

    versions = {k: v for one in field for k, v in task.machine.versions(_runner(one.candidate, task)).items()}
    key = keys.key_of(job, active.workspace.path, {**versions, **machine_key(task.machine)})
    name = " against ".join(one.candidate.name for one in field)
    outcome, _ = active.perform(name, "playoff", job, key, heard=heard)
    played = outcome.value if isinstance(outcome, Done) else _so_far(rounds)
    for lost, reason in played.lost.items():
        active.notes.append(f"{lost} fell out of the playoff: it {reason}")
    sizes = {one.name: one.batch_size for one in contestants}
    times = {name: row for name, row in played.times.items() if len(row) >= duels.FEWEST_ROUNDS}
    if len(times) < 2:
        why = f": {outcome.reason}" if not isinstance(outcome, Done) else ""
        if why or set(played.lost).difference(outsiders):
            active.notes.append(f"the leaders were not compared side by side{why}")
        return ()
    return duels.judge(times, sizes, margin)


def _so_far(rounds: Iterable[dict[str, float]]) -> Played:
    """What was heard of a playoff that was stopped."""
    times: dict[str, tuple[float, ...]] = {}
    for one in rounds:
        for name, value in one.items():
            times[name] = (*times.get(name, ()), value)
    return Played(times)


def _comparable(leaders: Sequence[Ranked], task: Task, active: Session) -> list[Ranked]:
    """Those that can run in a process of their own."""
    bound = [one for one in leaders if task.subject.here and one.candidate.recipe and one.candidate.recipe.live]
    if bound and len(leaders) > 1:
        names = ", ".join(one.candidate.name for one in bound)
        active.notes.append(f"{names} cannot leave this process and was compared with nothing side by side")
    return [one for one in leaders if one not in bound]


def _fitting(leaders: Sequence[Ranked], active: Session) -> list[Ranked]:
    """As many as fit in memory together, the best first; by what each was measured to take."""
    room = psutil.virtual_memory().available
    kept = []
    for one in leaders:
        room -= max(one.measurement.memory.get("host", 0), 0)
        if room > 0:
            kept.append(one)
    if len(kept) < len(leaders):
        active.notes.append("there is not enough memory to load all the leaders at once and compare them side by side")
    return kept


def _contestant(ranked: Ranked, task: Task) -> Contestant:
    candidate = ranked.candidate
    recipe = candidate.recipe
    assert recipe is not None
    source = task.subject.source
    if not recipe.live and candidate.path is not None:
        source = Source(format=recipe.format, path=candidate.path)
    runner = _runner(candidate, task)
    worker = task.machine.worker(runner, source if source.framework else None)
    return Contestant(
        name=candidate.name,
        entrant=Entrant(
            source=source,
            runner=recipe.runner,
            kinds=task.machine.kinds(runner),
            reference=task.reference,
            reference_folder=task.folder,
            names=recipe.names,
            device=candidate.device,
            precision=recipe.precision,
        ),
        batch_size=ranked.measurement.batch_size,
        warm_up=WARM_UP * task.request.seconds,
        callers=task.request.callers,
        preload=worker.preload,
        interpreter=worker.interpreter,
    )


def _runner(candidate: Candidate, task: Task) -> Any:
    return task.machine.plugins.runners[candidate.runner]
