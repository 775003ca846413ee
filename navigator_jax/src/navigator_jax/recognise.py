"""What is a JAX model, told by names alone: a plugin is asked about every model, and JAX is not imported for it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any

from navigator_core import type_names

LIBRARIES = frozenset({"jax", "jaxlib", "flax", "equinox", "haiku"})
"""Whose callables are models: modules, jitted functions, and what ``vmap`` and its like make of a function."""
DEPTH = 6
"""How far into the arguments of a partial is looked for arrays."""


def is_model(model: Any, sample: Any = None) -> bool:
    """Whether a callable comes of one of the `LIBRARIES`, holds their arrays, or is a function called with such."""
    if not callable(model) or isinstance(model, type):
        return False
    if _is_theirs(model):
        return True
    if isinstance(model, functools.partial):
        given = [*model.args, *model.keywords.values()]
        return is_model(model.func, sample) or any(map(_holds_arrays, given)) or any(map(_is_theirs, given))
    plain = isinstance(model, types.FunctionType | types.MethodType | types.BuiltinFunctionType)
    return plain and _holds_arrays(sample)


def is_linen(value: Any) -> bool:
    """A module of ``flax.linen``, whose parameters lie elsewhere."""
    return "flax.linen.module.Module" in type_names(value)


def is_nnx(value: Any) -> bool:
    """A module of ``flax.nnx``, which holds its parameters."""
    return "flax.nnx.module.Module" in type_names(value)


def keeps_track(value: Any) -> bool:
    """What ``flax.nnx`` has note in which trace it was made: modules, and streams of random keys."""
    return bool({"flax.nnx.module.Module", "flax.nnx.pytreelib.Pytree"} & type_names(value))


def is_variable(value: Any) -> bool:
    """What a module of ``flax.nnx`` keeps its parameters and state in."""
    return "flax.nnx.variablelib.Variable" in type_names(value)


def is_equinox(value: Any) -> bool:
    """A module of ``equinox``, of any of its releases."""
    return any(base.__qualname__ == "Module" and _library(base.__module__) == "equinox" for base in type(value).__mro__)


def _is_theirs(value: Any) -> bool:
    if isinstance(value, types.MethodType):
        return _is_of_theirs(value.__self__) or _is_theirs(value.__func__)
    if isinstance(value, types.FunctionType):
        # a wrapper states the module of what it wraps; its globals are those of whoever wrote it
        return _library(value.__globals__.get("__name__")) in LIBRARIES
    return callable(value) and _is_of_theirs(value)


def _is_of_theirs(value: Any) -> bool:
    return any(_library(base.__module__) in LIBRARIES for base in type(value).__mro__)


def _library(module: object) -> str:
    return module.partition(".")[0] if isinstance(module, str) else ""


def _holds_arrays(value: Any, depth: int = DEPTH) -> bool:
    from navigator_jax.tensors import is_tensor  # brings numpy, which is not for whoever only looks at the graph

    return is_tensor(value) or (depth > 0 and any(_holds_arrays(child, depth - 1) for child in _children(value)))


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
