"""Files that torch writes, recognised by what is inside. No torch here: a plugin is asked about every path."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

SIGNS = (
    ("aotinductor", ("/data/aotinductor/",)),
    ("exported-program", ("/models/", "/archive_format")),
    ("torchscript", ("/code/", "/constants.pkl")),
)
"""What the names in an archive of each format hold; the first that has all of its signs is it."""


def format_of(path: Any) -> str | None:
    """The format of a file; None for anything else, such as a file of weights alone."""
    if not isinstance(path, str | os.PathLike) or Path(path).suffix not in (".pt2", ".pt", ".pth", ".ts"):
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return None
    found = (name for name, signs in SIGNS if all(any(sign in one for one in names) for sign in signs))
    return next(found, None)
