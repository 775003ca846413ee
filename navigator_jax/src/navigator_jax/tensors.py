"""JAX's arrays, to numpy and back. Imports JAX only when an array has to be made."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import jax

EXTENSION = 2
"""What `numpy.dtype.isbuiltin` says of a type that another package has added."""
WIDE = frozenset({"int64", "uint64", "float64", "complex128"})
"""What JAX makes and computes only where ``jax_enable_x64`` is set."""


def is_tensor(value: Any) -> bool:
    """Arrays, those that stand for them while a function is traced included; a typed random key is none."""
    found = sys.modules.get("jax")  # where it is not imported, nobody has an array of it
    array = getattr(found, "Array", None)
    return array is not None and isinstance(value, array) and not str(value.dtype).startswith("key<")


def to_numpy(tensor: jax.Array) -> np.ndarray:
    """On the host, sharing memory where it can; bfloat16, float8 and int4 are widened to float32, exactly."""
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.isbuiltin == EXTENSION else array


def from_numpy(array: np.ndarray, device: str, dtype: str) -> jax.Array:
    """An array of its own on ``device``."""
    return _made(np.array(array, order="C"), device, dtype)


def adopt(array: np.ndarray, device: str, dtype: str) -> jax.Array:
    """An array on ``device`` of one that nobody else keeps: in its memory, where that is aligned as XLA wants it."""
    return _made(array, device, dtype)


def _made(array: np.ndarray, device: str, dtype: str) -> jax.Array:
    import jax

    wanted = _numpy_type(dtype)
    if array.dtype != wanted or not array.dtype.isnative:
        array = array.astype(wanted)
    where = place(device)
    if dtype not in WIDE or jax.config.jax_enable_x64:
        return jax.device_put(array, where, may_alias=True)
    with jax.enable_x64(True):
        return jax.device_put(array, where, may_alias=True)


def dtype(tensor: jax.Array) -> str:
    """ "float32", "bfloat16", "int32"."""
    return str(tensor.dtype)


def device(tensor: jax.Array) -> str:
    """ "cpu", "cuda:1"; the first of several."""
    where = min(tensor.devices(), key=lambda one: int(one.id))
    return "cpu" if where.platform == "cpu" else f"{_kind(where.platform)}:{where.id}"


def to_device(tensor: jax.Array, device: str) -> jax.Array:
    """The array itself where it is there already."""
    where = place(device)
    if tensor.devices() == {where}:
        return tensor
    import jax

    return jax.device_put(tensor, where)


@cache
def place(device: str) -> Any:
    """JAX's own device of that name; "cuda" is "cuda:0"."""
    import jax

    kind, _, index = device.partition(":")
    return jax.devices(kind)[int(index or 0)]


@cache
def _numpy_type(dtype: str) -> np.dtype[Any]:
    from jax import numpy

    found: np.dtype[Any] = np.dtype(getattr(numpy, "bool_" if dtype == "bool" else dtype))
    return found


def _kind(platform: str) -> str:
    return "cuda" if platform == "gpu" else platform
