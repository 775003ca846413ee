"""OpenVINO as the rest of this plugin uses it: imported without its telemetry, one core for the whole process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

_TELEMETRY = "openvino_telemetry"
_WHERE = ("Exception from ", "Check '", "[ ", "Model wasn't fully converted")


@contextmanager
def no_telemetry() -> Iterator[None]:
    """What is imported meanwhile finds no `openvino_telemetry`, and does without.

    It would send an event, and write into the home folder, whenever a worker starts.
    """
    modules: dict[str, Any] = sys.modules
    if _TELEMETRY in modules:  # somebody else imported it, and knows
        yield
        return
    modules[_TELEMETRY] = None
    try:
        yield
    finally:
        del modules[_TELEMETRY]


with no_telemetry():
    import openvino

__all__ = ["CPU", "core", "no_telemetry", "openvino", "said"]

CPU = "CPU"
"""OpenVINO's name of the device."""


@cache
def core() -> openvino.Core:
    """The process's own: it holds the plugins of devices."""
    return openvino.Core()


def said(error: BaseException) -> str:
    """What OpenVINO says, in one line, without the places in its source that said it."""
    lines = [line.strip().removeprefix("-- ") for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(_WHERE) and not line.endswith(":")]
    return (" ".join(telling[:2]) or " ".join(lines) or type(error).__name__)[:300]
