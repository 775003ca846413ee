"""TensorFlow's tensors, to numpy and back. Imports TensorFlow only when a tensor has to be made."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from navigator_core import type_names

if TYPE_CHECKING:
    import tensorflow as tf

EXTENSION = 2
"""What `numpy.dtype.isbuiltin` says of a type that another package has added."""


def is_tensor(value: Any) -> bool:
    """Tensors, those that stand for them while a function is traced included; a variable is none."""
    return "tensorflow.python.framework.tensor.Tensor" in type_names(value)


def to_numpy(tensor: tf.Tensor) -> np.ndarray:
    """On the host, sharing memory where it can; bfloat16 and float8 are widened to float32, exactly."""
    array = np.asarray(tensor)
    return array.astype(np.float32) if array.dtype.isbuiltin == EXTENSION else array


def from_numpy(array: np.ndarray, device: str, dtype: str) -> tf.Tensor:
    """A tensor of its own on ``device``."""
    return _made(np.array(array, order="C"), device, dtype)


def adopt(array: np.ndarray, device: str, dtype: str) -> tf.Tensor:
    """A tensor on ``device`` of an array that nobody else keeps: in its memory, where TensorFlow can use that."""
    return _made(array, device, dtype)


def _made(array: np.ndarray, device: str, dtype: str) -> tf.Tensor:
    import tensorflow as tf

    wanted = _numpy_type(dtype)
    if array.dtype != wanted or not array.dtype.isnative:
        array = array.astype(wanted)
    with tf.device(_place(device)):
        return tf.convert_to_tensor(array)


def dtype(tensor: tf.Tensor) -> str:
    """ "float32", "bfloat16", "int32"."""
    return str(tensor.dtype.name)


def device(tensor: tf.Tensor) -> str:
    """ "cpu", "cuda:1"."""
    _, _, place = tensor.device.rpartition("device:")
    kind, _, index = place.partition(":")
    return f"cuda:{index}" if kind == "GPU" else "cpu"


def to_device(tensor: tf.Tensor, device: str) -> tf.Tensor:
    """The tensor itself where it is there already."""
    wanted = _place(device)
    if tensor.device.endswith(f"device:{wanted[1:]}"):
        return tensor
    import tensorflow as tf

    with tf.device(wanted):
        return tf.identity(tensor)


@cache
def _place(device: str) -> str:
    from navigator_tf.engine import place

    return place(device)


@cache
def _numpy_type(dtype: str) -> np.dtype[Any]:
    import tensorflow as tf

    found: np.dtype[Any] = np.dtype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    return found
