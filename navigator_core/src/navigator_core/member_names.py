"""Names of the files in an archive: each is one file below the folder, and the same one on every system."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from navigator_core.refusal import require

LONGEST_NAME = 1024
LONGEST_PART = 255
"""Characters, and bytes in UTF-8: what file systems take."""

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])[ .]*(\..*)?", re.IGNORECASE)
_WINDOWS = set('<>:"|?*')


def check_names(names: Iterable[str]) -> None:
    """No name leads out of a folder, and all can be in one folder, whatever its file system. Raises RefusedError."""
    seen: dict[str, str] = {}
    for name in names:
        check_name(name)
        key = _folded(name)
        require(key not in seen, f"the names {name!r} and {seen.get(key)!r} are the same where case does not matter")
        seen[key] = name
    for key, name in seen.items():
        require(not any(above in seen for above in _folders(key)), f"the name {name!r} lies inside of another file")


def check_name(name: str) -> None:
    """A plain relative path, even once Unicode's compatible forms are one, and no device. Raises RefusedError."""
    require(len(name) <= LONGEST_NAME, f"the name {name[:40]!r}... has {len(name)} characters")
    for form in (name, unicodedata.normalize("NFKC", name)):
        safe = form.isprintable() and "\\" not in form and not re.match("[A-Za-z]:", form)
        require(safe and not {"", ".", ".."} & set(form.split("/")), f"the name {name!r} is not a plain relative path")
        for part in form.split("/"):
            _check_part(part, name)


def _check_part(part: str, name: str) -> None:
    require(
        len(part.encode(errors="replace")) <= LONGEST_PART, f"the name {name[:40]!r}... has a part that is too long"
    )
    require(not _RESERVED.fullmatch(part), f"the name {name!r} is a device of Windows")
    portable = not part.endswith((".", " ")) and not part.startswith(" ") and not _WINDOWS & set(part)
    require(portable, f"the name {name!r} would be another one on Windows")


def _folders(name: str) -> Iterator[str]:
    cut = name.rfind("/")
    while cut > 0:
        yield name[:cut]
        cut = name.rfind("/", 0, cut)


def _folded(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
