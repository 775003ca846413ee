"""What this machine's processor can do with int8."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


@cache
def sums_of_int8_overflow() -> bool:
    """Whether int8 products with weights of 8 bits saturate here: on x86 processors that are not known to have VNNI.

    There runtimes add pairs of u8 times s8 products in 16 bits (VPMADDUBSW); weights of 7 bits leave room for that.
    For plugins that quantize: the result must not be wrong on the machine that it is made for.
    """
    if platform.machine().lower() not in ("x86_64", "amd64", "x86", "i686"):
        return False
    try:
        lines = CPUINFO.read_text().splitlines()
    except OSError:
        return True
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    return not any("vnni" in flag for flag in flags)
