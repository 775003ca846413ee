"""What lives in another environment: references that only its interpreter can resolve, and how its names are spelt."""

from __future__ import annotations

import os
from typing import Any

from attrs import frozen

from navigator_core.declarations import Ref
from navigator_core.errors import PluginError

MARK = "@"


@frozen
class FarRef(Ref):
    """A reference into another environment. Written down as data it is a plain `Ref`: that is read over there."""

    environment: str = ""

    def resolve(self) -> Any:
        """Raises PluginError: nothing of another environment is imported here."""
        raise PluginError(f"{self} can be imported there only")

    def __str__(self) -> str:
        return f"{self.target} of environment {self.environment!r}"


def environment_of(value: Any) -> str | None:
    """The environment where a reference, or what a declaration refers to, is to be found; None for this one."""
    for name in ("implementation", "detect", "signature"):
        value = getattr(value, name, value)
    return value.environment if isinstance(value, FarRef) else None


def spelt(name: str, environment: str | None) -> str:
    """A runner's name, or a conversion's "a->b", with the environment that it is from: "onnxruntime-cpu@old"."""
    return name if environment is None else f"{name}{MARK}{environment}"


def split(name: str) -> tuple[str, str | None]:
    """The inverse of `spelt`."""
    plain, mark, environment = name.partition(MARK)
    return plain, environment if mark else None


def surroundings() -> dict[str, str]:
    """The environment variables for another interpreter: without those that say where this one finds its modules."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
