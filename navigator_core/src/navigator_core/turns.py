"""A playoff in a worker: rounds of fresh processes that take turns while all but one stand still.

Calls interleaved one by one in one process slow each other down by half and falsify ratios; runs minutes apart compare
the machine's moods. So each contestant has a process of its own, warm and stopped, and runs for a slice at a time.

A restart alone moves a result by 1 to 6 %, so that many short rounds say more than a few long ones. To be short, a
process is forked from a worker that has imported what it needs, and lays its memory out anew.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from attrs import field, frozen

from navigator_core.contestant import Contestant
from navigator_core.declarations import Ref
from navigator_core.dialogue import Dialogue
from navigator_core.duels import FEWEST_ROUNDS, LOOKS, MARGIN, MOST_ROUNDS, Times, over_turns, playing_on
from navigator_core.execution import Job
from navigator_core.worker import Emit

SLICE = 0.05
"""The least seconds of a slice: shorter ones time how caches and clocks recover from the one before."""

CALLS = 4
"""Calls that a slice is long enough for."""

TURNS = 5
"""The fewest slices of a round for each contestant."""

SHARE = 0.25
"""Of the time for a contestant, what a round takes if slices are that short."""

QUALIFIED = 1.1
"""Times as long as the fastest of the first round an outsider may take to play on."""

PATIENCE = 1800.0
"""Seconds after which a contestant that says nothing is given up: as a step's."""


@frozen(kw_only=True)
class Playoff:
    """``seconds`` would measure each contestant alone; after ``limit`` seconds no round after the third is begun.

    Within ``margin`` of each other two contestants are a tie, which need not be told apart. ``outsiders`` are those,
    by name, of whom one round has to show that they are worth more.
    """

    contestants: tuple[Contestant, ...]
    outsiders: tuple[str, ...] = ()
    seconds: float
    limit: float
    margin: float = MARGIN
    seed: int = 0


@frozen
class Played:
    """Seconds per sample by contestant, one value for every round, fewer of one that was beaten and left.

    ``lost`` are those who fell out, with the reason.
    """

    times: Mapping[str, tuple[float, ...]] = field(factory=dict)
    lost: Mapping[str, str] = field(factory=dict)


class LostError(Exception):
    """A contestant is out; what it did to the others' times of this round is not known."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason


def play(playoff: Playoff, folder: Path, emit: Emit) -> Played:
    """Rounds until it is settled who is fastest, or the time is up; at least three. Each is emitted as it ends."""
    order = random.Random(playoff.seed)
    sizes = {one.name: one.batch_size for one in playoff.contestants}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="navigator-playoff-")))
        running: dict[str, Dialogue] = {}
        for place, one in enumerate(order.sample(playoff.contestants, len(playoff.contestants))):
            job = Job(
                function=Ref("navigator_core.contestant:compete"),
                argument=one,
                result=type(None),
                preload=one.preload,
                interpreter=one.interpreter,
            )
            running[one.name] = stack.enter_context(Dialogue(job, scratch / f"{place}"))

        def play_round(names: Sequence[str]) -> Mapping[str, float]:
            found = _round({name: running[name] for name in names}, playoff.seconds, order)
            per_sample = {name: value / sizes[name] for name, value in found.items()}
            emit({"round": per_sample})
            return per_sample

        return rounds(play_round, sizes, playoff.outsiders, limit=playoff.limit, margin=playoff.margin)


def rounds(
    play_round: Callable[[Sequence[str]], Mapping[str, float]],
    sizes: Mapping[str, int],
    outsiders: Collection[str] = (),
    *,
    limit: float,
    margin: float = MARGIN,
    clock: Callable[[], float] = time.monotonic,
) -> Played:
    """As many as it takes: who is beaten at a look leaves, and it ends when nobody is left to tell apart.

    Of ``outsiders`` only those play on who are within reach of the fastest after the first round; the others are as if
    they had never played. ``play_round`` gives each name's seconds per sample, or raises LostError. After ``limit``
    seconds only the round is begun that keeps the end apart from a look, which has a smaller share of the error.
    """
    times: dict[str, list[float]] = {name: [] for name in sizes}
    lost: dict[str, str] = {}
    playing: Sequence[str] = tuple(sizes)
    began, number = clock(), 0
    while len(playing) > 1 and number < MOST_ROUNDS:
        if number >= FEWEST_ROUNDS and number not in LOOKS and clock() - began > limit:
            break
        try:
            found = play_round(playing)
        except LostError as error:
            lost[error.name] = error.reason
            playing = [name for name in playing if name != error.name]
            continue
        number += 1
        for name, value in found.items():
            times[name].append(value)
        if number == 1:
            least = QUALIFIED * min(found.values())
            out = {name for name in playing if name in outsiders and found[name] > least}
            playing = [name for name in playing if name not in out]
            times = {name: row for name, row in times.items() if name not in out}
        if number in LOOKS:
            playing = playing_on(_kept(times, lost), sizes, margin)
    return Played({name: tuple(row) for name, row in _kept(times, lost).items()}, lost)


def _kept(times: Times, lost: Mapping[str, str]) -> Times:
    return {name: row for name, row in times.items() if name not in lost}


def _round(running: Mapping[str, Dialogue], seconds: float, order: random.Random) -> dict[str, float]:
    """Each one's seconds for a call: a fresh process of each, in slices by turns. Raises LostError."""
    lengths: dict[str, float] = {}
    for name in order.sample(list(running), len(running)):  # loaded one after the other
        lengths[name] = max(SLICE, CALLS * _ask(name, running[name].begin)["seconds"])
        running[name].pause()
    turns = []
    for _ in range(max(TURNS, round(SHARE * seconds / max(lengths.values())))):
        turn: dict[str, float] = {}
        for name in order.sample(list(running), len(running)):
            running[name].resume()
            turn[name] = _ask(name, partial(_slice, running[name], lengths[name]))["median"]
            running[name].pause()
        turns.append(turn)
    return over_turns(turns)


def _slice(dialogue: Dialogue, seconds: float, deadline: float) -> Mapping[str, float]:
    dialogue.send({"slice": seconds})
    return dialogue.receive(deadline)


def _ask(name: str, ask: Callable[[float], Mapping[str, float]]) -> Mapping[str, float]:
    try:
        return ask(time.monotonic() + PATIENCE)
    except Dialogue.Ended as ended:
        raise LostError(name, str(ended)) from ended
