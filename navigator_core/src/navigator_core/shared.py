"""Arrays in memory that two processes share: written by one, described in a few words, read by the other.

The memory has no name in the file system (``memfd_create``), so nothing of it can be left behind.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

ALIGNMENT = 64
KINDS = "biufcSUMm"
"""The kinds of numpy's types whose elements lie in the array itself."""


class SharedArrays:
    """One side of the memory behind a file descriptor. One side writes, and tells the other what `write` returned."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._mapped: mmap.mmap | None = None
        self._size = 0

    def write(self, arrays: Mapping[str, np.ndarray]) -> list[Any]:
        """Copy arrays in, over what was there; what to tell the other side, as data. Raises TypeError for objects."""
        told: list[Any] = []
        end = 0
        for name, array in arrays.items():
            if array.dtype.kind not in KINDS:
                raise TypeError(f"{name!r} is an array of {array.dtype}, which cannot be shared between processes")
            end += -end % ALIGNMENT
            told.append([name, array.dtype.str, list(array.shape), end])
            end += array.nbytes
        if end > self._size:
            os.ftruncate(self.descriptor, end)
        for (_, array), view in zip(arrays.items(), self.read(told).values(), strict=True):
            np.copyto(view, array)
        return told

    def read(self, told: list[Any]) -> dict[str, np.ndarray]:
        """Arrays in the shared memory itself: they hold until the next `write`."""
        views: dict[str, np.ndarray] = {}
        for name, dtype, shape, start in told:
            count = int(np.prod(shape, dtype=np.int64))
            kind = np.dtype(dtype)
            if count == 0 or kind.itemsize == 0:
                views[name] = np.empty(shape, kind)
            else:
                memory = self._memory(start + count * kind.itemsize)
                views[name] = np.frombuffer(memory, kind, count, start).reshape(shape)
        return views

    def _memory(self, size: int) -> mmap.mmap:
        """The memory, mapped anew where it has grown; views of the old mapping stay what they are."""
        if self._mapped is None or self._size < size:
            self._size = os.fstat(self.descriptor).st_size
            self._mapped = mmap.mmap(self.descriptor, self._size)
        return self._mapped
