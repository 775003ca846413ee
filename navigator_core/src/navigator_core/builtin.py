"""The core's own plugin: numpy, the CPU, plain callables and the clock, through the same door as every other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from navigator_core import processor
from navigator_core.declarations import (
    Context,
    Device,
    DeviceInfo,
    Framework,
    Profiler,
    Ref,
    Runner,
    Tensors,
    hookimpl,
)
from navigator_core.memory import PeakMemory

PYTHON = "python"


@hookimpl
def declare_formats() -> list[Framework]:
    return [Framework(name=PYTHON, source=Ref("navigator_core.python_callable"), reference=PYTHON, tensors=None)]


@hookimpl
def declare_tensors() -> list[Tensors]:
    return [Tensors(name="numpy", source=Ref("navigator_core.numpy_tensors"))]


@hookimpl
def declare_devices() -> list[Device]:
    return [Device(kind="cpu", detect=Ref("navigator_core.builtin:cpu"))]


@hookimpl
def declare_runners() -> list[Runner]:
    load = Ref("navigator_core.python_callable:load")
    return [Runner(name=PYTHON, formats=(PYTHON,), tensors=None, implementation=load)]


@hookimpl
def declare_profilers() -> list[Profiler]:
    clock, memory = Ref("navigator_core.builtin:wall_clock"), Ref("navigator_core.builtin:process_memory")
    return [  # of no devices: both work whatever the device
        Profiler(name="latency", unit="s", implementation=clock, devices=()),
        Profiler(name="memory", unit="B", implementation=memory, devices=(), memory="host"),
    ]


@hookimpl
def identify_model(model: Any) -> str | None:
    """Anything callable but a class. Asked last, only where no other plugin knows the model (`Plugins.identify`)."""
    return PYTHON if callable(model) and not isinstance(model, type) else None


def cpu(cpuinfo: Path = processor.INFO) -> list[DeviceInfo]:
    """The one device "cpu": its model and number of cores, and the machine's memory in bytes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return [DeviceInfo("cpu", f"{processor.model(cpuinfo)}, {os.cpu_count() or 1} cores", memory)]


def wall_clock(context: Context) -> Callable[[Callable[[], Any]], float]:
    """Measures seconds by a clock that no one sets; the call itself waits for its work to be done."""
    return _seconds


def process_memory(context: Context) -> Callable[[Callable[[], Any]], float]:
    """Measures the most bytes that the process holds, all of them: the core knows what it held when it was empty."""
    return _peak


def _peak(call: Callable[[], Any]) -> float:
    with PeakMemory(0) as memory:
        call()
    return memory.peak


def _seconds(call: Callable[[], Any]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
