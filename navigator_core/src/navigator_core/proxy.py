"""A model that another environment's interpreter has loaded, called as if it were here; `serving` is the other side."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from navigator_core import elsewhere, execution, serde, tensors
from navigator_core.declarations import LoadedModel
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.loading import Running
from navigator_core.serving import Serving
from navigator_core.shared import SharedArrays
from navigator_core.tensors import NUMPY

START = "import sys; from navigator_core.serving import main; main(*map(int, sys.argv[1:]))"


def start(name: str, interpreter: str, serving: Serving, passed: str = NUMPY) -> Running:
    """Load a model with another interpreter; ``passed`` is the kind of tensor that the user's samples are.

    Raises NavigatorError, or RequestError for what cannot be had there.
    """
    far = _FarModel(name, interpreter, serving)
    model = LoadedModel(far.call, close=far.close)
    dtypes = {spec.name: spec.dtype for spec in serving.signature.inputs}
    return Running(model, NUMPY, passed, "cpu", dtypes)


class _FarModel:
    """The process with what is shared with it. One call at a time: others wait."""

    def __init__(self, name: str, interpreter: str, serving: Serving) -> None:
        self.name = name
        self._turn = threading.Lock()
        self._over: str | None = None
        inputs, outputs = os.memfd_create("navigator-inputs"), os.memfd_create("navigator-outputs")
        ours, theirs = socket.socketpair()
        passed = (theirs.fileno(), inputs, outputs)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    [interpreter, "-P", "-c", START, *map(str, passed)],
                    env=elsewhere.surroundings(),
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # Ctrl-C is for us alone
                )
        except OSError as error:
            ours.close()
            os.close(inputs)
            os.close(outputs)
            raise RequestError(f"{name} cannot be loaded: {interpreter} does not start ({error.strerror})") from error
        self._stream = ours.makefile("rwb")
        ours.close()  # the stream keeps it
        self._given, self._taken = SharedArrays(inputs), SharedArrays(outputs)
        self._end = weakref.finalize(self, _end, self._process, self._stream, (inputs, outputs))
        try:
            with self._turn:
                answer = self._exchange(serde.to_data(serving))
            if answer.get("raised") == "ImportError" or answer.get("raised") == "ModuleNotFoundError":
                raise RequestError(f"{name} cannot be loaded there: {answer['message']}")
            self._check(answer)
        except BaseException:
            self.close()
            raise

    def call(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Arrays in, arrays out. Raises NavigatorError where the model raises, and when its process is gone."""
        arrays = {name: tensors.to_numpy(value) for name, value in inputs.items()}
        with self._turn:
            try:
                told = self._given.write(arrays)
            except TypeError as error:
                raise RequestError(f"{self.name}: {error}") from error
            answer = self._exchange(told)
            self._check(answer)
            return {name: view.copy() for name, view in self._taken.read(answer["outputs"]).items()}

    def close(self) -> None:
        """End the process."""
        self._over = self._over or f"{self.name} is closed"
        self._end()

    def _exchange(self, message: Any) -> dict[str, Any]:
        if self._over is not None:
            raise NavigatorError(self._over)
        try:
            self._stream.write(json.dumps(message).encode() + b"\n")
            self._stream.flush()
            line = self._stream.readline()
        except OSError:
            line = b""
        except BaseException:  # Ctrl-C: whether the answer is still to come is not known
            self._over = f"{self.name} was interrupted in a call; load it again"
            self._end()
            raise
        if not line.endswith(b"\n"):
            self._lost()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _lost(self) -> None:
        """Raises NavigatorError, as every later call will."""
        try:
            how = execution.describe_exit(self._process.wait(5))
        except subprocess.TimeoutExpired:
            how = "closed its connection"
        self._over = f"{self.name}: its process in the other environment {how}; load it again"
        self._end()
        raise NavigatorError(self._over)

    def _check(self, answer: Mapping[str, Any]) -> None:
        if "raised" in answer:
            error = NavigatorError(f"{self.name}: {answer['raised']}: {answer['message']}")
            error.add_note(f"Where it was raised, in its own process:\n{answer['traceback']}")
            raise error


def _end(process: subprocess.Popen[bytes], stream: Any, descriptors: tuple[int, ...]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    with contextlib.suppress(OSError):
        stream.close()
    for descriptor in descriptors:
        os.close(descriptor)
