"""The machine while a candidate is measured: what kind it is, and how fast it was set to run. Linux."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from navigator_core import processor
from navigator_core.contention import Others
from navigator_core.results import Conditions

_CPUS = Path("/sys/devices/system/cpu")


def read(during: Others, device: Mapping[str, str], cpus: Path = _CPUS, info: Path = processor.INFO) -> Conditions:
    """What can be read right after a measurement. Nothing that is missing is an error: containers hide much of it."""
    cores = sorted(os.sched_getaffinity(0))
    return Conditions(
        cpu=processor.model(info),
        cores=len(cores),
        governor=_governor(cores, cpus),
        megahertz=_megahertz(cores, cpus, info),
        load=os.getloadavg()[0],
        others=during.share,
        stolen=during.stolen,
        device=device,
    )


def _governor(cores: list[int], cpus: Path) -> str | None:
    """Who sets the clocks of these cores; several where they differ."""
    found = {_text(cpus / f"cpu{core}/cpufreq/scaling_governor") for core in cores} - {None}
    return ", ".join(sorted(name for name in found if name)) or None


def _megahertz(cores: list[int], cpus: Path, info: Path) -> float | None:
    """The mean clock of these cores, as they are driven; else as the processor says."""
    driven = [_text(cpus / f"cpu{core}/cpufreq/scaling_cur_freq") for core in cores]
    numbers = [float(text) / 1e3 for text in driven if text]
    if not numbers:
        every = [float(value) for name, value in processor.said(info) if name == "cpu MHz"]
        numbers = [every[core] for core in cores if core < len(every)]
    return round(sum(numbers) / len(numbers), 1) if numbers else None


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except OSError:
        return None
