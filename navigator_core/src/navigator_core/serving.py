"""A loaded model in a process of its own, for another one that calls it: arrays through shared memory, words by socket.

The caller's side is `proxy`.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from attrs import field, frozen

from navigator_core import loading, serde
from navigator_core.declarations import Context, Precision
from navigator_core.loading import Kinds, RunnerUse, Running
from navigator_core.shared import SharedArrays
from navigator_core.signature import Names, Signature

WATCH = 0.5
"""Seconds between two looks at whether the caller still lives."""


@frozen(kw_only=True)
class Serving:
    """What the process is told: which artifact by which runner, and what its context is."""

    runner: RunnerUse
    path: Path
    signature: Signature
    kinds: Kinds
    device: str
    precision: Precision
    names: Names = field(factory=Names)

    def start(self) -> Running:
        """Load the model."""
        self.kinds.register()
        context = Context(signature=self.signature, device=self.device, precision=self.precision, names=self.names)
        return loading.start(self.runner, self.path, context)


def main(connection: int, inputs: int, outputs: int) -> None:
    """Load what the first line tells, answer calls, and leave when the other end closes or is gone."""
    threading.Thread(target=_leave_with, args=(os.getppid(),), daemon=True).start()
    with socket.socket(fileno=connection) as there:
        there.set_inheritable(False)
        stream = there.makefile("rw", encoding="utf-8", newline="\n")

        def say(message: dict[str, Any]) -> None:
            stream.write(json.dumps(message) + "\n")
            stream.flush()

        try:
            run = serde.from_data(json.loads(stream.readline()), Serving).start()
        except BaseException as error:
            say(_raised(error))
            return
        say({"loaded": os.getpid()})
        taken, given = SharedArrays(inputs), SharedArrays(outputs)
        for line in stream:
            try:
                made = run.model.call(run.bring_in(taken.read(json.loads(line))))
                run.model.synchronize()
                answer = {"outputs": given.write(loading.take_out(made))}
            except Exception as error:
                answer = _raised(error)
            say(answer)
    run.model.close()


def _raised(error: BaseException) -> dict[str, Any]:
    shown = "".join(traceback.format_exception(error))
    return {"raised": type(error).__name__, "message": str(error), "traceback": shown}


def _leave_with(parent: int) -> None:
    """End this process with the one that started it, even in the middle of a call."""
    while os.getppid() == parent:
        time.sleep(WATCH)
    os._exit(1)
