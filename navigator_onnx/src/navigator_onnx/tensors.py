"""The kind of tensor that ONNX Runtime keeps on a device: OrtValue. Imports onnxruntime only to make one."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = {"float": "float32", "double": "float64"}


def is_tensor(value: Any) -> bool:
    """An OrtValue, told by its type's name."""
    cls = type(value)
    return cls.__name__ == "OrtValue" and cls.__module__.startswith("onnxruntime.")


def to_numpy(value: Any) -> np.ndarray:
    """A copy on the host."""
    array: np.ndarray = value.numpy()
    return array


def from_numpy(array: np.ndarray, device: str, dtype: str) -> Any:
    """The array on ``device``. Raises TypeError for a type that numpy lacks (bfloat16, float8)."""
    import onnxruntime

    if dtype != str(array.dtype):
        raise TypeError(f"an OrtValue cannot be made from a numpy array as {dtype}, only as {array.dtype}")
    kind, _, index = device.partition(":")
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"), kind, int(index or 0))


def to_device(value: Any, device: str) -> Any:
    """The value itself where it is on a device of that kind, else a copy there."""
    return value if value.device_name() == device.partition(":")[0] else from_numpy(value.numpy(), device, dtype(value))


def dtype(value: Any) -> str:
    """ "float32", "int64", "bfloat16"."""
    name: str = value.data_type().removeprefix("tensor(").removesuffix(")")
    return NAMES.get(name, name)
