"""What a finished step left in the workspace."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

from navigator_core.declarations import Format
from navigator_core.signature import Names


@frozen(kw_only=True)
class Artifact:
    """A finished step: the folder of its files, the file that names it, and what it calls the signature's tensors."""

    step: str
    format: Format
    folder: Path
    names: Names
    size: int
    precision: str

    @property
    def file(self) -> Path:
        """What implementations are given."""
        return self.folder / self.format.file
