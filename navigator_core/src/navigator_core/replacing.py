"""A file that takes another's place: whole or not at all, and for good once it is there."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write to what is given; it becomes ``path`` at the end of the block, and nothing does if that raises.

    It lies beside ``path`` until then, where a process that is killed leaves it: what dead ones left is removed first.
    Raises OSError.
    """
    _remove_left(path)
    file, temporary = _beside(path)
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        _sync(path.parent)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _beside(path: Path) -> tuple[IO[bytes], Path]:
    """A new file, locked as long as it is open: so is every one that somebody still writes."""
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        file = temporary.open("xb")
        with suppress(OSError):  # a file system without locks: there nothing is ever taken for left behind
            fcntl.flock(file, fcntl.LOCK_EX)
        if temporary.exists():  # else somebody took it for left behind before it was locked
            return file, temporary
        file.close()


def _remove_left(path: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.tmp")
    beside: list[Path] = []
    with suppress(OSError):  # a folder that may be written and not listed
        beside = list(path.parent.iterdir())
    for one in beside:
        if pattern.fullmatch(one.name) is None or one.is_symlink() or not one.is_file():
            continue
        with suppress(OSError), one.open("rb") as file:  # locked, gone meanwhile or another user's: not ours to remove
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            one.unlink()


def _sync(folder: Path) -> None:
    with suppress(OSError):  # some file systems do not let a folder be synced; the name is there all the same
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
