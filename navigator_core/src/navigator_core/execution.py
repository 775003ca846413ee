"""Steps in worker processes: one worker for each kind of step, a fresh child for every step, a result for every end."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

from attrs import define, field, frozen

from navigator_core import elsewhere, processes, serde, worker
from navigator_core.declarations import Ref
from navigator_core.errors import IN_A_WORKER

DEFAULT_TIMEOUT = 1800.0
START_TIMEOUT = 600.0
"""Seconds for a worker to import what its steps need: the first time, from a shared disk, takes minutes."""

LOG_LINES = 3
LONGEST_MESSAGE = 64 * 2**20
OUT_OF_TIME = "was stopped after {seconds} s, its time limit"
OUT_OF_MEMORY = "was stopped when it held {held}, its memory limit being {allowed}"

HOME = str(Path(__file__).resolve().parent.parent)
START = "import sys; sys.path.append(sys.argv[2]); from navigator_core.worker import main; main(int(sys.argv[1]))"
"""As ``python -P -m navigator_core.worker``, which is also found where it is not installed; last, to hide nothing."""

START_THERE = "import sys; from navigator_core.worker import main; main(int(sys.argv[1]))"
"""The same with another interpreter, whose core is its own."""
MESSAGES = (("ready", bool), ("pid", int), ("said", dict), ("exit", int))
"""What a worker says: that it is ready, the process of a step, what the step said, how it ended."""

T = TypeVar("T")


@frozen
class Kind:
    """What workers have in common: the modules that they import first, and the interpreter (None: this one)."""

    preload: tuple[str, ...] = ()
    interpreter: str | None = None


@frozen(kw_only=True)
class Job(Generic[T]):
    """A step as data: ``function(argument, folder, emit)`` returns a ``result``, all of them serialisable.

    ``preload`` names the modules that the worker imports once for all steps of this kind. ``interpreter`` is another
    environment's Python, None this process's own.
    """

    function: Ref
    argument: Any
    result: type[T]
    preload: tuple[str, ...] = ()
    interpreter: str | None = None

    @property
    def kind(self) -> Kind:
        """The kind of worker that it runs in."""
        return Kind(self.preload, self.interpreter)


def _imported(job: Job[Any]) -> str:
    """The packages that its worker imports before."""
    return ", ".join(sorted({name.partition(".")[0] for name in job.preload})) or "the core"


@frozen
class Done(Generic[T]):
    """The step's value, the seconds it took, and whether they were spent in an earlier run."""

    value: T
    duration: float
    cached: bool = False


@frozen
class Failed:
    """A step that did not end well: one sentence why, seconds, and what it printed last.

    ``raised`` is the user's own exception where their model raised. ``skipped``: nothing went wrong; there was no time
    left to start or to finish it or, with ``nothing_to_do``, nothing in the model for it to change. ``timed_out``: it
    was stopped at its time limit; with ``skipped``, because of the time budget.
    """

    reason: str
    duration: float
    log: Path | None = None
    raised: BaseException | None = field(default=None, eq=False, repr=False)
    skipped: bool = False
    timed_out: bool = False
    nothing_to_do: bool = False
    interrupted: bool = False


Outcome = Done[T] | Failed


class NoMessageError(Exception):
    """Something else than a worker's message came on the stream that is for them."""

    def __init__(self, what: bytes) -> None:
        shown = shorten(what[:200].decode(errors="replace"), 60)
        super().__init__(f"wrote what is no message on the stream by which it reports ({shown!r})")


@define
class _Worker:
    process: subprocess.Popen[bytes]
    connection: socket.socket
    pending: bytes = b""
    ready: bool = False

    def wait(self, deadline: float = math.inf) -> None:
        """Until it has imported what it is to import. Raises as `receive` does."""
        if not self.ready:
            self.receive(min(deadline, time.monotonic() + START_TIMEOUT))
            self.ready = True

    def send(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next message.

        Raises TimeoutError at the deadline, EOFError when the worker is gone, NoMessageError for what it did not say.
        """
        while b"\n" not in self.pending:
            if len(self.pending) > LONGEST_MESSAGE:
                raise NoMessageError(self.pending)
            with selectors.DefaultSelector() as selector:
                selector.register(self.connection, selectors.EVENT_READ)
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError
            data = self.connection.recv(1 << 16)
            if not data:
                raise EOFError
            self.pending += data
        line, _, self.pending = self.pending.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            raise NoMessageError(line) from None
        if not isinstance(message, dict) or not any(isinstance(message.get(name), kind) for name, kind in MESSAGES):
            raise NoMessageError(line)
        return message

    def how(self) -> str:
        """How it ended, when it is gone without having been told to."""
        try:
            code = self.process.wait(processes.PATIENCE)
        except subprocess.TimeoutExpired:
            return "closed its stream"
        return describe_exit(worker.SIGNALLED - code if code > worker.SIGNALLED else code)

    def end(self) -> None:
        """Let it end with all that it started."""
        self.process.terminate()
        try:
            self.process.wait(2 * processes.PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.connection.close()


@define
class Workers:
    """The pool. A context manager: at its end every worker is gone."""

    _workers: dict[Kind, _Worker] = field(factory=dict)

    def run(
        self,
        job: Job[T],
        folder: Path,
        output: Path,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        heard: Callable[[dict[str, Any]], None] = lambda message: None,
        here: bool = False,
        memory: int | None = None,
    ) -> Outcome[T]:
        """Run a step and wait for it; whatever goes wrong is a `Failed`.

        What the step makes goes into ``output``; its job, log and result into ``folder``. ``here`` runs it in this
        process, for a model that cannot leave it. ``heard`` gets what the step emits. ``memory`` are the bytes that
        the step's processes may hold together.

        They are watched rather than limited by the kernel: RLIMIT_AS counts what is only reserved (CUDA reserves more
        than any machine has), RLIMIT_DATA the stacks of idle threads and the mapped file of the model, both of them
        for each process by itself.
        """
        write_job(job, folder, output)
        begun = time.monotonic()
        if here:
            worker.run_here(folder, heard)
            return read_result(job, folder, time.monotonic() - begun)
        try:
            ended = self._run(job, folder, begun + timeout, heard, memory)
        except BaseException:  # Ctrl-C, or an observer that raises: nothing of the step may stay
            self._end(job.kind)
            raise
        duration = time.monotonic() - begun
        if ended is not None:
            reason = with_log(ended.format(seconds=f"{duration:.0f}"), folder)
            return Failed(reason, duration, folder / "log.txt", timed_out=ended == OUT_OF_TIME)
        return read_result(job, folder, duration)

    def _run(
        self,
        job: Job[T],
        folder: Path,
        deadline: float,
        heard: Callable[[dict[str, Any]], None],
        memory: int | None,
    ) -> str | None:
        """None when the step wrote its result, else the sentence that says how it ended."""
        active: _Worker | None = None
        over = False
        try:
            try:
                active = self._worker(job.kind, deadline)
            except TimeoutError:
                if time.monotonic() >= deadline:
                    raise
                return f"was not begun: its worker had not imported {_imported(job)} after {START_TIMEOUT:.0f} s"
            active.send({"do": "run", "folder": str(folder), "memory": memory})
            while True:
                message = active.receive(deadline)
                if "said" in message:
                    heard(message["said"])
                elif "exit" in message:
                    over = True
                    if message.get("held") is not None:
                        return OUT_OF_MEMORY.format(held=gib(message["held"]), allowed=gib(memory or 0))
                    finished = (folder / "result.json").exists()
                    return None if finished else describe_exit(message["exit"])
        except TimeoutError:
            return OUT_OF_TIME
        except NoMessageError as error:
            return str(error)
        except (EOFError, OSError) as error:
            return f"lost its worker, which {active.how() if active else f'did not start ({type(error).__name__})'}"
        finally:
            if not over:
                self._end(job.kind)

    def _worker(self, kind: Kind, deadline: float) -> _Worker:
        active = self._workers.get(kind)
        if active is None or active.process.poll() is not None:
            self._end(kind)
            active = self._workers[kind] = launch(kind)
        active.wait(deadline)
        return active

    def prepare(self, kind: Kind) -> None:
        """Let a worker begin to import what later steps need, while another one works. It is waited for when used."""
        with contextlib.suppress(OSError):  # the step that needs it will say so
            if kind not in self._workers:
                self._workers[kind] = launch(kind)

    def only(self, kind: Kind) -> None:
        """End the workers of every other kind, which hold what they imported; steps that need one start it again."""
        for other in [one for one in self._workers if one != kind]:
            self._end(other)

    def _end(self, kind: Kind) -> None:
        active = self._workers.pop(kind, None)
        if active is not None:
            active.end()

    def close(self) -> None:
        """End every worker."""
        for kind in list(self._workers):
            self._end(kind)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self.close()


def start_worker(kind: Kind) -> _Worker:
    """Start a worker and wait until it is ready. Raises OSError or EOFError where it does not start."""
    active = launch(kind)
    try:
        active.wait()
    except BaseException:
        active.end()
        raise
    return active


def launch(kind: Kind) -> _Worker:
    """Start a worker; nothing of the user's ``__main__`` is imported.

    One with this process's interpreter has its ``sys.path``, too; another interpreter keeps its own.
    """
    ours, theirs = socket.socketpair()
    own = kind.interpreter is None
    with theirs:
        number = str(theirs.fileno())
        start = [sys.executable, "-P", "-c", START, number, HOME]
        try:
            process = subprocess.Popen(
                start if kind.interpreter is None else [kind.interpreter, "-P", "-c", START_THERE, number],
                env=None if own else elsewhere.surroundings(),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C reaches us, and we end the worker
            )
        except BaseException:  # Ctrl-C, too: a worker that was started already ends with this end of its stream
            ours.close()
            raise
    active = _Worker(process, ours)
    try:
        active.send({"do": "start", "sys_path": _path() if own else None, "preload": list(kind.preload)})
    except BaseException:
        active.end()
        raise
    return active


def _path() -> list[str]:
    """Where this process finds modules."""
    return [entry or str(Path.cwd()) for entry in sys.path]


def write_job(job: Job[Any], folder: Path, output: Path) -> None:
    """``job.json`` and the script that repeats the step alone."""
    argument_type = type(job.argument)
    data = {
        "function": job.function.target,
        "argument_type": f"{argument_type.__module__}:{argument_type.__qualname__}",
        "argument": serde.to_data(job.argument),
        "output": str(output),
        "sys_path": _path() if job.interpreter is None else [],
        "interpreter": job.interpreter,
    }
    (folder / "job.json").write_text(json.dumps(data, indent=1))
    (folder / "reproduce.py").write_text(
        f'"""Repeats this step alone: {job.interpreter or sys.executable} reproduce.py"""\n\n'
        "from navigator_core.worker import reproduce\n\nreproduce(__file__)\n"
    )


def read_result(job: Job[T], folder: Path, duration: float) -> Outcome[T]:
    """What the step left in its folder."""
    log = folder / "log.txt"
    try:
        result = json.loads((folder / "result.json").read_text())
        if "value" in result:
            return Done(serde.from_data(result["value"], job.result), duration)
    except (OSError, ValueError) as error:
        return Failed(f"left no readable result ({error})", duration, log)
    told = result["error"]
    message = " ".join(told["message"].split())
    if told["nothing_to_do"]:
        return Failed(shorten(message), duration, log, skipped=True, nothing_to_do=True)
    reason = f"{told['type']}: {message}" if message else told["type"]
    return Failed(shorten(reason), duration, log, _raised(told))


def _raised(error: dict[str, Any]) -> BaseException | None:
    """The user's own exception, with their traceback as a note; None where it was not their model that raised."""
    if error["source"] is None:
        return None
    raised: BaseException
    try:
        raised = pickle.loads(base64.b64decode(error["pickled"] or ""))
    except Exception:  # its class, or what it holds, cannot be had here
        raised = RuntimeError(f"{error['type']}: {error['message']}")
    raised.add_note(f"{error['source']}\n\n{IN_A_WORKER}\n{error['traceback']}")
    return raised


def describe_exit(code: int) -> str:
    """How a process ended: its signal's name or its exit code."""
    if code >= 0:
        return f"ended with exit code {code} before it had a result"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGSEGV": ", a crash in native code", "SIGKILL": ", as the kernel does when memory runs out"}
    return f"was ended by {name}{hint.get(name, '')}"


def shorten(text: str, limit: int = 500) -> str:
    """One line of bounded length."""
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def gib(size: int) -> str:
    """Bytes in GiB."""
    return f"{size / 2**30:.3g} GiB"


def with_log(sentence: str, folder: Path) -> str:
    """The sentence, and the last lines that the step printed."""
    try:
        with (folder / "log.txt").open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4000))
            tail = log.read().decode(errors="replace").strip().splitlines()
    except OSError:
        return sentence
    last = " | ".join(line.strip() for line in tail[-LOG_LINES:] if line.strip())
    return shorten(f"{sentence}; last lines: {last}" if last else sentence, 500)
