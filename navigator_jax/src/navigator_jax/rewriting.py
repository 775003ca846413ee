"""A model's program as JAX traces it, evaluated anew: in double precision, or with its weights nudged."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from attrs import frozen
from jax.extend import core

from navigator_core import signature, structure
from navigator_jax.models import Function
from navigator_jax.settings import Settings

INLINED = frozenset(
    {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat2", "custom_jvp_call", "custom_vjp_call"}
)
"""Operations that do nothing but call their one program."""
BY_BITS = frozenset({"bitcast_convert_type", "pure_callback", "io_callback", "ffi_call", "pallas_call"})
"""Operations that mean their very types: they are given these, whatever is around them."""


@frozen
class Rule:
    """What changes: ``constant`` what the program holds, ``dtype`` the types that it computes in."""

    constant: Callable[[Any], Any]
    dtype: Callable[[Any], Any]


def rewritten(function: Function, settings: Settings, traced: Callable[[Any], Any], rule: Rule) -> Function:
    """The function, whose program is traced under ``settings`` at each call, for arguments as ``traced`` says.

    It must be called where ``jax_enable_x64`` holds if the rule makes types of 64 bits. Raises what tracing raises.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        given, leaves = structure.describe((args, kwargs), "")
        returned: list[structure.Node] = []

        def flat(leaves: Mapping[str, Any]) -> Mapping[str, Any]:
            args, kwargs = structure.rebuild(given, leaves)
            node, outputs = signature.describe_outputs(function(*args, **kwargs))
            returned.append(node)
            return outputs

        with settings.active():
            program, shapes = jax.make_jaxpr(flat, return_shape=True)(
                {name: traced(value) for name, value in leaves.items()}
            )
        held = [rule.constant(value) for value in program.consts]
        run = jax.jit(lambda held, values: _evaluate(program.jaxpr, held, values, rule))
        values = run(held, [leaves[name] for name in sorted(leaves)])
        return structure.rebuild(returned[-1], dict(zip(sorted(shapes), values, strict=True)))

    return call


def _evaluate(program: core.Jaxpr, held: Sequence[Any], values: Sequence[Any], rule: Rule) -> list[Any]:
    known: dict[Any, Any] = {
        **dict(zip(program.constvars, held, strict=True)),
        **dict(zip(program.invars, values, strict=True)),
    }

    def read(atom: Any) -> Any:
        return rule.constant(_literal(atom)) if isinstance(atom, core.Literal) else known[atom]

    for equation in program.eqns:
        outputs = _apply(equation, [read(atom) for atom in equation.invars], rule)
        known.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in program.outvars]


def _literal(atom: core.Literal) -> Any:
    dtype = atom.aval.dtype
    return atom.val if jax.dtypes.issubdtype(dtype, jax.dtypes.extended) else np.asarray(atom.val, dtype)


def _apply(equation: Any, inputs: list[Any], rule: Rule) -> list[Any]:
    name = equation.primitive.name
    if name in INLINED:
        inner = next(_programs(equation.params))
        return _evaluate(inner.jaxpr, [rule.constant(value) for value in inner.consts], inputs, rule)
    if name == "reduce_precision" and rule.dtype(equation.invars[0].aval.dtype) != equation.invars[0].aval.dtype:
        return inputs
    if name in BY_BITS:
        narrow = [_as(value, atom.aval) for value, atom in zip(inputs, equation.invars, strict=True)]
        return [_as(value, None, rule) for value in _bind(equation.primitive, narrow, equation.params)]
    changed = {key: _parameter(key, value, rule) for key, value in equation.params.items()}
    return _bind(equation.primitive, inputs, changed)


def _bind(primitive: Any, inputs: list[Any], parameters: Mapping[str, Any]) -> list[Any]:
    rest = primitive.get_bind_params(dict(parameters))
    functions, rest = rest if isinstance(rest, tuple) else ((), rest)  # releases differ in what they give
    found = primitive.bind(*functions, *inputs, **rest)
    return list(found) if primitive.multiple_results else [found]


def _as(value: Any, aval: Any, rule: Rule | None = None) -> Any:
    dtype = rule.dtype(value.dtype) if rule is not None else aval.dtype
    return value if value.dtype == dtype else jax.lax.convert_element_type(value, dtype)


def _programs(parameters: Mapping[str, Any]) -> Iterator[core.ClosedJaxpr]:
    for key in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        value = parameters.get(key)
        if isinstance(value, core.Jaxpr):
            yield core.ClosedJaxpr(value, [])
        elif isinstance(value, core.ClosedJaxpr):
            yield value


def _parameter(key: str, value: Any, rule: Rule) -> Any:
    if isinstance(value, core.ClosedJaxpr):
        return _again(value, rule)
    if isinstance(value, core.Jaxpr):
        made = _again(core.ClosedJaxpr(value, []), rule)
        if made.consts:
            raise NotImplementedError(f"a program inside an operation holds constants ({key})")
        return made.jaxpr
    if isinstance(value, tuple | list):
        inside = [_parameter(key, one, rule) for one in value]
        return type(value)(*inside) if hasattr(value, "_fields") else type(value)(inside)
    if isinstance(value, np.dtype):
        return rule.dtype(value)
    if key == "precision" and rule.dtype(np.dtype(np.float32)) != np.float32:
        return None  # double precision is computed as such; the choices are for narrower types
    return value


def _again(program: core.ClosedJaxpr, rule: Rule) -> core.ClosedJaxpr:
    """A program inside an operation, such as a loop's body, changed in the same way."""
    inputs = [jax.ShapeDtypeStruct(v.aval.shape, rule.dtype(v.aval.dtype)) for v in program.jaxpr.invars]
    held = [rule.constant(value) for value in program.consts]
    made: core.ClosedJaxpr = jax.make_jaxpr(lambda *values: _evaluate(program.jaxpr, held, values, rule))(*inputs)
    return made
