"""The built-in progress display: an observer like any other, on stderr, where a person is looking."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from navigator_core.events import CandidateFinished, Event, RunFinished, RunStarted, StepFinished, StepStarted

STAGES = {
    "prepare": "preparing:",
    "export": "exporting",
    "convert": "converting",
    "verify": "checking and measuring",
    "profile": "measuring",
    "search": "trying",
    "playoff": "comparing",
}

UNCOUNTED = ("prepare", "search", "playoff")
"""What is not known to be needed when the plan is made."""


def display() -> list[Display]:
    """The display as a list of one observer; empty where nobody is looking, or NAVIGATOR_PROGRESS=0 says so."""
    wanted = os.environ.get("NAVIGATOR_PROGRESS")
    in_notebook = "ipykernel" in sys.modules
    looking = bool(getattr(sys.stderr, "isatty", lambda: False)()) or in_notebook
    return [Display()] if (looking and wanted != "0") or wanted == "1" else []


class Display:
    """Draws one line that says what is being done, how long it takes and how much is left.

    Where nothing can be drawn, in a file or a pipe, each step is a line of its own.
    """

    def __init__(self) -> None:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        console = self._progress.console
        self._lines = not (console.is_terminal or console.is_jupyter)
        self._escape = escape  # "[dynamo]" is no markup
        self._task = self._progress.add_task("Navigator", total=None)

    def __call__(self, event: Event) -> None:
        """Hear an event."""
        if isinstance(event, StepStarted):
            what = f"{STAGES[event.stage]} {self._escape(event.step)}"
            if self._lines:
                self._print(what)
                return
            self._progress.start()
            self._progress.update(self._task, description=what)
        elif isinstance(event, RunStarted):
            self._progress.update(self._task, total=event.steps, completed=0)
        elif isinstance(event, StepFinished) and event.stage not in UNCOUNTED:
            self._progress.advance(self._task)
        elif isinstance(event, CandidateFinished) and event.candidate.status in ("incorrect", "failed"):
            name = self._escape(event.candidate.name)
            self._print(f"[yellow]{event.candidate.status}[/] {name}")
        elif isinstance(event, RunFinished):
            self.close()

    def close(self) -> None:
        """Leave the terminal as it was."""
        if not self._lines:
            self._progress.stop()

    def _print(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, soft_wrap=True)  # a name is never cut in two


Step = Callable[[str], AbstractContextManager[None]]


@contextmanager
def watching(total: int) -> Iterator[Step]:
    """The built-in progress display over ``total`` steps; ``step(name)`` is one of them."""
    shown = display()
    begun = time.monotonic()

    def tell(make: Callable[..., Event], **fields: Any) -> None:
        for one in shown:
            one(make(run="", elapsed=time.monotonic() - begun, **fields))

    @contextmanager
    def step(name: str) -> Iterator[None]:
        tell(StepStarted, step=name, stage="profile")
        start = time.monotonic()
        yield
        spent = time.monotonic() - start
        tell(StepFinished, step=name, stage="profile", status="ok", reason=None, duration=spent, log=None)

    try:
        tell(RunStarted, steps=total)
        yield step
    finally:
        for one in shown:
            one.close()
