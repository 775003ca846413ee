"""torch tensors, to numpy and back. Imports torch only when a tensor has to be made."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from navigator_core import type_names

if TYPE_CHECKING:
    import torch


def is_tensor(value: Any) -> bool:
    """Tensors, parameters and every other subclass."""
    return "torch.Tensor" in type_names(value)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    """On the host, sharing memory where it can; bfloat16 and float8 are widened to float32, exactly."""
    array: np.ndarray
    try:
        array = tensor.numpy()  # refuses whatever needs more than that
    except (RuntimeError, TypeError):
        array = _resolved(tensor).numpy()
    return array


def _resolved(tensor: torch.Tensor) -> torch.Tensor:
    """What numpy can share memory with."""
    tensor = tensor.detach()
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if str(tensor.layout) != "torch.strided":
        tensor = tensor.to_dense()
    tensor = tensor.cpu().resolve_conj().resolve_neg()
    if dtype(tensor) == "bfloat16" or dtype(tensor).startswith("float8"):
        tensor = tensor.float()
    return tensor


def from_numpy(array: np.ndarray, device: str, dtype: str) -> torch.Tensor:
    """A tensor of its own on ``device``: a model that writes into its inputs does not reach the array."""
    native = array.dtype if array.dtype.isnative else array.dtype.newbyteorder("=")
    return _around(np.array(array, dtype=native, order="C"), device, dtype)  # copies: read-only, strided, any order


def adopt(array: np.ndarray, device: str, dtype: str) -> torch.Tensor:
    """A tensor on ``device`` of an array that nobody else keeps: in its own memory, where torch can write to that."""
    flags = array.flags
    if flags.writeable and flags.c_contiguous and array.dtype.isnative:
        return _around(array, device, dtype)
    return from_numpy(array, device, dtype)


def beside(array: np.ndarray, tensor: torch.Tensor) -> torch.Tensor:
    """`adopt` on the device of another tensor, and of the array's own type: in the fewest steps, for every output."""
    dtype = array.dtype
    if tensor.is_cpu and array.flags.carray and dtype.isnative and dtype.kind != "V":
        import torch

        return torch.from_numpy(array)
    return adopt(array, device(tensor), dtype.name)


def _around(array: np.ndarray, device: str, dtype: str) -> torch.Tensor:
    import torch

    wanted: torch.dtype = getattr(torch, dtype)
    if array.dtype.kind == "V":  # an extension's type, such as ml_dtypes.bfloat16: the same bits
        bits = torch.from_numpy(array.view(f"u{array.dtype.itemsize}"))
        tensor = bits.view(getattr(torch, array.dtype.name))
    else:
        tensor = torch.from_numpy(array)
    return tensor if device == "cpu" and tensor.dtype == wanted else tensor.to(device=device, dtype=wanted)


def dtype(tensor: torch.Tensor) -> str:
    """ "float32", "bfloat16", "int64"."""
    return _name(tensor.dtype)


def device(tensor: torch.Tensor) -> str:
    """ "cpu", "cuda:1"."""
    return "cpu" if tensor.is_cpu else str(tensor.device)


def to_device(tensor: torch.Tensor, device: str) -> torch.Tensor:
    """The tensor itself where it is there already."""
    if device == "cpu" and tensor.is_cpu:  # the most frequent case in the fewest steps
        return tensor
    return tensor if is_on(tensor, device) else tensor.to(device)


def is_on(tensor: torch.Tensor, device: str) -> bool:
    """Whether a tensor is on a device; "cuda" is "cuda:0"."""
    if device == "cpu":  # the quickest way to ask, because it is asked for every tensor of every call
        on_cpu: bool = tensor.is_cpu
        return on_cpu
    kind, index = _place(device)
    where = tensor.device
    return where.type == kind and (where.index or 0) == index


@cache
def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@cache
def _place(device: str) -> tuple[str, int]:
    kind, _, index = device.partition(":")
    return kind, int(index or 0)
