"""Every way to extend Navigator. A plugin implements the hooks it needs; each one only declares data."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from navigator_core.declarations import (
        Converter,
        Deployer,
        Device,
        Executor,
        Exporter,
        Format,
        Framework,
        Profiler,
        Runner,
        Tensors,
    )
    from navigator_core.events import Event

hookspec = pluggy.HookspecMarker("navigator")


@hookspec
def declare_formats() -> Iterable[Format | Framework]:  # type: ignore[empty-body]
    """Kinds of artifact on disk, and kinds of live model."""


@hookspec
def declare_tensors() -> Iterable[Tensors]:  # type: ignore[empty-body]
    """Kinds of array."""


@hookspec
def declare_devices() -> Iterable[Device]:  # type: ignore[empty-body]
    """Kinds of device and how to detect them. "cpu" is the core's."""


@hookspec
def declare_exporters() -> Iterable[Exporter]:  # type: ignore[empty-body]
    """Live model to artifact."""


@hookspec
def declare_converters() -> Iterable[Converter]:  # type: ignore[empty-body]
    """Artifact to artifact."""


@hookspec
def declare_runners() -> Iterable[Runner]:  # type: ignore[empty-body]
    """What executes which formats, on which devices."""


@hookspec
def declare_profilers() -> Iterable[Profiler]:  # type: ignore[empty-body]
    """Ways to measure."""


@hookspec
def declare_deployers() -> Iterable[Deployer]:  # type: ignore[empty-body]
    """Ways to write a result for a server."""


@hookspec
def declare_executors() -> Iterable[Executor]:  # type: ignore[empty-body]
    """Where steps run. Local worker processes are the core's; a cluster is a plugin."""


@hookspec
def identify_model(model: Any, sample: Any) -> str | None:
    """The format or framework of this model, or None. Look at type names; import nothing.

    ``sample`` is the first one as the user gave it, or None. Two different answers are an error whose remedy
    is ``format=``.
    """


@hookspec
def observe(event: Event) -> None:
    """Hear what happens, in the caller's process, in order."""
