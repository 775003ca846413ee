"""The functions of `navigator`: the user's API, each a thin layer over the engine."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from navigator_core import plugins as discovery
from navigator_core.declarations import Format, Framework, Runner
from navigator_core.errors import RequestError
from navigator_core.graph import Graph
from navigator_core.plugins import Plugins
from navigator_core.signature import Call

if TYPE_CHECKING:
    from navigator_core.candidates import Candidate
    from navigator_core.comparison import Comparison
    from navigator_core.events import Event
    from navigator_core.forecast import Plan
    from navigator_core.gates import Metric
    from navigator_core.package import Package
    from navigator_core.report import Report
    from navigator_core.results import Objective, Tolerance


def call(*args: Any, **kwargs: Any) -> Call:
    """One sample with positional and keyword arguments, or whose one argument is itself a container."""
    return Call(args, kwargs)


def optimize(
    model: Any,
    samples: Any = None,
    *,
    format: str | None = None,
    targets: Iterable[str] | None = None,
    runners: Iterable[str] | None = None,
    device: str = "auto",
    batching: bool | Mapping[str, int | None] = True,
    batch_sizes: Iterable[int] | None = None,
    objective: Objective | None = None,
    precisions: Iterable[str] | None = None,
    tolerance: Tolerance | Mapping[str, Tolerance] | None = None,
    verify: Callable[[Sequence[Any], Sequence[Any]], bool] | Metric | None = None,
    options: Mapping[str, Any] | None = None,
    budget: float | None = None,
    memory_limit: int | None = None,
    callers: int = 1,
    search: bool = False,
    workspace: str | Path | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    observe: Callable[[Event], None] | None = None,
) -> Report:
    """Try every way the installed plugins offer to run a model, keep what is right, and say which is best.

    Args:
        model: a live model of an installed framework, the path of a file such as ``model.onnx`` or ``model.nav``,
            or any Python callable.
        samples: what the model is called with. One sample is a tensor, a tuple (positional arguments), a Mapping
            (keyword arguments) or `call`; any other iterable is several, of which at most 64 or 1 GiB are read.
            Samples of different shape tell which axes are dynamic. May be left out for a file.
        format: what the model is, when it cannot be told.
        targets: names of the formats to reach; default: all that are reachable.
        runners: names of the runners to consider; default: all that fit the device.
        device: "auto", "cpu", "cuda", "cuda:1"; "auto" takes an accelerator where one is usable.
        batching: each input's batch axis is inferred; exceptions by name, ``{"hidden": 1, "mask": None}``; False: none.
        batch_sizes: default 1, 2, 4, ... until throughput saturates.
        objective: what is best; default: the lowest median latency at the smallest batch size.
        precisions: names of the precisions that may win; default: the source's own.
        tolerance: None: derived from the source's own rounding noise; else the allowed error, for all outputs or by
            name.
        verify: ``callable(references, candidates) -> bool`` or a `Metric`; a candidate it refuses cannot win.
        options: what is built: ``{"onnx": {"opset": 20}, "torch->onnx": {...}, "@onnxruntime-cpu": {"threads": 4}}``;
            a list given to a scalar field means one variant for each value.
        budget: seconds for the whole run; what did not fit is "skipped".
        memory_limit: bytes that the processes of one step may hold together; one that holds more "failed".
        callers: threads that call the model at once while it is timed: latency is then that of each call, throughput
            that of all together.
        search: whether to try other settings of what runs the best candidates, such as their threads.
        workspace: the folder for artifacts and logs; default ``./navigator_workspace``.
        input_names: names for the inputs, in order; default: dotted paths.
        output_names: names for the outputs, in order; default: dotted paths, a lone one "output".
        observe: called with every event.

    Raises:
        RequestError: something in the request can be mended by the caller; the message says what.
        NoPathError: no runner can be reached.
        Interrupted: Ctrl-C or SIGTERM ended the run; its ``report`` holds what was finished.
        Exception: the model's own, where it raises on the samples.
    """
    asked = {
        "format": format,
        "targets": targets,
        "runners": runners,
        "device": device,
        "batching": batching,
        "batch_sizes": batch_sizes,
        "objective": objective,
        "precisions": precisions,
        "tolerance": tolerance,
        "verify": verify,
        "options": options,
        "budget": budget,
        "memory_limit": memory_limit,
        "callers": callers,
        "search": search,
        "workspace": workspace,
        "input_names": input_names,
        "output_names": output_names,
        "observe": observe,
    }
    if (package := _package(model, samples)) is not None:
        return package.optimize(**asked)
    from navigator_core import optimize as engine
    from navigator_core import request

    return engine.optimize(model, samples, request.checked(**asked))


def profile(
    model: Any,
    samples: Any = None,
    *,
    format: str | None = None,
    device: str = "auto",
    batching: bool | Mapping[str, int | None] = True,
    batch_sizes: Iterable[int] | None = None,
    objective: Objective | None = None,
    options: Mapping[str, Any] | None = None,
    budget: float | None = None,
    memory_limit: int | None = None,
    callers: int = 1,
    workspace: str | Path | None = None,
    observe: Callable[[Event], None] | None = None,
) -> Report:
    """Measure a model as it is, by its own runners: nothing is exported, nothing converted.

    The arguments are those of `optimize`.
    """
    asked = {
        "format": format,
        "device": device,
        "batching": batching,
        "batch_sizes": batch_sizes,
        "objective": objective,
        "options": options,
        "budget": budget,
        "memory_limit": memory_limit,
        "callers": callers,
        "workspace": workspace,
        "observe": observe,
    }
    if (package := _package(model, samples)) is not None:
        return package.profile(**asked)
    from navigator_core import optimize as engine
    from navigator_core import request

    return engine.optimize(model, samples, request.checked(**asked, check=False))


def plan(model: Any, samples: Any = None, **asked: Any) -> Plan:
    """What `optimize` would do with the same arguments, without running the model: nothing is converted or measured.

    Steps that an earlier run in this workspace has finished are marked; what is unavailable says why. Plugins are
    asked for devices and whatever their probes check, and the model is put into the workspace. What fits into a
    ``budget`` only the run itself can tell, and ``observe`` hears nothing.
    """
    inspect.signature(optimize).bind(model, samples, **asked)  # TypeError for arguments that optimize does not take
    if (package := _package(model, samples)) is not None:
        return package.plan(**asked)
    from navigator_core import forecast, request

    return forecast.plan(model, samples, request.checked(**asked))


def load(path: str | Path, *, trust: bool = False) -> Package:
    """Open a ``.nav`` package, checking all of it before anything is loaded.

    ``trust`` allows formats that can execute code when they are loaded, in packages that were not written by this
    user here. Raises PackageError for a package that cannot be read or trusted.
    """
    from navigator_core.package import reopen

    return reopen(Path(path), trust=trust)


def compare(
    a: str | Path | Package | Report | Candidate,
    b: str | Path | Package | Report | Candidate,
    *,
    samples: Any = None,
    batch_sizes: Iterable[int] | None = None,
    runner: str | None = None,
    tolerance: Tolerance | Mapping[str, Tolerance] | None = None,
    latency_ratio: float | None = None,
    memory_ratio: float | None = None,
    size_ratio: float | None = None,
    trust: bool = False,
) -> Comparison:
    """Say whether B may take A's place: as fast, as small, and with the same answers.

    The best candidate of each that was stored is called with the same samples, each in a process of its own, and then
    timed against the other in rounds of fresh processes that take turns. Nothing is kept.

    Args:
        a: what is in use: the path of a ``.nav`` package, a package, a report, or one candidate of either.
        b: what is to replace it.
        samples: as of `optimize`; default: those that both packages hold.
        batch_sizes: default: those that both measured.
        runner: compare the candidate of this runner instead of the best.
        tolerance: how far B's outputs may be from A's in every element; default: the bars of both together.
        latency_ratio: how many times A's time B may take; default 1.03, which a restart alone may make.
        memory_ratio: how many times A's memory B may take; default: that does not decide.
        size_ratio: how many times the size of A's artifact that of B may have; default: that does not decide.
        trust: as of `load`, for both.

    Raises:
        RequestError: they take or return something else, or the request cannot be met; the message says what.
        PackageError: a package cannot be read or trusted, or its candidate cannot be loaded here.
        NavigatorError: one of them fails here, so that there is nothing to compare.
        Interrupted: Ctrl-C or SIGTERM.
    """
    from navigator_core import comparing

    allowed = {} if latency_ratio is None else {"latency_ratio": latency_ratio}
    asked = comparing.Asked(
        batch_sizes=None if batch_sizes is None else tuple(batch_sizes),
        runner=runner,
        tolerance=tolerance,
        memory_ratio=memory_ratio,
        size_ratio=size_ratio,
        trust=trust,
        **allowed,
    )
    return comparing.compare(a, b, samples, asked)


def formats() -> Mapping[str, Format | Framework]:
    """The formats and frameworks that installed plugins declare, by name."""
    return discovery.installed().formats


def runners() -> Mapping[str, Runner]:
    """The runners that installed plugins declare, by name."""
    return discovery.installed().runners


def plugins() -> Plugins:
    """The installed plugins, with the broken ones and why they are set aside."""
    return discovery.installed()


def graph() -> Graph:
    """The conversions that installed plugins offer, with the reason for each that is unavailable here."""
    from navigator_core import availability
    from navigator_core import graph as graphs

    return graphs.build(discovery.installed(), availability.missing)


def environments() -> Mapping[str, str]:
    """The registered environments: the path of each one's interpreter, by name. They are not asked anything.

    Raises RequestError where the file that holds them is damaged.
    """
    from navigator_core import registry

    return registry.read()


def add_environment(name: str, python: str | Path) -> None:
    """Let the plugins of another virtual environment take part, from now on and in every process of this user.

    ``python`` is its interpreter, or its folder. The interpreter is asked at once. Raises RequestError for what is no
    interpreter, has no navigator-core or one of another version, or does not answer.
    """
    from navigator_core import environments

    environments.add(name, python)


def remove_environment(name: str) -> None:
    """Undo `add_environment`; the environment itself stays as it is. Raises RequestError for an unknown name."""
    from navigator_core import environments

    environments.remove(name)


def _package(model: Any, samples: Any) -> Package | None:
    """The package at a path that ends in ``.nav``; None for any other model. Raises RequestError for samples beside."""
    if not isinstance(model, str | Path) or Path(model).suffix != ".nav":
        return None
    if samples is not None:
        raise RequestError(f"{str(model)!r} holds its own samples: leave samples out")
    return load(model)
