"""What this machine's processor is, and what it can do with int8. Linux tells."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

INFO = Path("/proc/cpuinfo")
X86 = frozenset({"x86_64", "amd64", "x86", "i686"})


def said(info: Path = INFO) -> list[tuple[str, str]]:
    """Names and values as the kernel lists them, each core's after the other's; nothing where it does not."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    pairs = (line.partition(":") for line in lines)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def model(info: Path = INFO) -> str:
    """x86 names its model; arm64 only numbers it, and there the architecture goes first."""
    facts = dict(said(info))
    if facts.get("model name"):
        return facts["model name"]
    numbers = [f"{key} {facts[key]}" for key in ("CPU implementer", "CPU part") if facts.get(key)]
    return " ".join([platform.machine(), *numbers])


def instructions() -> frozenset[str]:
    """The extensions that this processor lists, such as "avx2" or "asimdhp"; none where it does not tell."""
    facts = dict(said(INFO))
    return frozenset((facts.get("flags") or facts.get("Features") or "").split())


@cache
def sums_of_int8_overflow() -> bool:
    """Whether int8 products with weights of 8 bits saturate here: on x86 processors that are not known to have VNNI.

    There runtimes add pairs of u8 times s8 products in 16 bits (VPMADDUBSW); weights of 7 bits leave room for that.
    For plugins that quantize: the result must not be wrong on the machine that it is made for.
    """
    if platform.machine().lower() not in X86:
        return False
    return not any("vnni" in name for name in instructions())
