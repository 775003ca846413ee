"""Profilers at work on one loaded candidate: the clock, peak memory by place, and the quantities of plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TypeVar

from attrs import field, frozen

from navigator_core import profiling
from navigator_core.declarations import Context, Ref
from navigator_core.errors import PluginError
from navigator_core.profiling import Measure
from navigator_core.results import Estimate

LATENCY = "latency"
HOST = "host"

T = TypeVar("T")


@frozen(kw_only=True)
class ProfilerUse:
    """A profiler as a worker is told of it. The one named "latency" is the clock, ``memory`` the place it is about."""

    name: str
    implementation: Ref
    memory: str | None = None


@frozen(kw_only=True)
class Instruments:
    """What measures: ``clock`` None stands for the core's own; ``memory`` holds (place, measure)."""

    clock: Measure | None = None
    memory: tuple[tuple[str, Measure], ...] = ()
    others: Mapping[str, Measure] = field(factory=dict)

    def around(self, run: Callable[[], T]) -> tuple[T, dict[str, int]]:
        """What ``run`` returns, and the most bytes that each place held meanwhile. Raises PluginError."""
        results: list[T] = []
        peaks: dict[str, int] = {}

        def call() -> None:
            results.append(run())

        inner: Callable[[], None] = call
        for place, measure in self.memory:
            inner = partial(_note, peaks, place, measure, inner)
        inner()
        if len(results) != 1:
            raise PluginError(
                "a profiler of memory must run what it is given exactly once; its author must change that"
            )
        return results[0], peaks

    def quantities(self, call: Callable[[int], object]) -> dict[str, Estimate]:
        """What the plugins' own quantities are, of single calls."""
        return {name: profiling.quantity(call, measure) for name, measure in self.others.items()}


def ready(uses: Iterable[ProfilerUse], context: Context) -> Instruments:
    """The profilers, imported and told of the candidate."""
    made = [(use, use.implementation.resolve()(context)) for use in uses]
    return Instruments(
        clock=next((measure for use, measure in made if use.name == LATENCY), None),
        memory=tuple((_place(use.memory, context), measure) for use, measure in made if use.memory is not None),
        others={use.name: measure for use, measure in made if use.memory is None and use.name != LATENCY},
    )


def _place(memory: str, context: Context) -> str:
    return HOST if memory == HOST else context.device


def _note(peaks: dict[str, int], place: str, measure: Measure, call: Callable[[], None]) -> None:
    peaks[place] = max(peaks.get(place, 0), int(measure(call)))
