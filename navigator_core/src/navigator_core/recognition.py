"""The user's gate recognised in a later run: its code, what it closes over, and the files that it names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePath
from typing import Any

from navigator_core import tensors
from navigator_core.declarations import Framework
from navigator_core.errors import RequestError
from navigator_core.fingerprint import Hasher
from navigator_core.gates import Metric
from navigator_core.objects import UnknownError
from navigator_core.plugins import Plugins

READERS = frozenset(
    [
        "environ",
        "fromfile",
        "genfromtxt",
        "getenv",
        "imread",
        "load",
        "loadtxt",
        "memmap",
        "open",
        "read_bytes",
        "read_csv",
        "read_text",
        "urlopen",
    ]
)
"""Names in code that reads something which may change."""


def fingerprint(verify: Any, plugins: Plugins) -> str:
    """SHA-256 of a verify function or metric. Raises UnknownError, which says what cannot be told of it.

    A file is covered by its content where its name is written in the code or held by what the code uses. Code that
    reads something by a name that cannot be seen is not told.
    """
    files: list[str] = []

    def met(hasher: Hasher, text: str | PurePath) -> None:
        path = Path(text)
        try:
            if path.is_file():
                with path.open("rb") as file:
                    hasher.say("file", hashlib.file_digest(file, "sha256").hexdigest())
                files.append(str(text))
            elif path.is_dir() and (isinstance(text, PurePath) or os.sep in text.strip(os.sep)):
                raise UnknownError(f"it names the folder {text}, whose files may change")
        except (OSError, ValueError):  # no path that could exist
            return

    def special(hasher: Hasher, value: Any) -> bool:
        kind = tensors.kind_of(value)
        if kind is not None:
            hasher.say("tensor", kind.name, tensors.dtype_of(value))
            hasher.add(tensors.to_numpy(value))
            return True
        told = _model(value, plugins)
        if told is not None:
            hasher.say("model", told)
        return told is not None

    hasher = Hasher(special=special, met=met)
    try:
        metric = isinstance(verify, Metric)
        hasher.add((verify.name, verify.function, verify.minimum, verify.max_drop) if metric else verify)
    except RecursionError:
        raise UnknownError("it holds structures that are too deep") from None
    reads = sorted(hasher.names & READERS)
    if reads and not files:
        raise UnknownError(f"it may read something that can change ({', '.join(reads)}) by a name not written in it")
    return hasher.digest()


def _model(value: Any, plugins: Plugins) -> str | None:
    """The fingerprint of a live model; None for what no framework knows."""
    if isinstance(value, type) or not hasattr(value, "__dict__") or hasattr(value, "__code__"):
        return None
    try:
        name, _ = plugins.identify(value)
    except RequestError:
        return None
    declared = plugins.formats.get(name or "")
    if not isinstance(declared, Framework) or declared.name == "python":
        return None
    found = declared.source.resolve().fingerprint(value)
    if found is None:
        raise UnknownError(f"it holds a {declared.name} model that cannot be told")
    return str(found)
