"""The kind of tensor that is always there: numpy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_tensor(value: Any) -> bool:
    """Arrays and numpy's own scalars."""
    return isinstance(value, np.ndarray | np.generic)


def to_numpy(value: Any) -> np.ndarray:
    """The array itself, in this machine's byte order; an extension's type (bfloat16, float8) widened to float32."""
    array = np.asarray(value)
    if array.dtype.kind == "V":
        return array.astype(np.float32)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def from_numpy(array: np.ndarray, device: str, dtype: str) -> np.ndarray:
    """The array itself: numpy lives on the host, whatever the device."""
    return array


def beside(array: np.ndarray, tensor: Any) -> np.ndarray:
    """The array itself, wherever the other one is."""
    return array


def dtype(value: Any) -> str:
    """ "float32", "int64", of either byte order."""
    return np.asarray(value).dtype.name
