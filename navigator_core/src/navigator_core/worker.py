"""The worker process: imports what a kind of step needs once, then forks a fresh child for every step.

``python -P -m navigator_core.worker FD`` speaks JSON lines over the inherited socket FD. A step's folder holds
``job.json``; the child leaves ``result.json`` and ``log.txt`` there. A child starts without what earlier steps left
behind (threads, flags, memory), and its death costs nothing but itself.

The process that is started is a keeper, which forks the worker and waits. When the worker is gone, or the process that
started them, or when it is told to end, it takes along whatever steps have left running, in whatever session.
"""

from __future__ import annotations

import base64
import contextlib
import gc
import io
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from navigator_core import processes
from navigator_core.logs import BoundedLog

GLANCE = 0.05
"""Seconds between two looks at a step's memory."""

SIGNALLED = 128
"""Added to a signal's number, as shells do, in the exit code of a keeper whose worker was ended by it."""

THERE = "--there"
"""What ``reproduce.py`` is told when it runs in the environment of its step."""

Emit = Callable[[dict[str, Any]], None]

empty_rss = 0
"""Resident bytes of this worker before any framework was imported: what memory is measured above."""


def hear() -> dict[str, Any]:
    """The next message to the running step; there is none where nobody talks to it. A worker's child replaces this."""
    raise EOFError("nobody talks to this step")


class SourceRaisedError(Exception):
    """The user's own model raised, as the ``__cause__`` says, on the inputs that the message names."""


def main(fd: int) -> None:
    """Serve steps until the other end closes."""
    global empty_rss
    _keep(fd)
    import numpy  # noqa: F401  (part of every worker: not to be charged to a candidate)

    import navigator_core.serde  # noqa: F401
    from navigator_core.memory import rss

    empty_rss = rss()
    with socket.socket(fileno=fd) as connection:
        connection.set_inheritable(False)
        stream = connection.makefile("rw", encoding="utf-8", newline="\n")

        def send(message: dict[str, Any]) -> None:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        for line in stream:
            message = json.loads(line)
            if message["do"] == "start":
                _prepare(message["sys_path"], message["preload"])
                send({"ready": True})
            else:
                _fork(Path(message["folder"]), message.get("memory"), send, lambda: json.loads(stream.readline()))


def _keep(fd: int) -> None:
    """Fork, and return in the child alone; this process becomes the keeper."""
    awaited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    processes.adopt_orphans()
    processes.end_with_parent(signal.SIGTERM)
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, awaited)
        processes.end_with_parent()
        processes.adopt_orphans()
        return
    os.close(fd)
    code = 0
    while signal.sigwait(awaited) == signal.SIGCHLD:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            how = os.waitstatus_to_exitcode(status)
            code = how if how >= 0 else SIGNALLED - how
            break
    processes.end_descendants()
    os._exit(code)


def _prepare(sys_path: list[str] | None, preload: list[str]) -> None:
    """Import what the steps need, out of the garbage collector's sight: every step would look through all of it."""
    if sys_path is not None:
        sys.path[:] = sys_path
    gc.disable()
    for name in preload:
        # a module that cannot be imported fails the steps that need it, with its own message
        with contextlib.suppress(BaseException), warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere:
            warnings.simplefilter("ignore")
            with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
                __import__(name)
    gc.freeze()
    gc.enable()


def _fork(folder: Path, memory: int | None, send: Emit, listen: Callable[[], dict[str, Any]]) -> None:
    """Run a step in a child, and end whatever it leaves running. ``memory`` are the bytes that it may hold."""
    sys.stdout.flush()
    sys.stderr.flush()
    spared = processes.children(os.getpid())  # started by what was imported here
    printed, prints = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # nothing but imports has run here
        pid = os.fork()
    if pid == 0:
        global hear
        hear = listen
        os.close(printed)
        _child(folder, prints, lambda message: send({"said": message}))
    os.close(prints)
    send({"pid": pid})
    with BoundedLog(folder / "log.txt") as log:
        held = _attend(pid, printed, log, memory)
        _, status = os.waitpid(pid, 0)
        processes.end_descendants(spared)
        _drain(printed, log)
    os.close(printed)
    send({"exit": os.waitstatus_to_exitcode(status), "held": held})


def _attend(pid: int, printed: int, log: BoundedLog, memory: int | None) -> int | None:
    """Write what the child prints until it has ended. The bytes that it held where that was too much: it is killed."""
    process = _handle(pid)
    watched = [printed] if process is None else [printed, process]
    looked = time.monotonic()
    try:
        while True:
            ready, _, _ = select.select(watched, [], [], None if process and memory is None else GLANCE)
            if printed in ready:
                data = os.read(printed, 1 << 16)
                log.write(data)
                if not data:
                    watched.remove(printed)
            if process in ready or (process is None and _has_ended(pid)):
                return None
            if memory is not None and time.monotonic() - looked >= GLANCE:
                looked = time.monotonic()
                held = processes.held([pid, *processes.descendants(pid)])
                if held > memory:
                    os.kill(pid, signal.SIGKILL)
                    return held
    finally:
        if process is not None:
            os.close(process)


def _handle(pid: int) -> int | None:
    """What becomes readable when the process ends; None where the kernel (before 5.3, or a sandbox's) has no such."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _has_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _drain(printed: int, log: BoundedLog) -> None:
    """What is left in the pipe when all who wrote to it are gone."""
    os.set_blocking(printed, False)
    with contextlib.suppress(BlockingIOError):
        while data := os.read(printed, 1 << 16):
            log.write(data)


def _child(folder: Path, prints: int, send: Emit) -> None:
    """Run one step and leave without unwinding: interpreter shutdown of heavy frameworks is slow and may crash."""
    code = 1
    try:
        os.setsid()
        processes.end_with_parent()
        _offer_to_the_kernel()
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(prints, 1)
        os.dup2(prints, 2)
        os.close(prints)
        code = run_step(folder, send)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _offer_to_the_kernel() -> None:
    """Where memory runs out, the kernel shall end the step rather than the process that waits for it."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")


def run_here(folder: Path, emit: Emit) -> None:
    """Do the job in ``folder`` in this very process; what Python prints goes to its log."""
    bounded: Any = BoundedLog(folder / "log.txt")
    with (
        io.TextIOWrapper(bounded, encoding="utf-8", errors="backslashreplace", write_through=True) as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        run_step(folder, emit, passes_on=KeyboardInterrupt)


def run_step(folder: Path, emit: Emit, passes_on: type[BaseException] | tuple[()] = ()) -> int:
    """Do the job in ``folder``, write its result there, and return the exit code. Everything raised is a result."""
    try:
        job = json.loads((folder / "job.json").read_text())
        value = call_job(job, Path(job["output"]), emit)
        result: dict[str, Any] = {"value": value}
    except passes_on:
        raise
    except BaseException as error:
        traceback.print_exc()
        result = {"error": describe_error(error)}
    temporary = folder / "result.json.part"
    temporary.write_text(json.dumps(result))
    temporary.rename(folder / "result.json")
    return 0


def call_job(job: dict[str, Any], folder: Path, emit: Emit) -> Any:
    """The data of what the job's function returns for its argument."""
    from navigator_core import serde
    from navigator_core.declarations import Ref

    function = Ref(job["function"]).resolve()
    argument = serde.from_data(job["argument"], Ref(job["argument_type"]).resolve())
    return serde.to_data(function(argument, folder, emit))


def describe_error(error: BaseException) -> dict[str, Any]:
    """An exception as data: type, message, traceback, and the user's own one pickled where that is possible."""
    from navigator_core.errors import NothingToDoError

    theirs = error.__cause__ if isinstance(error, SourceRaisedError) and error.__cause__ else None
    shown = theirs or error
    return {
        "type": type(shown).__name__,
        "message": str(shown),
        "traceback": _shown(shown),
        "source": str(error) if theirs else None,
        "pickled": _pickled(shown) if theirs else None,
        "nothing_to_do": isinstance(shown, NothingToDoError) and theirs is None,
    }


def _shown(error: BaseException) -> str:
    """The traceback as the user knows their model: without the frames of ours that led to it."""
    here, ours = error.__traceback__, f"{Path(__file__).parent}{os.sep}"
    while here is not None and here.tb_next is not None and here.tb_frame.f_code.co_filename.startswith(ours):
        here = here.tb_next
    return "".join(traceback.format_exception(type(error), error, here))


def _pickled(error: BaseException) -> str | None:
    import cloudpickle

    try:
        data = cloudpickle.dumps(error.with_traceback(None))
        if type(cloudpickle.loads(data)) is type(error):
            return base64.b64encode(data).decode()
    except Exception:  # an exception that cannot be pickled is shown as text
        return None
    return None


def reproduce(script: str) -> None:
    """Repeat the step in whose folder ``script`` lies, with its output on the terminal.

    In this process; a step of another environment in that one's interpreter.
    """
    folder = Path(script).resolve().parent
    job = json.loads((folder / "job.json").read_text())
    other = job["interpreter"]
    if other is not None and THERE not in sys.argv:
        from navigator_core import elsewhere

        os.execve(other, [other, script, THERE], elsewhere.surroundings())
    sys.path[:0] = [entry for entry in job["sys_path"] if entry not in sys.path]
    with _scratch(folder) as scratch:
        print(json.dumps(call_job(job, scratch, lambda _: None), indent=2)[:4000])


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(prefix=f"{folder.name}-") as name:
        yield Path(name)


if __name__ == "__main__":
    # the module under its own name, so that what steps refer to is one and the same
    from navigator_core import worker

    worker.main(int(sys.argv[1]))
