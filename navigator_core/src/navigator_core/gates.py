"""The user's own gates: ``verify`` as a function of outputs, or a `Metric`; they run where a crash costs one branch."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import Attribute, field, frozen

from navigator_core import shipping, tensors
from navigator_core.calls import like_the_source
from navigator_core.errors import RequestError
from navigator_core.loading import Running
from navigator_core.signature import Signature
from navigator_core.worker import SourceRaisedError


def _name(metric: Metric, attribute: Attribute[str], value: str) -> None:
    if not isinstance(value, str) or not value:
        raise RequestError(f"a metric's name must be a str, such as 'accuracy', not {value!r}")


def _function(metric: Metric, attribute: Attribute[Any], value: Any) -> None:
    if not callable(value):
        raise RequestError(
            f"the metric {metric.name!r} needs a function(model) -> float, not {value!r}; "
            "a bound is given by name: minimum= or max_drop="
        )


def _bound(metric: Metric, attribute: Attribute[float | None], value: float | None) -> None:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool) and np.isfinite(value)
    if value is not None and not (number and (attribute.name == "minimum" or value >= 0)):
        what = "a number" if attribute.name == "minimum" else "a number that is not negative"
        raise RequestError(f"{attribute.name} of the metric {metric.name!r} must be {what}, not {value!r}")


@frozen
class Metric:
    """A number that says how good a model is, and what is still good enough.

    ``function(model)`` is given a callable like the source. ``minimum`` is the lowest value allowed, ``max_drop`` how
    far below the source's own value it may be; the source is asked once. Raises RequestError for a function that
    cannot be called and for bounds that are no numbers.
    """

    name: str = field(validator=_name)
    function: Callable[[Callable[..., Any]], float] = field(eq=False, validator=_function)
    minimum: float | None = field(default=None, validator=_bound)
    max_drop: float | None = field(default=None, validator=_bound)


def store(verify: Any, folder: Path) -> Path:
    """Write the gate where a worker finds it. Raises RequestError for one that cannot leave this process."""
    path = stored(folder)
    try:
        path.write_bytes(shipping.dumps(verify))
    except Exception as error:  # what a foreign __reduce__ raises is not foreseeable
        raise RequestError(
            f"verify cannot be sent to a worker ({type(error).__name__}: {error}); "
            "it must not hold locks, open files or the like"
        ) from error
    return path


def stored(folder: Path) -> Path:
    """Where `store` has put the gate."""
    return folder / "verify.pkl"


def measure_source(path: Path | None, run: Running, signature: Signature) -> dict[str, float]:
    """The source's own value of the metric, by its name; empty where there is no metric.

    Raises SourceRaisedError, caused by what the user's function raised.
    """
    gate = _load(path)
    if not isinstance(gate, Metric):
        return {}
    try:
        return {gate.name: float(gate.function(like_the_source(run, signature)))}
    except Exception as error:
        raise SourceRaisedError(f"the metric {gate.name!r} raised on the source itself") from error


def demand_of_source(gate: Any, metrics: Mapping[str, float]) -> None:
    """Raises RequestError where the source itself misses what its metric asks for, so that nothing could pass.

    ``metrics`` is what `measure_source` found.
    """
    if not isinstance(gate, Metric):
        return
    text = _judge(gate, metrics[gate.name], metrics[gate.name])
    if text != "ok":
        raise RequestError(f"the source itself does not hold what verify asks for: {text}")


def check(
    path: Path | None,
    run: Running,
    signature: Signature,
    source: dict[str, float],
    pairs: Sequence[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]],
) -> tuple[dict[str, str], dict[str, float]]:
    """The checks ("ok" or one sentence) and metric values of a candidate; ``pairs`` are outputs: (source's, its)."""
    gate = _load(path)
    if gate is None:
        return {}, {}
    name = gate.name if isinstance(gate, Metric) else "verify"
    try:
        if isinstance(gate, Metric):
            value = float(gate.function(like_the_source(run, signature)))
            return {name: _judge(gate, value, source[name])}, {name: value}
        references = [_as_source(signature, reference, run.kind_passed) for reference, _ in pairs]
        candidates = [_as_source(signature, candidate, run.kind_passed) for _, candidate in pairs]
        said = gate(references, candidates)
        if said is None:
            return {name: "the user's verify function returned None, neither True nor False"}, {}
        return {name: "ok" if bool(said) else "the user's verify function said no"}, {}
    except Exception as error:  # of the user's function, or of a candidate that cannot do what the metric asks
        return {name: f"raised {type(error).__name__}: {error}"}, {}


def _judge(metric: Metric, value: float, source: float) -> str:
    if not np.isfinite(value):
        return f"{metric.name} is {value}"
    if metric.minimum is not None and value < metric.minimum:
        return f"{metric.name} is {value:.6g}, below the minimum {metric.minimum:.6g}"
    if metric.max_drop is not None and not source - value <= metric.max_drop:  # the source's may be NaN
        return f"{metric.name} is {value:.6g}, {source - value:.3g} below the source's; allowed {metric.max_drop:.3g}"
    return "ok"


def _as_source(signature: Signature, outputs: dict[str, np.ndarray], kind: str) -> Any:
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    return signature.rebuild(tensors.convert(outputs, kind, "cpu", dtypes))


def _load(path: Path | None) -> Any:
    return None if path is None else pickle.loads(path.read_bytes())
