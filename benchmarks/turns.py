"""Contenders side by side: each in a fresh process of its own, taking turns while all the others stand still."""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

import common
from attrs import frozen

from navigator_core.contestant import measure_slice
from navigator_core.processes import end_with_parent
from navigator_core.profiling import time_calls

SLICE = 0.05
"""The least seconds of a slice: shorter ones time how caches and clocks recover from the one before."""

Call = Callable[[int], object]


@frozen
class Contender:
    """``build`` names a function of this folder, ``"module:function"``; called with ``given`` it returns a `Call`."""

    name: str
    build: str
    given: Mapping[str, Any]


def run(contenders: Sequence[Contender], *, rounds: int, seconds: float, seed: int = 0) -> dict[str, list[float]]:
    """For each contender its seconds for a call, one value from every round.

    A round starts all of them afresh, because a restart alone moves a result. In about ``seconds`` for each they
    take turns in random order, four times at least; a value is the median over its slices of a slice's median call.
    """
    order = random.Random(seed)
    found: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(rounds):
        common.note(f"  round {number + 1} of {rounds}")
        for name, times in _round(contenders, seconds, order).items():
            found[name].append(statistics.median(times))
    return found


def _round(contenders: Sequence[Contender], seconds: float, order: random.Random) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    with ExitStack() as stack:
        running = [stack.enter_context(_Process(one)) for one in order.sample(contenders, len(contenders))]
        length = max(SLICE, 6 * max(process.call_seconds for process in running))
        for _ in range(max(4, round(seconds / length))):
            for process in order.sample(running, len(running)):
                times[process.name].append(process.slice(length))
    return times


class _Process:
    """A contender's process: started, loaded, warm, and then stopped but for its own slices."""

    def __init__(self, contender: Contender) -> None:
        self.name = contender.name
        self._process = subprocess.Popen(
            [sys.executable, __file__, contender.build, json.dumps(dict(contender.given))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that a signal reaches what it starts, and Ctrl-C only us
        )
        try:
            self.call_seconds = self._answer()
            self._signal(signal.SIGSTOP)
        except BaseException:
            self.end()
            raise

    def slice(self, seconds: float) -> float:
        """Let it run for a slice: the median time of a call."""
        assert self._process.stdin is not None
        self._signal(signal.SIGCONT)
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        found = self._answer()
        self._signal(signal.SIGSTOP)
        return found

    def _answer(self) -> float:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self._process.wait()}; see what it printed above")
        return float(line)

    def _signal(self, number: int) -> None:
        os.killpg(self._process.pid, number)

    def end(self) -> None:
        """Kill it with all that it started."""
        with suppress(ProcessLookupError):
            self._signal(signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.end()


def serve(build: str, given: Mapping[str, Any], slices: Iterable[str], say: Callable[[float], None]) -> None:
    """A contender's own side: load, warm up until the times show no trend, then a slice for every line."""
    call: Call = common.resolve(build)(**given)
    say(statistics.median(time_calls(call, seconds=0.2, warmup_seconds=3.0).samples))
    gc.collect()
    gc.freeze()
    for line in slices:
        say(measure_slice(call, float(line)))


def main() -> None:
    """Run as a process: stdout is for answers alone, so what libraries print goes to stderr."""
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    serve(sys.argv[1], json.loads(sys.argv[2]), sys.stdin, lambda value: print(value, file=answers, flush=True))


if __name__ == "__main__":
    main()
