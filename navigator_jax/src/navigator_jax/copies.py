"""A model in higher precision, and with its weights nudged; the model itself stays."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from attrs import evolve

from navigator_core.errors import NavigatorError
from navigator_jax.models import Ready, prepare
from navigator_jax.rewriting import Rule, rewritten

SEED = 20260101
_BITS = {8: np.int64, 4: np.int32, 2: np.int16}


def truth(model: Any) -> Ready:
    """The model's own program in float64: traced as it is, then every floating type in it widened.

    So casts to float32 inside of it, and constants that it makes, are double as well. Calling it raises NavigatorError
    for a model that decides by looking at values, which cannot be traced, and for one in double precision already.
    """
    ready = prepare(model)
    if ready.settings.x64:
        raise NavigatorError("jax_enable_x64 is set, so that the model may be in double precision; there is no higher")
    return _changed(ready, Rule(_widened, _wide), np.dtype(np.float32), x64=True)


def noise(model: Any) -> Ready:
    """The model with every floating weight moved by one unit in the last place, up or down by a seeded coin.

    Weights are the arrays that its traced program holds. Zeros, infinities and NaN stay.
    """
    ready = prepare(model)
    return _changed(ready, Rule(_nudged, lambda dtype: dtype), None, x64=ready.settings.x64)


def _changed(ready: Ready, rule: Rule, floats: np.dtype[Any] | None, *, x64: bool) -> Ready:
    """``floats``: the type that the program is traced for in place of float64."""

    def traced(value: Any) -> jax.ShapeDtypeStruct:
        narrow = floats is not None and value.dtype == np.float64
        return jax.ShapeDtypeStruct(value.shape, floats if narrow else value.dtype)

    run = rewritten(ready.pure, ready.settings, traced, rule)

    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return run(*args, **kwargs)
        except (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError) as error:
            raise NavigatorError("the model looks at values while it runs, so JAX cannot trace it") from error
        except Exception as error:  # of an operation that has no other types
            first = next(iter(str(error).strip().splitlines()), "")[:200]
            raise NavigatorError(f"its program cannot be evaluated anew: {type(error).__name__}: {first}") from error

    return Ready(call, call, evolve(ready.settings, x64=x64))


def _wide(dtype: Any) -> Any:
    if jax.dtypes.issubdtype(dtype, np.floating):
        return np.dtype(np.float64)
    return np.dtype(np.complex128) if jax.dtypes.issubdtype(dtype, np.complexfloating) else dtype


def _widened(value: Any) -> Any:
    wide = _wide(value.dtype)
    if wide == value.dtype:
        return value
    return (
        value.astype(wide) if isinstance(value, np.ndarray | np.generic) else jax.lax.convert_element_type(value, wide)
    )


def _nudged(value: Any) -> Any:
    """Arrays of one axis at least: a lone number is a constant of the program more often than a weight."""
    floating = jax.dtypes.issubdtype(value.dtype, np.floating)
    if not floating or value.ndim == 0 or value.dtype.itemsize not in _BITS:
        return value
    array = np.ascontiguousarray(np.asarray(value))
    bits = array.view(_BITS[array.dtype.itemsize])
    up = np.random.default_rng(SEED).integers(0, 2, array.shape, dtype=bool)
    # the bits of a float count up with its magnitude, in every IEEE format alike
    moved = np.where(up, bits + 1, bits - 1).astype(bits.dtype).view(array.dtype)
    with np.errstate(invalid="ignore"):  # what infinity has become is no number
        wide, steps = array.astype(np.float64), moved.astype(np.float64)
    return np.where(np.isfinite(wide) & (wide != 0) & np.isfinite(steps), moved, array)
