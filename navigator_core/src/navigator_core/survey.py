"""What only the machine can answer, asked in a worker: its devices, and the probes of plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import field, frozen

from navigator_core import availability
from navigator_core.availability import Unavailable
from navigator_core.declarations import Device, DeviceInfo, Probe
from navigator_core.errors import RequestError, unknown
from navigator_core.worker import Emit

CPU = "cpu"
ACCELERATOR = ("gpu", "accelerator")
"""What people call any of them."""


@frozen(kw_only=True)
class Questions:
    """What the worker is told."""

    devices: tuple[Device, ...] = ()
    probes: tuple[Probe, ...] = ()


@frozen(kw_only=True)
class Survey:
    """``devices`` in order of name; ``obstacles`` by the probe's reference; ``problems`` of detections that raised."""

    devices: tuple[DeviceInfo, ...] = ()
    obstacles: Mapping[str, Unavailable] = field(factory=dict)
    problems: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """The devices' names."""
        return [device.name for device in self.devices]


def ask(questions: Questions, folder: Path, emit: Emit) -> Survey:
    """Detect every device kind and run every probe; one that raises is an answer."""
    found: dict[str, DeviceInfo] = {}
    problems: list[str] = []
    for device in questions.devices:
        try:
            for info in device.detect.resolve()():
                found.setdefault(info.name, info)
        except Exception as error:
            problems.append(f"detecting {device.kind} devices failed: {type(error).__name__}: {error}")
    answers = {str(probe.check): availability.run_probe(probe) for probe in questions.probes}
    return Survey(
        devices=tuple(found[name] for name in sorted(found)),
        obstacles={name: answer for name, answer in answers.items() if answer is not None},
        problems=tuple(problems),
    )


def kind(device: str) -> str:
    """The kind of a device: "cuda" of "cuda:1"."""
    return device.partition(":")[0]


def check_kind(wanted: str, declared: Iterable[str]) -> None:
    """Raises RequestError for a device kind that no plugin declares; for "gpu" it names the accelerators."""
    kinds = {CPU, *declared}
    if wanted != "auto" and kind(wanted) not in kinds:
        meant = kinds - {CPU} if kind(wanted).lower() in ACCELERATOR else ()
        raise unknown("device", wanted, {*kinds, "auto"}, meant)


def choose(wanted: str, survey: Survey, runs_on: Iterable[str]) -> DeviceInfo:
    """The device to optimize for. "auto" is the first accelerator that the source itself can run on, else the CPU.

    Raises RequestError for a device that is not there.
    """
    if wanted == "auto":
        fits = set(runs_on) - {CPU}
        usable = [device for device in survey.devices if kind(device.name) in fits]
        return usable[0] if usable else _named(CPU, survey)
    return _named(wanted, survey)


def _named(wanted: str, survey: Survey) -> DeviceInfo:
    for device in survey.devices:
        if device.name == wanted or (":" not in wanted and kind(device.name) == wanted):
            return device
    there = ", ".join(survey.names()) or "none"
    raise RequestError(f"no device {wanted!r} was found here; there is {there}" + _problems(survey))


def _problems(survey: Survey) -> str:
    return f" ({'; '.join(survey.problems)})" if survey.problems else ""
