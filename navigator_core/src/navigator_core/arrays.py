"""Tensors on disk, by name: one ``.npz`` for each call, never a pickle."""

from __future__ import annotations

import json
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
