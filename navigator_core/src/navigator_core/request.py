"""What the user asked for, checked before anything runs."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from navigator_core import masking, progress, selection
from navigator_core import plugins as discovery
from navigator_core.declarations import BF16, FP16, FP32, FP64, INT8, TF32
from navigator_core.errors import NavigatorError, RequestError, unknown
from navigator_core.events import Event
from navigator_core.execution import Workers
from navigator_core.gates import Metric
from navigator_core.offers import Wishes
from navigator_core.plugins import Plugins
from navigator_core.results import Objective, Tolerance
from navigator_core.rules import quantities
from navigator_core.session import Session
from navigator_core.workspace import Workspace

DEFAULT_SECONDS = 0.5
PRECISIONS = {precision.name: precision.epsilon for precision in (FP64, FP32, TF32, FP16, BF16, INT8)}


@frozen(kw_only=True)
class Request:
    """The keyword arguments of `navigator.optimize`, in the forms the stages use. Make one with `checked`."""

    format: str | None = None
    targets: tuple[str, ...] | None = None
    runners: tuple[str, ...] | None = None
    device: str = "auto"
    batching: Mapping[str, int | None] | None = field(factory=dict)
    batch_sizes: tuple[int, ...] | None = None
    objective: Objective = field(factory=Objective)
    precisions: tuple[str, ...] | None = None
    tolerance: Tolerance | Mapping[str, Tolerance] | None = None
    verify: Callable[..., Any] | Metric | None = None
    options: Mapping[str, Mapping[str, Any]] = field(factory=dict)
    budget: float | None = None
    memory_limit: int | None = None
    callers: int = 1
    search: bool = False
    workspace: Path | None = None
    input_names: tuple[str, ...] | None = None
    output_names: tuple[str, ...] | None = None
    observe: Callable[[Event], None] | None = None
    seconds: float = DEFAULT_SECONDS
    check: bool = True
    exhaustive: bool = False

    def plugins(self) -> Plugins:
        """What is installed."""
        return discovery.installed()

    def session(self, plugins: Plugins) -> Session:
        """Open the workspace and a new run in it. Raises WorkspaceError."""
        workspace = Workspace.open(self.workspace)
        shown = progress.display()
        observers = [*plugins.observers(), *([self.observe] if self.observe is not None else [])]
        session = Session(
            workspace, workspace.new_run(), Workers(), observers, list(shown), self.budget, self.memory_limit
        )
        session.at_end += [display.close for display in shown]
        session.notes += [str(broken) for broken in (*plugins.broken, *plugins.lost)]
        return session

    def wishes(self) -> Wishes:
        """What planning needs to know."""
        limit = Wishes().limit if self.check else 0  # what is only measured is not converted
        return Wishes(
            targets=self.targets, runners=self.runners, precisions=self.precisions, options=self.options, limit=limit
        )

    def tolerances(self, outputs: Iterable[str]) -> dict[str, Tolerance]:
        """The user's tolerance by output. Raises RequestError for one that the model does not have."""
        names = list(outputs)
        if self.tolerance is None:
            return {}
        if isinstance(self.tolerance, Tolerance):
            return dict.fromkeys(names, self.tolerance)
        for name in self.tolerance:
            if name not in names:
                raise unknown("output in tolerance", name, names)
        return dict(self.tolerance)

    def masks(self) -> dict[str, str]:
        """The inputs that mark what counts, by output; by `masking.EVERY` where the user names none."""
        each = {masking.EVERY: self.tolerance} if isinstance(self.tolerance, Tolerance) else self.tolerance or {}
        return {output: one.mask for output, one in each.items() if one.mask is not None}

    def decides(self) -> bool:
        """Whether the user says what is good enough, so that reduced precisions may win by it."""
        each = [self.tolerance] if isinstance(self.tolerance, Tolerance) else (self.tolerance or {}).values()
        return self.verify is not None or any(one.elementwise or one.top1 is not None for one in each)


def checked(**asked: Any) -> Request:
    """The request, or RequestError saying which argument is wrong and what it may be."""
    _check_platform()
    objective = asked.get("objective") or Objective()
    if not isinstance(objective, Objective):
        raise RequestError(f"objective must be a nav.Objective, not {objective!r}")
    selection.check(objective, quantities(discovery.installed()))
    sizes = _names_or_none(asked.get("batch_sizes"), "batch_sizes", int)
    if sizes is not None and (not sizes or min(sizes) < 1):
        raise RequestError(f"batch_sizes must be positive, not {list(sizes)}")
    if sizes is not None and objective.batch_size is not None and objective.batch_size not in sizes:
        sizes = tuple(sorted({*sizes, objective.batch_size}))
    if sizes is None and objective.batch_size is not None:
        sizes = (1, objective.batch_size) if objective.batch_size != 1 else (1,)
    precisions = _names_or_none(asked.get("precisions"), "precisions", str)
    verify = asked.get("verify")
    if verify is not None and not isinstance(verify, Metric) and not callable(verify):
        raise RequestError(f"verify must be callable(references, candidates) -> bool or a nav.Metric, not {verify!r}")
    budget = asked.get("budget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int | float) or not budget > 0):
        raise RequestError(f"budget must be a positive number of seconds, not {budget!r}")
    memory = asked.get("memory_limit")
    if memory is not None and (isinstance(memory, bool) or not isinstance(memory, int) or not memory > 0):
        raise RequestError(f"memory_limit must be a positive number of bytes, such as 4 * 2**30, not {memory!r}")
    callers = asked.get("callers", 1)
    if isinstance(callers, bool) or not isinstance(callers, int) or not callers > 0:
        raise RequestError(f"callers must be a positive number of threads that call the model at once, not {callers!r}")
    search = asked.get("search", False)
    if not isinstance(search, bool):
        raise RequestError(f"search must be True or False, not {search!r}")
    observe = asked.get("observe")
    if observe is not None and not callable(observe):
        raise RequestError(f"observe must be callable(event), not {observe!r}")
    workspace = asked.get("workspace")
    if workspace is not None and not isinstance(workspace, str | os.PathLike):
        raise RequestError(f"workspace must be the path of a folder, not {workspace!r}")
    return Request(
        format=None if asked.get("format") is None else _text(asked["format"], "format"),
        targets=_names_or_none(asked.get("targets"), "targets", str),
        runners=_names_or_none(asked.get("runners"), "runners", str),
        device=_text(asked.get("device", "auto"), "device"),
        batching=_batching(asked.get("batching", True)),
        batch_sizes=sizes,
        objective=objective,
        precisions=precisions,
        tolerance=_tolerance(asked.get("tolerance")),
        verify=verify,
        options=_options(asked.get("options")),
        budget=budget,
        memory_limit=memory,
        callers=callers,
        search=search,
        workspace=None if workspace is None else Path(workspace),
        input_names=_names_or_none(asked.get("input_names"), "input_names", str),
        output_names=_names_or_none(asked.get("output_names"), "output_names", str),
        observe=observe,
        seconds=asked.get("seconds", DEFAULT_SECONDS),
        check=asked.get("check", True),
        exhaustive=asked.get("exhaustive", False),
    )


def check_precisions(precisions: Sequence[str] | None, declared: Iterable[str]) -> None:
    """Raises RequestError for a precision that neither the core nor a plugin knows."""
    known = {*PRECISIONS, *declared}
    for name in precisions or ():
        if name not in known:
            raise unknown("precision", name, known)


def _check_platform() -> None:
    if not sys.platform.startswith("linux"):
        raise NavigatorError(f"Navigator runs on Linux; this is {platform.system()}. A container or WSL will do")


def _names_or_none(value: Any, name: str, kind: type) -> tuple[Any, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise RequestError(f"{name} must be a list, such as [{value!r}], not {value!r}")
    values = tuple(value)
    for one in values:
        if not isinstance(one, kind) or isinstance(one, bool):
            raise RequestError(f"{name} must hold {kind.__name__}, not {one!r}")
    if not values and name != "options":
        raise RequestError(f"{name} is empty; leave it out for all")
    return values


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name} must be a str, not {value!r}")
    return value


def _batching(value: Any) -> Mapping[str, int | None] | None:
    if value is True:
        return {}
    if value is False:
        return None
    if not isinstance(value, Mapping) or not all(v is None or type(v) is int for v in value.values()):
        raise RequestError(f"batching must be True, False or a mapping of input names to axes or None, not {value!r}")
    return dict(value)


def _tolerance(value: Any) -> Any:
    single = value is None or isinstance(value, Tolerance)
    if single or (isinstance(value, Mapping) and all(isinstance(v, Tolerance) for v in value.values())):
        return value
    raise RequestError(
        f"tolerance must be nav.Tolerance(rtol=, atol=), or a mapping of output names to it, not {value!r}"
    )


def _options(value: Any) -> Mapping[str, Mapping[str, Any]]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(v, Mapping) for v in value.values()):
        raise RequestError(f'options must be like {{"format": {{"field": value}}, "@runner": {{...}}}}, not {value!r}')
    return {str(key): dict(fields) for key, fields in value.items()}
