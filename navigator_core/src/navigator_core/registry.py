"""The environments that this user has registered: names and interpreters, in one small file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from navigator_core.errors import RequestError, unknown

SCHEMA = 1

_NAME = re.compile(r"[A-Za-z0-9][\w-]{0,63}", re.ASCII)


def file() -> Path:
    """Where they are written down: ``navigator/environments.json`` in the user's configuration directory."""
    # platformdirs says the same, and importing it costs every process more than this look does
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")  # noqa: PTH111  (no home: no error)
    return Path(home) / "navigator" / "environments.json"


def present() -> bool:
    """Whether there is anything to read."""
    return os.path.exists(file())  # noqa: PTH110  (a folder that may not be entered is no error)


def read() -> dict[str, str]:
    """Interpreters by the environment's name. Raises RequestError for a file that is not as `put` writes it."""
    path = file()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read: {error}") from error
    import json

    try:
        found = json.loads(text)
    except ValueError as error:
        raise RequestError(f"{path} is damaged: {error}") from error
    environments = found.get("environments") if isinstance(found, dict) else None
    if not isinstance(environments, dict) or found.get("schema") != SCHEMA:
        raise RequestError(f"{path} is not of the form that this version writes (schema {SCHEMA})")
    for name, python in environments.items():
        if not _NAME.fullmatch(name) or not isinstance(python, str) or not Path(python).is_absolute():
            raise RequestError(f"{path} holds {name!r} with {python!r}, where a name and an absolute path are due")
    return dict(environments)


def put(name: str, python: str) -> None:
    """Write one down, in the place of another of the same name."""
    _change(lambda known: {**known, name: python})


def drop(name: str) -> None:
    """Forget one. Raises RequestError for a name that is not there."""

    def without(known: Mapping[str, str]) -> dict[str, str]:
        if name not in known:
            raise unknown("environment", name, known)
        return {other: python for other, python in known.items() if other != name}

    _change(without)


def check_name(name: str) -> None:
    """Raises RequestError for what could not stand in a candidate's name or an option's key."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise RequestError(
            f"{name!r} cannot name an environment: letters, digits, _ and -, 64 at most, beginning with no sign"
        )


def _change(change: Callable[[Mapping[str, str]], dict[str, str]]) -> None:
    import json
    import secrets

    from filelock import FileLock

    path = file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f"{path.name}.lock")):
            changed = change(read())
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
            temporary.write_text(json.dumps({"schema": SCHEMA, "environments": changed}, indent=2) + "\n")
            temporary.replace(path)
    except OSError as error:
        raise RequestError(f"{path} cannot be written: {error}") from error
