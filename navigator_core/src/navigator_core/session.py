"""One run's surroundings: its folder, workers, observers and clock, and the one way in which steps are performed."""

from __future__ import annotations

import contextlib
import json
import shutil
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import attrs
from attrs import define, field

from navigator_core import serde
from navigator_core.contention import Others
from navigator_core.errors import NoPathError, RequestError, WorkspaceError
from navigator_core.events import Event, Stage, StepFinished, StepStarted, StepStatus
from navigator_core.execution import DEFAULT_TIMEOUT, Done, Failed, Job, Outcome, Workers, gib
from navigator_core.interruption import Interruption
from navigator_core.workspace import Run, Workspace

RESULT = "navigator-result.json"
NEEDED = "prepare"
"""The stage without which there is nothing to report: no budget skips or stops it."""
TOGETHER = "playoff"
"""The stage in which several candidates are loaded, each of which kept to the memory limit by itself."""
LOOK = 0.3
"""Seconds: of what other processes do, less than that says nothing."""

SPENT = "the time budget was spent"
CANNOT_STOP = (
    "the time budget was nearly spent: it may take {takes:.1f} s in this process, where nothing can stop it, and "
    "{left:.1f} s were left"
)
FULL = 2**20
"""Bytes: a disk with less than that is full."""

T = TypeVar("T")
Observer = Callable[[Event], None]


class _NotKeptError(Exception):
    """What a step came to that is not stored."""

    def __init__(self, outcome: Done[Any] | Failed) -> None:
        super().__init__()
        self.outcome = outcome


@define
class Session:
    """A context manager: at its end the workers are gone, whatever happened."""

    workspace: Workspace
    run: Run
    workers: Workers
    observers: list[Observer]
    displays: list[Observer] = field(factory=list)
    budget: float | None = None
    memory_limit: int | None = None
    interruption: Interruption = field(factory=Interruption)
    notes: list[str] = field(factory=list)
    at_end: list[Callable[[], None]] = field(factory=list)
    begun: float = field(factory=time.monotonic)
    _quiet: bool | None = field(default=None, init=False)

    def quiet(self) -> bool:
        """Whether other processes leave the cores alone; looked at once in a run, for `LOOK` seconds."""
        if self._quiet is None:
            with Others() as others:
                time.sleep(LOOK)
            self._quiet = others.sentence() is None
        return self._quiet

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.begun

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; infinite without a budget."""
        return float("inf") if self.budget is None else self.budget - self.elapsed

    @property
    def share(self) -> float | None:
        """Half of what is left of a budget, so that a step that hangs leaves the others the rest; None without one."""
        return None if self.budget is None else min(DEFAULT_TIMEOUT, max(1.0, self.left / 2))

    def tell(self, make: Callable[..., Event], **fields: Any) -> None:
        """Tell every observer; one that raises is set aside with a note. Preparations are for the display alone."""
        event = make(run=self.run.name, elapsed=self.elapsed, **fields)
        preparing = isinstance(event, StepStarted | StepFinished) and event.stage == "prepare"
        for observer in self.displays if preparing else [*self.observers, *self.displays]:
            try:
                observer(event)
            except Exception as error:
                (self.observers if observer in self.observers else self.displays).remove(observer)
                self.notes.append(f"an observer raised and was set aside: {type(error).__name__}: {error}")

    def perform(
        self,
        name: str,
        stage: Stage,
        job: Job[T],
        key: str | None,
        *,
        here: bool = False,
        heard: Callable[[dict[str, Any]], None] = lambda message: None,
        judge: Callable[[T], tuple[StepStatus, str | None]] = lambda value: ("ok", None),
        keep: Callable[[T], bool] = lambda value: True,
        timeout: float | None = None,
        room: int = 0,
        takes: float = 0.0,
    ) -> tuple[Outcome[T], Path]:
        """Perform a step, or find it done: its outcome, and the folder of what it made.

        ``key`` names it in the workspace; None: it is not to be found again. ``judge`` says how a value is reported,
        ``keep`` whether it is to be found again; one that is not comes without what the step made.
        ``room`` are the bytes that it will need in the workspace, ``takes`` the seconds that it may take ``here``,
        where nothing can stop it: with less left of the budget it is not begun. Raises Interrupted in the stage that is
        needed.
        """
        self.tell(StepStarted, step=name, stage=stage)
        try:
            outcome, made = self._outcome(name, stage, job, key, here, heard, keep, timeout, room, takes)
        except WorkspaceError as error:
            outcome, made = Failed(str(error), 0.0), self.run.folder
        except KeyboardInterrupt as error:
            if stage == NEEDED:
                raise
            self.interruption.signal = getattr(error, "signal", "SIGINT")
            reason = f"the run was interrupted by {self.interruption.signal}"
            outcome, made = Failed(reason, 0.0, skipped=True, interrupted=True), self.run.folder
        self._finished(name, stage, outcome, judge)
        return outcome, made

    def _outcome(
        self,
        name: str,
        stage: Stage,
        job: Job[T],
        key: str | None,
        here: bool,
        heard: Callable[[dict[str, Any]], None],
        keep: Callable[[T], bool],
        timeout: float | None,
        room: int,
        takes: float,
    ) -> tuple[Outcome[T], Path]:
        if key is not None and (found := self.find(key)) is not None:
            return attrs.evolve(_stored(found, job), cached=True), found
        if key is not None and (reason := self.idle(key)) is not None:
            return Failed(reason, 0.0, skipped=True, nothing_to_do=True), self.run.folder
        if self.left <= 0 and stage != NEEDED:
            return Failed(SPENT, 0.0, skipped=True), self.run.folder
        if here and self.left < takes and stage != NEEDED:
            return Failed(CANNOT_STOP.format(left=self.left, takes=takes), 0.0, skipped=True), self.run.folder
        if room > self._free():
            return Failed(self._too_full(room), 0.0), self.run.folder
        folder = self.run.step_folder(name)
        limit = DEFAULT_TIMEOUT if timeout is None else timeout
        if stage != NEEDED:
            limit = min(limit, max(self.left, 1.0))
        memory = None if stage == TOGETHER else self.memory_limit

        def build(output: Path) -> None:
            done = self.workers.run(job, folder, output, heard=heard, here=here, timeout=limit, memory=memory)
            if isinstance(done, Failed) and done.timed_out and self.budget is not None and limit < DEFAULT_TIMEOUT:
                done = attrs.evolve(done, skipped=True, reason=f"the time budget was too short: it {done.reason}")
            if isinstance(done, Failed) or (key is not None and not keep(done.value)):
                raise _NotKeptError(done)
            _write(done, folder / "log.txt", output)

        try:
            with self.interruption.exposed():
                if key is None:
                    made = folder / "output"
                    made.mkdir()
                    build(made)
                else:
                    made = self.store(key, build, None if stage == NEEDED else self.left)
            return _stored(made, job), made
        except _NotKeptError as ended:
            outcome = ended.outcome
            if isinstance(outcome, Failed) and outcome.nothing_to_do and key is not None:
                self._remember(_idle(key), outcome)
            if isinstance(outcome, Failed) and self._free() < FULL:
                outcome = attrs.evolve(outcome, reason=f"{outcome.reason}; the disk of {self.workspace.path} is full")
            return outcome, folder
        except WorkspaceError as error:
            return Failed(str(error), 0.0, folder / "log.txt"), folder
        except OSError as error:  # its folder cannot be written
            return Failed(f"{type(error).__name__}: {error}", 0.0), folder

    def _free(self) -> int:
        return shutil.disk_usage(self.workspace.path).free

    def _too_full(self, room: int) -> str:
        return (
            f"needs about {gib(room)} in {self.workspace.path}, where {gib(self._free())} are free; make room "
            "(`navigator workspace gc` removes what no run needs), or choose another place with workspace="
        )

    def find(self, key: str) -> Path | None:
        """The folder of an object that is there; it stays, as this run uses it."""
        self.run.uses(key)
        return self.workspace.object(key)

    def store(self, key: str, build: Callable[[Path], None], patience: float | None = None) -> Path:
        """The folder of an object, built unless it is there; it stays, as this run uses it."""
        self.run.uses(key)
        return self.workspace.store(key, build, patience)

    def keep(self, key: str, done: Done[Any]) -> None:
        """Let a later run find what a step came to that is not kept under its own key; where it fits, else not."""
        with contextlib.suppress(WorkspaceError, OSError):
            self.store(key, partial(_write, done, self.run.folder / "log.txt"))

    def _remember(self, key: str, idle: Failed) -> None:
        """Let a later run find that a step had nothing to do; where it fits, else not."""

        def build(output: Path) -> None:
            (output / RESULT).write_text(json.dumps({"reason": idle.reason}))

        with contextlib.suppress(WorkspaceError, OSError):
            self.store(key, build)

    def recall(self, job: Job[T], key: str | None) -> tuple[T, Path] | None:
        """What a step made when it was performed before, with its folder; None where it was not."""
        found = None if key is None else self.find(key)
        return None if found is None else (_stored(found, job).value, found)

    def idle(self, key: str | None) -> str | None:
        """Why a step had nothing to do when it was performed before; None where it was not, or had."""
        found = None if key is None else self.find(_idle(key))
        return None if found is None else str(json.loads((found / RESULT).read_text())["reason"])

    def passed_over(self, name: str, stage: Stage, because: Failed) -> None:
        """Tell of a step that is not tried because one before it failed."""
        self._finished(name, stage, attrs.evolve(because, duration=0.0), lambda _: ("failed", None))

    def _finished(
        self,
        name: str,
        stage: Stage,
        outcome: Outcome[T],
        judge: Callable[[T], tuple[StepStatus, str | None]],
    ) -> None:
        status: StepStatus
        if isinstance(outcome, Failed):
            status = "skipped" if outcome.skipped else "failed"
            reason: str | None = outcome.reason
        else:
            status, reason = judge(outcome.value)
            status = "cached" if outcome.cached and status == "ok" else status
        try:
            self.run.record({"step": name, "stage": stage, "status": status, "reason": reason, "elapsed": self.elapsed})
        except WorkspaceError as error:
            self.notes.append(f"the run's journal is not complete: {error}")
        self.tell(
            StepFinished,
            step=name,
            stage=stage,
            status=status,
            reason=reason,
            duration=outcome.duration,
            log=str(outcome.log) if isinstance(outcome, Failed) and outcome.log else None,
        )

    def __enter__(self) -> Self:
        self.interruption.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self.workers.close()
        self.interruption.__exit__(kind, error, tb)
        self.run.close()
        if isinstance(error, RequestError | NoPathError) and self.run.name not in str(error):
            shutil.rmtree(self.run.folder, ignore_errors=True)  # nothing was tried, and no log is pointed at
        for leave in self.at_end:
            leave()


def _idle(key: str) -> str:
    """Where it is kept that a step had nothing to do."""
    return serde.digest(key, "nothing to do")


def _write(done: Done[Any], log: Path, output: Path) -> None:
    record = {"value": serde.to_data(done.value), "duration": done.duration, "log": str(log)}
    (output / RESULT).write_text(json.dumps(record))


def _stored(folder: Path, job: Job[T]) -> Done[T]:
    record = json.loads((folder / RESULT).read_text())
    return Done(serde.from_data(record["value"], job.result), float(record["duration"]))
