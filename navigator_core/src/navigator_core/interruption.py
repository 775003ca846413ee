"""Ctrl-C and SIGTERM while a run is at work: a wish that it ends with a report of what was finished."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import types
from collections.abc import Iterator
from typing import Any, Self

from attrs import define, field

from navigator_core.errors import Interrupted


@define
class Interruption:
    """Hears SIGINT and SIGTERM while it is entered, in the main thread, where the caller has no handler of their own.

    ``signal`` names the one that came. It raises `Interrupted` at once, but for where that is `postponed`; a second one
    does so everywhere.
    """

    signal: str | None = None
    _at_once: bool = True
    _before: dict[int, Any] = field(factory=dict)
    _process: int = field(factory=os.getpid)

    @contextlib.contextmanager
    def postponed(self) -> Iterator[None]:
        """What is done here is not interrupted, but for what is `exposed` inside."""
        self._at_once = False
        try:
            yield
        finally:
            self._at_once = True

    @contextlib.contextmanager
    def exposed(self) -> Iterator[None]:
        """What is done here may be interrupted at any time; it is not begun after a signal. Raises Interrupted."""
        before, self._at_once = self._at_once, True
        try:
            if self.signal is not None:
                raise Interrupted(self.signal)
            yield
        finally:
            self._at_once = before

    def _hear(self, number: int, frame: types.FrameType | None) -> None:
        if os.getpid() != self._process:  # a child that the user's own code forked
            signal.signal(number, self._before[number])
            os.kill(os.getpid(), number)
            return
        again = self.signal is not None
        self.signal = signal.Signals(number).name
        if self._at_once or again:
            raise Interrupted(self.signal)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
                if signal.getsignal(number) == default:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()
