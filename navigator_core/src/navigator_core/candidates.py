"""A candidate: one way to run the model, what was found out about it, and how to load it."""

from __future__ import annotations

import types
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attrs import evolve, field, frozen

from navigator_core.declarations import Device, DeviceInfo, Precision, Runner
from navigator_core.errors import NavigatorError, PackageError, RequestError
from navigator_core.loading import RunnerUse, Running
from navigator_core.results import Measurement, Status, Verdict
from navigator_core.signature import Names, Signature

if TYPE_CHECKING:
    from navigator_core.environments import Environment


@frozen(kw_only=True)
class Recipe:
    """How a candidate is loaded again. ``live``: it needs the model itself, there being no artifact."""

    runner: RunnerUse
    format: str
    precision: Precision
    names: Names = field(factory=Names)
    live: bool = False
    portable: bool = True
    executes_code: bool = False


@frozen
class Home:
    """What a candidate needs that is no data: the model in memory (with its framework's module) and the signature.

    ``locked`` says why it must not be loaded. ``keep`` is the folder of the artifact, if that is a temporary one.
    """

    signature: Signature
    model: Any = None
    prepare: Any = None
    locked: str | None = None
    keep: Any = None


@frozen(kw_only=True)
class Candidate:
    """One (conversion path, runner). Durations in seconds, sizes in bytes.

    ``path`` is the artifact, None if it exists only in memory. ``reason`` and ``remedy`` are one sentence each when
    ``status`` is not "ok"; ``reason`` is also "over the limit: ..." for an ok one that may not win. ``comparison``: the
    source's own, tried although it was not asked for, because speed-ups are relative to it; it may not win.
    """

    name: str
    runner: str
    precision: str
    device: str
    status: Status
    reason: str | None = None
    remedy: str | None = None
    verdict: Verdict | None = None
    measurements: tuple[Measurement, ...] = ()
    path: Path | None = None
    size: int | None = None
    recipe: Recipe | None = None
    log: Path | None = None
    comparison: bool = False
    home: Any = field(default=None, eq=False, repr=False)

    def at(self, batch_size: int) -> Measurement | None:
        """The measurement at a batch size, if there is one."""
        return next((m for m in self.measurements if m.batch_size == batch_size), None)

    def load(self, device: str | None = None) -> LoadedCandidate:
        """Load it in this process: a callable like the source. Close it, or use it as a context manager.

        What runs in another environment is loaded by a process of that one, which is called in its place.

        Raises RequestError for a candidate that cannot be loaded here, saying why.
        """
        home: Home | None = self.home
        if self.recipe is None or home is None:
            raise RequestError(f"{self.name} cannot be loaded: it is {self.status} ({self.reason})")
        if home.locked is not None:
            raise PackageError(f"{self.name} cannot be loaded: {home.locked}")
        if self.recipe.live and home.model is None:
            raise RequestError(f"{self.name} exists only in memory; give it its model: package.attach(model)")
        return load(self, home, device or self.device)


class LoadedCandidate:
    """A model ready to be called: takes and returns what the source does, in the kind of tensor passed in."""

    def __init__(self, name: str, running: Running, signature: Signature, keep: Any = None) -> None:
        from navigator_core.calls import like_the_source

        self.name = name
        self.signature = signature
        self._running = running
        self._call = like_the_source(running, signature)
        self._keep = keep  # some runners read their files while they run
        self._closed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call it as the source is called. Raises RequestError for arguments of another structure."""
        return self._call(*args, **kwargs)

    def close(self) -> None:
        """Free what was loaded; calling it again does nothing."""
        if not self._closed:
            self._closed, self._call = True, self._refuse
            self._running.model.close()

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RequestError(f"{self.name} is closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.name}, {'closed' if self._closed else 'loaded'}>"


def _demand(name: str, runner: Runner | None, device: str) -> None:
    """Raises RequestError for a device that the runner does not run on, or that is not here."""
    from navigator_core.survey import CPU, kind

    if runner is not None and runner.devices and kind(device) not in runner.devices:
        raise RequestError(f"{name} runs on {' or '.join(runner.devices)}, not on {device!r}")
    lacking = None if kind(device) == CPU else device_missing(device)
    if lacking is not None:
        raise RequestError(f"{name} cannot be loaded: {lacking}")


def device_missing(device: str) -> str | None:
    """Why a device, such as "cuda:1", or "cuda" for any of that kind, is not to be had here; None if it is."""
    from navigator_core import plugins
    from navigator_core.survey import kind

    for declared in plugins.installed().devices:
        if declared.kind == kind(device):
            try:
                if any(device in (found.name, kind(found.name)) for found in _detected(declared)):
                    return None
            except Exception as error:  # a plugin's detection may raise anything: then the device is not to be had
                return f"detecting {kind(device)} devices failed: {type(error).__name__}: {error}"
    return f"there is no {device} here"


def _detected(declared: Device) -> Iterable[DeviceInfo]:
    """The devices of a kind; where another environment detects it, asked there."""
    from navigator_core import plugins

    interpreter = plugins.installed().interpreter(declared)
    if interpreter is None:
        found: Iterable[DeviceInfo] = declared.detect.resolve()()
        return found
    from navigator_core import machine

    return machine.detect(declared, interpreter)


def _start_there(candidate: Candidate, recipe: Recipe, home: Home, device: str, environment: Environment) -> Running:
    from navigator_core import proxy
    from navigator_core.loading import Kinds
    from navigator_core.serving import Serving

    assert candidate.path is not None
    serving = Serving(
        runner=recipe.runner,
        path=candidate.path,
        signature=evolve(home.signature, structure=None),  # containers are built on this side
        kinds=Kinds(declared=tuple(environment.tensors.values())),
        device=device,
        precision=recipe.precision,
        names=recipe.names,
    )
    return proxy.start(candidate.name, environment.python, serving)


def load(candidate: Candidate, home: Home, device: str) -> LoadedCandidate:
    """Load a candidate whose home is known."""
    from navigator_core import loading, plugins, tensors
    from navigator_core.declarations import Context

    recipe = candidate.recipe
    assert recipe is not None
    installed = plugins.installed()
    _demand(candidate.name, installed.runner_for(recipe.runner.name), device)
    tensors.register(installed.tensors.values())
    environment = recipe.runner.environment
    if environment is not None:
        if environment not in installed.environments:
            raise RequestError(f"{candidate.name} cannot be loaded: {installed.why_no_runner(recipe.runner.name)}")
        running = _start_there(candidate, recipe, home, device, installed.environments[environment])
        return LoadedCandidate(candidate.name, running, home.signature, home.keep)
    model: Any = candidate.path
    if recipe.live:
        model = home.prepare(home.model, device) if home.prepare else home.model
    try:
        recipe.runner.built_options()
    except (ValueError, TypeError) as error:
        raise RequestError(
            f"{candidate.name} cannot be loaded: its options are not those of the runner that is installed: {error}"
        ) from error
    context = Context(signature=home.signature, device=device, precision=recipe.precision, names=recipe.names)
    try:
        running = loading.start(recipe.runner, model, context)
    except NavigatorError:
        raise
    except ImportError as error:
        raise RequestError(f"{candidate.name} cannot be loaded here: {error}") from error
    return LoadedCandidate(candidate.name, running, home.signature, home.keep)
