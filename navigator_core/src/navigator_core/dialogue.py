"""A step that is talked to while it runs: started afresh, stopped, let go on, as the contestants of a playoff are."""

from __future__ import annotations

import contextlib
import os
import signal
import types
from pathlib import Path
from typing import Any, Self

from navigator_core.execution import (
    Failed,
    Job,
    NoMessageError,
    describe_exit,
    launch,
    read_result,
    with_log,
    write_job,
)


class Dialogue:
    """A step that is talked to while it runs, in a worker of its own. A context manager: at its end all is gone.

    The worker imports from the start; `begin` waits for it. Whatever the step's end, it raises `Dialogue.Ended`.
    """

    class Ended(Exception):  # noqa: N818  (a message, not an error of ours)
        """The step is over; the message says how, as a verb and what follows it."""

    def __init__(self, job: Job[Any], folder: Path) -> None:
        folder.mkdir()
        write_job(job, folder, folder)
        self._job, self._folder = job, folder
        self._worker = launch(job.kind)
        self._child: int | None = None

    def begin(self, deadline: float) -> dict[str, Any]:
        """Start the step, or start it afresh, in a new process, and wait for the first thing it says."""
        try:
            self._worker.wait()
            self._end_child(deadline)
            self._worker.send({"do": "run", "folder": str(self._folder)})
            self._child = self._worker.receive(deadline)["pid"]
        except (EOFError, OSError, KeyError, NoMessageError) as error:
            raise self.Ended(f"could not be started ({type(error).__name__})") from error
        return self.receive(deadline)

    def _end_child(self, deadline: float) -> None:
        """Kill the step's process, and wait until all that it started is gone as well."""
        if self._child is not None:
            self._signal(signal.SIGKILL)
            while "exit" not in self._worker.receive(deadline):
                pass
            self._child = None

    def receive(self, deadline: float) -> dict[str, Any]:
        """The next thing the step says."""
        try:
            message = self._worker.receive(deadline)
        except TimeoutError:
            raise self.Ended("said nothing for too long") from None
        except NoMessageError as error:
            raise self.Ended(str(error)) from None
        except (EOFError, OSError) as error:
            raise self.Ended(f"lost its worker, which {self._worker.how()}") from error
        if "exit" in message:
            self._child = None
            raise self.Ended(self._how(message["exit"]))
        said: dict[str, Any] = message["said"]
        return said

    def send(self, message: dict[str, Any]) -> None:
        """Say something to the step."""
        try:
            self._worker.send(message)
        except OSError as error:
            raise self.Ended(f"lost its worker ({type(error).__name__})") from error

    def pause(self) -> None:
        """Stop its processes, all threads at once, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):  # then what is received next says so
            if self._child is not None:
                os.killpg(self._child, number)

    def _how(self, code: int) -> str:
        if not (self._folder / "result.json").exists():
            return with_log(describe_exit(code), self._folder)
        found = read_result(self._job, self._folder, 0.0)
        return f"raised {found.reason}" if isinstance(found, Failed) else "ended by itself"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self._worker.end()
