"""The log of a step: what it printed, of bounded size, with its beginning and its end."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

HEAD = 2**20
TAIL = 2**20
LEFT_OUT = "\n[… {size} bytes left out here …]\n"


class BoundedLog(io.RawIOBase):
    """A file that takes any amount: its first mebibyte is kept, of the rest always the last one at least.

    What is kept is on the disk at once, so that nothing of it is lost with the process. What cannot be written is
    dropped: no step fails for its log.
    """

    def __init__(self, path: Path, *, head: int = HEAD, tail: int = TAIL) -> None:
        super().__init__()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._head, self._tail = head, tail
        self._size = os.fstat(self._file).st_size
        self._left_out = 0
        self._marker = 0

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: Any) -> int:
        """Append."""
        taken = bytes(data)
        try:
            self._size += os.write(self._file, taken[-2 * (self._head + self._tail) :])
            if self._size > self._head + 2 * self._tail:
                self._cut()
        except OSError:
            pass
        return len(taken)

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._file)
        super().close()

    def _cut(self) -> None:
        """Leave out what is between head and tail, what was left out before included."""
        end = os.pread(self._file, self._tail, self._size - self._tail)
        self._left_out += self._size - self._head - len(end) - self._marker
        marker = LEFT_OUT.format(size=self._left_out).encode()
        os.ftruncate(self._file, self._head)
        os.write(self._file, marker + end)
        self._marker, self._size = len(marker), self._head + len(marker) + len(end)
