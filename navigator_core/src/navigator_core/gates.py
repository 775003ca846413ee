"""The user's own gates: ``verify`` as a function of outputs, or a `Metric`; they run where a crash costs one branch."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from navigator_core import shipping, tensors
from navigator_core.loading import Running, like_the_source
from navigator_core.signature import Signature


@frozen
class Metric:
    """A number that says how good a model is, and what is still good enough.

    ``function(model)`` is given a callable like the source. ``minimum`` is the lowest value allowed, ``max_drop`` how
    far below the source's own value it may be; the source is asked once.
    """

    name: str
    function: Callable[[Callable[..., Any]], float] = field(eq=False)
    minimum: float | None = None
    max_drop: float | None = None


def store(verify: Any, folder: Path) -> Path:
    """Write the gate where a worker finds it. Raises what pickle raises for one that cannot leave this process."""
    path = stored(folder)
    path.write_bytes(shipping.dumps(verify))
    return path


def stored(folder: Path) -> Path:
    """Where `store` has put the gate."""
    return folder / "verify.pkl"


def measure_source(path: Path | None, run: Running, signature: Signature) -> dict[str, float]:
    """The source's own value of the metric, by its name; empty where there is no metric."""
    gate = _load(path)
    return {gate.name: float(gate.function(like_the_source(run, signature)))} if isinstance(gate, Metric) else {}


def check(
    path: Path | None,
    run: Running,
    signature: Signature,
    source: dict[str, float],
    pairs: Sequence[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]],
) -> tuple[dict[str, str], dict[str, float]]:
    """The checks ("ok" or one sentence) and metric values of a candidate; ``pairs`` are (reference, candidate) outputs."""
    gate = _load(path)
    if gate is None:
        return {}, {}
    if isinstance(gate, Metric):
        value = float(gate.function(like_the_source(run, signature)))
        return {gate.name: _judge(gate, value, source[gate.name])}, {gate.name: value}
    references = [_as_source(signature, reference, run.kind_passed) for reference, _ in pairs]
    candidates = [_as_source(signature, candidate, run.kind_passed) for _, candidate in pairs]
    answer = gate(references, candidates)
    return {"verify": "ok" if bool(answer) else "the user's verify function said no"}, {}


def _judge(metric: Metric, value: float, source: float) -> str:
    if not np.isfinite(value):
        return f"{metric.name} is {value}"
    if metric.minimum is not None and value < metric.minimum:
        return f"{metric.name} is {value:.6g}, below the minimum {metric.minimum:.6g}"
    if metric.max_drop is not None and source - value > metric.max_drop:
        return f"{metric.name} is {value:.6g}, {source - value:.3g} below the source's; allowed {metric.max_drop:.3g}"
    return "ok"


def _as_source(signature: Signature, outputs: dict[str, np.ndarray], kind: str) -> Any:
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    return signature.rebuild(tensors.convert(outputs, kind, "cpu", dtypes))


def _load(path: Path | None) -> Any:
    return None if path is None else pickle.loads(path.read_bytes())
