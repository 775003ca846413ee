"""Importing a module in a fresh process where some distributions cannot be imported, though they are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import importlib_metadata
from attrs import frozen
from packaging.utils import canonicalize_name

from navigator_core.availability import parse

_SCRIPT = """
import importlib, json, sys
module, sys.path[:], hidden = json.loads(sys.argv[1])

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in hidden else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
answer = None
try:
    importlib.import_module(module)
except BaseException as error:
    answer = [isinstance(error, ImportError), type(error).__name__, f"{getattr(error, 'name', '')} {error}"]
print("\\n" + json.dumps(answer))
"""


@frozen
class Import:
    """A module to be imported, and the packages that are not to be found meanwhile."""

    module: str
    hidden: frozenset[str]


@frozen
class Refusal:
    """How an import failed. ``expected``: with an ImportError, which says what is missing."""

    expected: bool
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text.strip()}"


def attempt(imports: Sequence[Import]) -> list[Refusal | None]:
    """Try each in a process of its own, as many at a time as there are cores; None for what can be imported."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_attempt, imports))


def _attempt(one: Import) -> Refusal | None:
    told = json.dumps([one.module, sys.path, sorted(one.hidden)])
    done = subprocess.run([sys.executable, "-c", _SCRIPT, told], capture_output=True, text=True, timeout=600)
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        return Refusal(False, f"exit code {done.returncode}", done.stderr[-500:])
    return None if answer is None else Refusal(*answer)


def packages_of(distributions: Iterable[str]) -> frozenset[str]:
    """What can be imported from these and from no other installed distribution."""
    names = {canonicalize_name(name) for name in distributions}
    return frozenset(package for package, owners in _owners().items() if owners <= names)


def packages_beyond(requirements: Iterable[str]) -> frozenset[str]:
    """What can be imported here from distributions that installing these would not bring."""
    brought = _closure(requirements)
    return frozenset(package for package, owners in _owners().items() if not owners & brought)


@cache
def _owners() -> dict[str, set[str]]:
    found = importlib_metadata.packages_distributions()
    ours = {package: {str(canonicalize_name(name)) for name in names} for package, names in found.items()}
    return {package: names for package, names in ours.items() if package not in sys.stdlib_module_names}


def _closure(requirements: Iterable[str]) -> set[str]:
    """The distributions that these bring, with what they need in turn."""
    waiting = list(requirements)
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = parse(waiting.pop())
        one = str(canonicalize_name(wanted.name)), frozenset(wanted.extras)
        if one in seen:
            continue
        seen.add(one)
        try:
            needs = importlib_metadata.requires(wanted.name) or []
        except importlib_metadata.PackageNotFoundError:
            continue
        for text in needs:
            marker = parse(text).marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                waiting.append(text)
    return {name for name, _ in seen}
