"""What this environment says when another one asks: its plugins' declarations as data, options checked, files known.

Implementations stay references, and classes of options are told field by field: neither could be imported where the
answer is read.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from navigator_core import availability, keys, plugins, serde, validity
from navigator_core.availability import Answered
from navigator_core.declarations import (
    Converter,
    Device,
    Format,
    Framework,
    Knob,
    Precision,
    Probe,
    Ref,
    Requirement,
    Runner,
    Tensors,
)
from navigator_core.plugins import BrokenPlugin, PluginInfo, Plugins

Requirements = tuple[Answered | Probe, ...]


@frozen(kw_only=True)
class OptionsField:
    """One field of a class of options. ``type``, as it is written, tells whether it takes a list."""

    name: str
    alias: str
    type: str
    required: bool


@frozen(kw_only=True)
class OptionsClass:
    """A class of options. ``default`` is what it is without arguments, as data; None where that cannot be."""

    ref: Ref
    fields: tuple[OptionsField, ...]
    default: Any


@frozen(kw_only=True)
class VariantThere:
    """A `Variant`, its options as data."""

    name: str
    options: Any
    precision: Precision | None
    requirements: tuple[Answered | Probe, ...]


@frozen(kw_only=True)
class Built:
    """What converters and runners have in common, and the versions of all that takes part in them."""

    implementation: Ref
    options: OptionsClass | None
    variants: tuple[VariantThere, ...]
    requirements: tuple[Answered | Probe, ...]
    devices: tuple[str, ...]
    versions: Mapping[str, str]


@frozen(kw_only=True)
class ConverterThere:
    """A `Converter`."""

    source: str
    target: str
    built: Built


@frozen(kw_only=True)
class RunnerThere:
    """A `Runner` with those of its formats that are no live models."""

    name: str
    formats: tuple[str, ...]
    tensors: str | None
    knobs: tuple[Knob, ...]
    built: Built


@frozen(kw_only=True)
class ProfilerThere:
    """A `Profiler`."""

    name: str
    unit: str
    implementation: Ref
    tensors: str | None
    memory: str | None
    devices: tuple[str, ...]
    requirements: tuple[Answered | Probe, ...]


@frozen(kw_only=True)
class PluginThere:
    """One plugin with what it declares of use to another environment: nothing of live models."""

    info: PluginInfo
    formats: tuple[Format, ...]
    devices: tuple[Device, ...]
    converters: tuple[ConverterThere, ...]
    runners: tuple[RunnerThere, ...]
    profilers: tuple[ProfilerThere, ...]


@frozen(kw_only=True)
class Declared:
    """All that working plugins declare, and the broken ones. ``tensors`` are for what runs there."""

    python: str
    plugins: tuple[PluginThere, ...]
    tensors: tuple[Tensors, ...]
    broken: tuple[BrokenPlugin, ...]


@frozen(kw_only=True)
class Identity:
    """What a path is, as far as the plugins there know."""

    format: str | None
    notes: tuple[str, ...]


@frozen(kw_only=True)
class Checked:
    """Options as data, or why their class refused the values."""

    value: Any = None
    refused: str | None = None


def main(folder: str) -> None:
    """Answer the question in ``folder``; whatever is raised is an answer."""
    place = Path(folder)
    try:
        question = json.loads((place / "question.json").read_text())
        answer: dict[str, Any] = {"answer": serde.to_data(ANSWERS[question["ask"]](question))}
    except Exception as error:
        answer = {"raised": f"{type(error).__name__}: {error}"}
    temporary = place / "part"
    temporary.write_text(json.dumps(answer))
    temporary.rename(place / "answer.json")


def declarations(question: Mapping[str, Any]) -> Declared:
    """What this environment's own plugins declare; environments that are registered are not its own."""
    found = plugins.discover()
    told: list[PluginThere] = []
    broken = list(found.broken)
    for info in found.loaded:
        try:
            one = _plugin(info, found)
            serde.to_data(one)
        except Exception as error:  # a strange class of options may raise anything
            reason = f"what it declares cannot be told to another environment: {type(error).__name__}: {error}"
            broken.append(BrokenPlugin(info.name, info.distribution, info.version, reason))
        else:
            told.append(one)
    return Declared(
        python=platform.python_version(),
        plugins=tuple(told),
        tensors=tuple(found.tensors.values()),
        broken=tuple(broken),
    )


def check_options(question: Mapping[str, Any]) -> Checked:
    """Options as their own class makes them of values."""
    cls = Ref(question["class"]).resolve()
    values: dict[str, Any] = serde.from_data(question["values"], dict[str, Any])
    try:
        return Checked(value=serde.to_data(serde.from_data(serde.to_data(cls(**values)), cls)))
    except (TypeError, ValueError) as error:
        return Checked(refused=str(error.args[0] if error.args else error))


def identify(question: Mapping[str, Any]) -> Identity:
    """What the plugins say of a path."""
    name, notes = plugins.discover().identify(question["path"])
    return Identity(format=name, notes=notes)


ANSWERS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "declarations": declarations,
    "options": check_options,
    "identify": identify,
}


def _plugin(info: PluginInfo, found: Plugins) -> PluginThere:
    def own(values: Iterable[Any]) -> list[Any]:
        return [value for value in values if found.owner(value) == info]

    live = {name for name, value in found.formats.items() if isinstance(value, Framework)}
    runners = [_runner(one, info, live) for one in own(found.runners.values())]
    return PluginThere(
        info=info,
        formats=tuple(one for one in own(found.formats.values()) if isinstance(one, Format)),
        devices=tuple(own(found.devices)),
        converters=tuple(
            ConverterThere(source=one.source, target=one.target, built=_built(one, info))
            for one in own(found.converters)
        ),
        runners=tuple(one for one in runners if one.formats),
        profilers=tuple(
            ProfilerThere(
                name=one.name,
                unit=one.unit,
                implementation=one.implementation,
                tensors=one.tensors,
                memory=one.memory,
                devices=one.devices,
                requirements=_asked(one.requirements),
            )
            for one in own(found.profilers.values())
        ),
    )


def _runner(one: Runner, info: PluginInfo, live: set[str]) -> RunnerThere:
    formats = tuple(name for name in one.formats if name not in live)
    return RunnerThere(name=one.name, formats=formats, tensors=one.tensors, knobs=one.knobs, built=_built(one, info))


def _built(one: Converter | Runner, info: PluginInfo) -> Built:
    return Built(
        implementation=one.implementation,
        options=None if one.options is None else _options(one.options),
        variants=tuple(
            VariantThere(
                name=variant.name,
                options=None if variant.options is None else serde.to_data(variant.options),
                precision=variant.precision,
                requirements=_asked(variant.requirements),
            )
            for variant in one.variants
        ),
        requirements=_asked(one.requirements),
        devices=one.devices,
        versions=keys.versions(one, info),
    )


def _asked(requirements: Iterable[Requirement | Probe]) -> Requirements:
    return tuple(
        one if isinstance(one, Probe) else Answered(one.any_of, one.remedy, availability.missing((one,)))
        for one in requirements
    )


def _options(cls: type) -> OptionsClass:
    fields = [field for field in attrs.fields(cls) if field.init]
    required = {field.name for field in fields if field.default is attrs.NOTHING}
    return OptionsClass(
        ref=Ref(f"{cls.__module__}:{cls.__qualname__}"),
        fields=tuple(
            OptionsField(
                name=field.name,
                alias=field.alias or field.name,
                type=_written(validity.annotation(cls, field.name) or field.type),
                required=field.name in required,
            )
            for field in fields
        ),
        default=None if required else serde.to_data(cls()),
    )


def _written(annotation: Any) -> str:
    return annotation.__name__ if type(annotation) is type else str(annotation)
