"""The kind of tensor that ONNX Runtime keeps on a device: OrtValue. Imports onnxruntime only to make one.

ONNX Runtime passes bfloat16 to and from numpy only by address, on the host: such values stay there, and a session on a
GPU copies them itself.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any

import numpy as np

NAMES = {"float": "float32", "double": "float64"}
BFLOAT16 = 16
"""What ONNX calls the element type."""


def is_tensor(value: Any) -> bool:
    """An OrtValue, told by its type's name."""
    cls = type(value)
    return cls.__name__ == "OrtValue" and cls.__module__.startswith("onnxruntime.")


def to_numpy(value: Any) -> np.ndarray:
    """The values on the host; bfloat16 widened to float32, exactly."""
    if dtype(value) == "bfloat16":
        return on_host(value).astype(np.float32)
    return on_host(value)


def on_host(value: Any) -> np.ndarray:
    """The values on the host in their own type, that of ml_dtypes for bfloat16. Nothing there is copied."""
    if dtype(value) != "bfloat16":
        array: np.ndarray = value.numpy()
        return array
    import ml_dtypes

    shape = tuple(value.shape())
    if not math.prod(shape):
        return np.empty(shape, ml_dtypes.bfloat16)
    memory = (ctypes.c_uint16 * math.prod(shape)).from_address(value.data_ptr())
    memory.owner = value  # the array keeps the memory, and this keeps what it belongs to
    return np.frombuffer(memory, ml_dtypes.bfloat16).reshape(shape)


def from_numpy(array: np.ndarray, device: str, dtype: str) -> Any:
    """The array on ``device``; as "bfloat16" rounded, on the host. Raises TypeError for another type than its own."""
    import onnxruntime

    if dtype == "bfloat16":
        import ml_dtypes

        bits = np.asarray(array, ml_dtypes.bfloat16, order="C").view(np.uint16)
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, BFLOAT16)
    if dtype != array.dtype.name:
        raise TypeError(f"an OrtValue cannot be made from a numpy array as {dtype}, only as {array.dtype}")
    kind, _, index = device.partition(":")
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(native(array), order="C"), kind, int(index or 0))


def native(array: np.ndarray) -> np.ndarray:
    """The array in this machine's byte order: of another one ONNX Runtime takes the bytes for other numbers."""
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def to_device(value: Any, device: str) -> Any:
    """The value itself where it is on a device of that kind, or is of bfloat16; else a copy there."""
    if value.device_name() == device.partition(":")[0] or dtype(value) == "bfloat16":
        return value
    return from_numpy(value.numpy(), device, dtype(value))


def dtype(value: Any) -> str:
    """ "float32", "int64", "bfloat16"."""
    name: str = value.data_type().removeprefix("tensor(").removesuffix(")")
    return NAMES.get(name, name)
