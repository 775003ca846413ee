"""Models that are plain Python callables: what any function can say of itself, and a runner that calls it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from navigator_core.declarations import Context, LoadedModel


def parameters(model: Callable[..., Any]) -> inspect.Signature:
    """The callable's own signature; ``(*args, **kwargs)`` where it tells none, as some builtins do."""
    try:
        return inspect.signature(model)
    except (TypeError, ValueError):
        return inspect.signature(_anything)


def fingerprint(model: Callable[..., Any]) -> None:
    """None, always: what a closure reaches cannot be keyed, so results are never reused."""


def state(model: Callable[..., Any]) -> tuple[str, ...]:
    """Nothing: a callable has no mode that evaluation would change."""
    return ()


def prepare(model: Callable[..., Any], device: str = "cpu") -> Callable[..., Any]:
    """The callable itself: where it computes is its own affair."""
    return model


def load(model: Callable[..., Any], options: Any, context: Context) -> LoadedModel:
    """Call it as the samples do, with tensors of the caller's own kind."""
    return LoadedModel(partial(context.signature.call, model), thread_safe=True)  # as far as the user's own is


def _anything(*args: Any, **kwargs: Any) -> Any:
    """Stands for a callable whose parameters are unknown."""
