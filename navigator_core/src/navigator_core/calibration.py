"""What this machine can tell apart: how far two equal workloads seem to differ, and what reading the clock costs.

Two fresh processes run one and the same workload in turns, as contestants of a playoff do. Their ratio is 1, so what is
measured beside it is the machine's own noise: memory laid out otherwise, another core, a clock that was changed.
"""

from __future__ import annotations

import math
import os
import statistics
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from attrs import frozen

from navigator_core import keys, worker
from navigator_core.contestant import measure_slice
from navigator_core.declarations import Ref
from navigator_core.duels import FEWEST_ROUNDS, MARGIN
from navigator_core.execution import Done, Job
from navigator_core.session import Session
from navigator_core.statistics import student

HIGHEST = 0.06
"""The most that is taken for noise: what starting again was seen to move a result by. More is a busy moment."""

SLICES = 3
"""Turns of each process in a round."""

FEWEST, MOST = 4, 12
"""Rounds."""

GO, END = b">", b"."

PATIENCE = 5.0
"""Times the seconds for it that must be left of a budget."""

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@frozen(kw_only=True)
class Calibration:
    """``noise_floor``: three rounds among equals end up within this share of a tie 95 times in 100; 0.02 is ±2 %.

    ``timer_overhead`` are the seconds that timing adds to a call. It is not subtracted: it is the same for all.
    """

    noise_floor: float
    timer_overhead: float
    rounds: int

    @property
    def margin(self) -> float:
        """The share within which two candidates are a tie here."""
        return max(MARGIN, min(self.noise_floor, HIGHEST))


@frozen(kw_only=True)
class Calibrating:
    """What the worker is told: ``seconds`` to spend, and what the result holds for (this boot, these cores)."""

    seconds: float
    boot: str
    cores: tuple[int, ...]


def learn(seconds: float, active: Session) -> Calibration | None:
    """Once for each boot and set of cores, in twice the time share of a batch size; None where there is no time."""
    spent = 2 * seconds
    if active.left < PATIENCE * spent:
        return None
    cores = tuple(sorted(os.sched_getaffinity(0)))
    job = Job(
        function=Ref("navigator_core.calibration:calibrate"),
        argument=Calibrating(seconds=spent, boot=_boot(), cores=cores),
        result=Calibration,
    )
    key = keys.key_of(job, active.workspace.path, keys.base_versions())
    outcome, _ = active.perform("calibrate", "prepare", job, key)
    return outcome.value if isinstance(outcome, Done) else None


def calibrate(asked: Calibrating, folder: Path, emit: worker.Emit) -> Calibration:
    """In a worker: rounds of two fresh processes each, as many as fit."""
    length = asked.seconds / (FEWEST * 2 * SLICES * 2)
    ratios: list[float] = []
    began = time.monotonic()
    while len(ratios) < FEWEST or (time.monotonic() - began < asked.seconds and len(ratios) < MOST):
        ratios.append(_round(length, len(ratios)))
    return Calibration(noise_floor=noise(ratios), timer_overhead=timer_overhead(), rounds=len(ratios))


def noise(ratios: Sequence[float]) -> float:
    """Of ratios among equals, one for each round, how far a playoff of three rounds may be from 1, 19 times in 20.

    The scale is the median distance from 1, which one disturbed round does not move, times 1.4826, which makes it the
    standard deviation of what is normal (F. R. Hampel, J. Am. Stat. Assoc. 69 (1974)).

    >>> round(noise([1.01, 0.99, 1.01, 0.99]), 3)
    0.024
    """
    scale = 1.4826 * statistics.median(abs(math.log(ratio)) for ratio in ratios)
    return math.expm1(student(0.95, len(ratios)) * scale / math.sqrt(FEWEST_ROUNDS))


def timer_overhead(repetitions: int = 2000) -> float:
    """Median seconds that are measured of a call that does nothing."""
    spent = []
    for _ in range(repetitions):
        start = time.perf_counter()
        _nothing(0)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent)


def _nothing(i: int) -> None:
    pass


def _round(length: float, number: int) -> float:
    """The ratio of two equal processes, by the medians of their slices."""
    pair = [_Runner(length), _Runner(length)]
    try:
        slices: list[list[float]] = [[], []]
        for turn in range(SLICES):
            for place in (0, 1) if (turn + number) % 2 else (1, 0):
                slices[place].append(pair[place].slice())
    finally:
        for one in pair:
            one.end()
    first, second = (statistics.median(row) for row in slices)
    return first / second


class _Runner:
    """A child that runs the workload for a slice whenever it is told to, and waits in between."""

    def __init__(self, length: float) -> None:
        told, self._tell = os.pipe()
        self._said, say = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: the child needs none of theirs
            self._pid = os.fork()
        if self._pid == 0:
            os.close(self._tell)
            _serve(told, say, length)
        os.close(told)
        os.close(say)

    def slice(self) -> float:
        """Median seconds of the workload in its next slice."""
        os.write(self._tell, GO)
        return float(os.read(self._said, 64))

    def end(self) -> None:
        """Let it go. By a word: that the pipe is closed does not reach it while the other child holds a copy."""
        os.write(self._tell, END)
        os.close(self._tell)
        os.close(self._said)
        os.waitpid(self._pid, 0)


def _serve(told: int, say: int, length: float) -> NoReturn:
    """In the child: slices, until the end."""
    try:
        block = np.linspace(0.0, 1.0, 1 << 15)  # 256 KiB, which fit a core's own cache, and one thread
        made = np.empty_like(block)

        def workload(i: int) -> None:
            np.sqrt(block, out=made)
            np.multiply(made, block, out=made)

        while os.read(told, 1) == GO:
            os.write(say, repr(measure_slice(workload, length)).encode())
    finally:
        os._exit(0)


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""
