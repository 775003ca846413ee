"""Python code of the user's: which modules are their own, and what functions depend on."""

from __future__ import annotations

import re
import sys
import sysconfig
import types
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

OURS = re.compile(r"navigator(_\w+)?")
"""This project's packages: their versions and sources are in every key."""

DERIVED = {
    "__abstractmethods__",
    "__annotate__",
    "__annotate_func__",
    "__annotations__",
    "__annotations_cache__",
    "__attrs_attrs__",
    "__dataclass_fields__",
    "__dataclass_params__",
    "__dict__",
    "__doc__",
    "__firstlineno__",
    "__module__",
    "__orig_bases__",
    "__parameters__",
    "__slotnames__",
    "__static_attributes__",
    "__weakref__",
    "_abc_impl",
}


def is_local(module: str | None) -> bool:
    """Whether a module is the user's own code: neither built in, nor of Python, nor an installed package."""
    if module is None or OURS.fullmatch(module.partition(".")[0]):
        return False
    found = sys.modules.get(module)
    if module == "__main__" or found is None:
        return True
    file = getattr(found, "__file__", None)
    if file is None:
        return getattr(getattr(found, "__spec__", None), "origin", None) not in ("built-in", "frozen")
    return not _installed(file)


@lru_cache(maxsize=4096)
def _installed(file: str) -> bool:
    path = Path(file).resolve()
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    paths = sysconfig.get_paths()
    return any(path.is_relative_to(Path(paths[kind]).resolve()) for kind in ("stdlib", "platstdlib"))


def version(module: str | None) -> str:
    """The version that an installed package states, in its top module."""
    top = sys.modules.get((module or "").partition(".")[0])
    return str(getattr(top, "__version__", ""))


def sources(module: str) -> Iterator[tuple[str, bytes]]:
    """The files of a local module and of every local module it reaches through its globals, by module name."""
    waiting, seen = [module], set()
    while waiting:
        name = waiting.pop()
        found = sys.modules.get(name)
        if name in seen or found is None or not is_local(name):
            continue
        seen.add(name)
        file = getattr(found, "__file__", None)
        if file and file.endswith(".py") and Path(file).is_file():
            yield name, Path(file).read_bytes()
        waiting.extend(filter(None, map(_home, list(vars(found).values()))))


def _home(value: object) -> str | None:
    """The name of the module that a value is, or comes from."""
    if isinstance(value, types.ModuleType):
        return value.__name__
    try:
        home = getattr(value, "__module__", None)
    except Exception:  # a lazy proxy may raise anything
        return None
    return home if isinstance(home, str) else None


def globals_used(function: types.FunctionType) -> Iterator[tuple[str, object]]:
    """The globals that a function's code names, nested functions included, in order of name."""
    names = {name for code in codes(function.__code__) for name in code.co_names}
    for name in sorted(names & set(function.__globals__)):
        yield name, function.__globals__[name]


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and those nested in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def body(cls: type) -> Iterator[tuple[str, object]]:
    """What a class body defines, in order of name, without what Python and its decorators derive from it."""
    for name, value in sorted(vars(cls).items()):
        if name not in DERIVED:
            yield name, value
