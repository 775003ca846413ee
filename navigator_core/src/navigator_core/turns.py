"""A playoff in a worker: rounds of fresh processes that take turns while all but one stand still.

Calls interleaved one by one in one process slow each other down by half and falsify ratios; runs minutes apart compare
the machine's moods. So each contestant has a process of its own, warm and stopped, and runs for a slice at a time.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from attrs import field, frozen

from navigator_core.contestant import Contestant
from navigator_core.declarations import Ref
from navigator_core.duels import FEWEST_ROUNDS, LOOKS, MOST_ROUNDS, judge, settled
from navigator_core.execution import Dialogue, Job
from navigator_core.worker import Emit

SLICE = 0.05
"""The least seconds of a slice: shorter ones time how caches and clocks recover from the one before."""

CALLS = 4
"""Calls that a slice is long enough for."""

TURNS = 4
"""The fewest slices of a round for each contestant."""

PATIENCE = 1800.0
"""Seconds after which a contestant that says nothing is given up: as a step's."""


@frozen(kw_only=True)
class Playoff:
    """``seconds`` of each contestant's turns in a round; after ``limit`` seconds no round after the third is begun."""

    contestants: tuple[Contestant, ...]
    seconds: float
    limit: float
    seed: int = 0


@frozen
class Played:
    """Seconds per sample by contestant, one value for every round; and who fell out, with the reason."""

    times: Mapping[str, tuple[float, ...]] = field(factory=dict)
    lost: Mapping[str, str] = field(factory=dict)


def play(playoff: Playoff, folder: Path, emit: Emit) -> Played:
    """Rounds until it is settled who is fastest, or the time is up; at least three. Each is emitted as it ends."""
    order = random.Random(playoff.seed)
    sizes = {one.name: one.batch_size for one in playoff.contestants}
    times: dict[str, list[float]] = {name: [] for name in sizes}
    lost: dict[str, str] = {}
    began = time.monotonic()
    for number in range(MOST_ROUNDS):
        left = [one for one in playoff.contestants if one.name not in lost]
        if len(left) < 2:
            break
        found = _round(left, playoff, order, lost)
        if lost.keys() & {one.name for one in left}:
            continue  # what it did to the others' times is not known
        for name, value in found.items():
            times[name].append(value)
        emit({"round": found})
        staying = {name: row for name, row in times.items() if name not in lost}
        rounds = number + 1
        if rounds in LOOKS and settled(judge(staying, sizes)):
            break
        if rounds >= FEWEST_ROUNDS and time.monotonic() - began > playoff.limit:
            break
    return Played({name: tuple(row) for name, row in times.items() if name not in lost}, lost)


def _round(
    contestants: Sequence[Contestant], playoff: Playoff, order: random.Random, lost: dict[str, str]
) -> dict[str, float]:
    """Each one's median over its slices, in seconds per sample; nothing where one fails, which is added to ``lost``."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="navigator-playoff-")))
        running: dict[str, Dialogue] = {}
        for place, one in enumerate(order.sample(contestants, len(contestants))):
            job = Job(
                function=Ref("navigator_core.contestant:compete"),
                argument=one,
                result=type(None),
                preload=one.preload,
                interpreter=one.interpreter,
            )
            running[one.name] = stack.enter_context(Dialogue(job, scratch / f"{place}"))
        lengths: dict[str, float] = {}
        for name, dialogue in running.items():  # loaded one after the other: their processes import side by side
            try:
                lengths[name] = max(SLICE, CALLS * dialogue.begin(time.monotonic() + PATIENCE)["seconds"])
                dialogue.pause()
            except Dialogue.Ended as ended:
                lost[name] = str(ended)
                return {}
        slices: dict[str, list[float]] = {name: [] for name in running}
        for _ in range(max(TURNS, round(playoff.seconds / max(lengths.values())))):
            for name in order.sample(list(running), len(running)):
                dialogue = running[name]
                try:
                    dialogue.resume()
                    dialogue.send({"slice": lengths[name]})
                    slices[name].append(dialogue.receive(time.monotonic() + PATIENCE)["median"])
                    dialogue.pause()
                except Dialogue.Ended as ended:
                    lost[name] = str(ended)
                    return {}
    sizes = {one.name: one.batch_size for one in contestants}
    return {name: statistics.median(row) / sizes[name] for name, row in slices.items()}
