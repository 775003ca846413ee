"""Tensors on disk, by name: one ``.npz`` for each call, never a pickle."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np


def save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays with their names; names may hold anything."""
    index = np.frombuffer(json.dumps(list(arrays)).encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, names=index, **{f"a{i}": a for i, a in enumerate(arrays.values())})


def load(path: Path | IO[bytes]) -> dict[str, np.ndarray]:
    """The inverse of `save`. Raises OSError or ValueError for a file that is not such."""
    with np.load(path, allow_pickle=False) as stored:
        names = json.loads(stored["names"].tobytes().decode())
        return {name: stored[f"a{i}"] for i, name in enumerate(names)}


def check(path: Path) -> None:
    """Raises ValueError for a file by a stranger that `load` would need more memory for than it is long.

    Each array lies there as it is: plain numbers, not compressed, as many as its header says.
    """
    with zipfile.ZipFile(path) as stored:
        for member in stored.infolist():
            if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
                raise ValueError(f"{member.filename!r} is compressed, which Navigator does not write")
            with stored.open(member) as file:
                expected = _length(file)
            if expected != member.file_size:
                raise ValueError(f"{member.filename!r} has {member.file_size} bytes, its header says {expected}")
        if sum(member.file_size for member in stored.infolist()) > path.stat().st_size:
            raise ValueError("its arrays overlap")


def _length(file: IO[bytes]) -> int:
    """The bytes of an ``.npy`` file as its header tells them. Raises ValueError for other than plain numbers."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"an array of version {version}")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.kind not in "biufc":
        raise ValueError(f"an array of {dtype}, which is no number")
    return int(file.tell() + math.prod(shape) * dtype.itemsize)
