"""A model's way to another process: structure by pickle, the bytes of its arrays out of band."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from navigator_jax.tensors import WIDE

Reduce = Callable[[Any], Any]


def reducers() -> dict[type, Reduce]:
    """How arrays travel: as one `pickle.PickleBuffer` each. Under a loader that maps the buffers nothing is copied.

    They arrive on the default device, and follow the inputs from there. Typed random keys go by their data.
    """
    key = jax.random.key(0)
    return {type(jax.numpy.zeros(())): _reduce_array, type(key): _reduce_key}


def _reduce_array(array: jax.Array) -> Any:
    host = np.ascontiguousarray(np.asarray(array))
    if host.nbytes == 0:
        return _empty, (array.shape, str(array.dtype))
    return _array, (pickle.PickleBuffer(host.reshape(-1).view(np.uint8).data), array.shape, str(array.dtype))


def _array(buffer: Any, shape: tuple[int, ...], dtype: str) -> jax.Array:
    flat = np.frombuffer(buffer, np.uint8).view(jax.numpy.dtype(dtype))
    return _put(flat.reshape(shape), dtype)


def _empty(shape: tuple[int, ...], dtype: str) -> jax.Array:
    return _put(np.empty(shape, jax.numpy.dtype(dtype)), dtype)


def _put(array: np.ndarray, dtype: str) -> jax.Array:
    if dtype in WIDE and not jax.config.jax_enable_x64:
        with jax.enable_x64(True):
            return jax.device_put(array, may_alias=True)
    return jax.device_put(array, may_alias=True)


def _reduce_key(key: Any) -> Any:
    return _key, (jax.random.key_data(key), str(jax.random.key_impl(key)))


def _key(data: jax.Array, implementation: str) -> Any:
    return jax.random.wrap_key_data(data, impl=implementation)
