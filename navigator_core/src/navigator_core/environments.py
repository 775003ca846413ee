"""Other virtual environments as sources of declarations: what plugins there bring, as if it were declared here.

What comes from one bears its name: the runner ``onnxruntime-cpu@old``, the conversion ``onnx->onnx@old[slim]``. A
format of the same name is the same node of the graph. Live models stay where they are: of frameworks and exporters
nothing is taken over.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import attrs
from attrs import field, frozen

from navigator_core import asking, plugins, registry, serde
from navigator_core.answering import (
    Built,
    Checked,
    Declared,
    Identity,
    OptionsClass,
    PluginThere,
    VariantThere,
)
from navigator_core.asking import NoAnswerError
from navigator_core.availability import Answered, Unavailable
from navigator_core.declarations import (
    Converter,
    Device,
    Exporter,
    Format,
    Probe,
    Profiler,
    Ref,
    Requirement,
    Runner,
    Variant,
)
from navigator_core.declarations import Tensors as Kind
from navigator_core.elsewhere import FarRef, spelt
from navigator_core.errors import RequestError
from navigator_core.plugins import Hook, PluginInfo, Plugins

UNSAID = object()
"""The value of an option that only its own class knows the default of."""


@frozen(kw_only=True)
class Environment:
    """One that answered: its interpreter and that one's version, and what steps need that run there."""

    name: str
    python: str
    version: str
    tensors: Mapping[str, Kind] = field(factory=dict)
    profilers: Mapping[str, Profiler] = field(factory=dict)
    _versions: Mapping[int, Mapping[str, str]] = field(factory=dict, eq=False, repr=False)

    def versions_of(self, declared: Exporter | Converter | Runner) -> dict[str, str]:
        """All that takes part in what is declared there, named so that it stands beside what takes part here."""
        found = {**self._versions[id(declared)], "interpreter": self.python}
        return {spelt(name, self.name): version for name, version in found.items()}


@frozen(kw_only=True)
class LostEnvironment:
    """A registered one that cannot take part: it is set aside, with what helps."""

    name: str
    python: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"environment {self.name!r} is set aside: {self.reason}; {self.remedy}"


def add(name: str, python: str | os.PathLike[str]) -> Environment:
    """Ask an interpreter at once, and register it under a name, in the place of another of that name.

    ``python`` is the interpreter's path, or the folder of a virtual environment. Raises RequestError for what is no
    interpreter, has no navigator-core or one of another version, or does not answer.
    """
    registry.check_name(name)
    path = _interpreter(python)
    try:
        found = _declared(path)
    except NoAnswerError as error:
        raise RequestError(str(error)) from error
    registry.put(name, path)
    plugins.installed.cache_clear()
    return Environment(name=name, python=path, version=found.python)


def remove(name: str) -> None:
    """Forget one; the environment itself stays as it is. Raises RequestError for a name that is not registered."""
    registry.drop(name)
    plugins.installed.cache_clear()


def joined(found: Plugins) -> Plugins:
    """What is declared here together with what every registered environment declares.

    It never raises for an environment: one that does not answer is in ``lost``.
    """
    try:
        registered = registry.read()
    except RequestError as error:
        lost = LostEnvironment(name="*", python="", reason=str(error), remedy="mend the file, or remove it")
        return attrs.evolve(found, lost=(lost,))
    with ThreadPoolExecutor(max(1, len(registered))) as pool:
        answers = list(pool.map(_answer, registered.values()))
    for (name, python), answer in zip(registered.items(), answers, strict=True):
        if isinstance(answer, NoAnswerError):
            lost = LostEnvironment(name=name, python=python, reason=answer.reason, remedy=answer.remedy)
            found = attrs.evolve(found, lost=(*found.lost, lost))
        else:
            found = _with(found, name, python, answer)
    return found


def _interpreter(python: str | os.PathLike[str]) -> str:
    """An absolute path, links in it as they are: a virtual environment is told by where its link lies."""
    given = os.fspath(python)
    path = Path((shutil.which(given) if os.sep not in given else None) or given).expanduser().absolute()
    if path.is_dir():
        path /= "bin/python"
    if not path.exists():
        raise RequestError(f"there is no interpreter {path}; name one, or the folder of a virtual environment")
    return str(path)


def _declared(python: str) -> Declared:
    answer = asking.ask(python, {"ask": "declarations"})
    try:
        return serde.from_data(answer, Declared)
    except ValueError as error:
        raise NoAnswerError(f"{python} answers in another form: {error}", "install the same navigator-core") from error


def _answer(python: str) -> Declared | NoAnswerError:
    try:
        return _declared(python)
    except NoAnswerError as error:
        return error


def _with(found: Plugins, name: str, python: str, there: Declared) -> Plugins:
    """The plugins with those of one environment."""
    owners: dict[int, PluginInfo] = {}
    versions: dict[int, Mapping[str, str]] = {}
    formats: dict[str, Format] = {}
    devices: list[Device] = []
    converters: list[Converter] = []
    runners: dict[str, Runner] = {}
    detected = {device.kind for device in found.devices}
    brought = [one for one in there.plugins if one.info.module != plugins.CORE]
    infos = {one.info.name: attrs.evolve(one.info, environment=name) for one in brought}
    for one in brought:
        own: list[Any] = [_format(value, name) for value in one.formats if value.name not in found.formats]
        formats.update((value.name, value) for value in own)
        unseen = [device for device in one.devices if device.kind not in detected]
        seen_there = [_device(device, name) for device in unseen]
        devices += seen_there
        for declared, built in _implemented(one, name, python):
            versions[id(declared)] = built.versions
            own.append(declared)
            if isinstance(declared, Runner):
                runners[declared.name] = declared
            else:
                converters.append(declared)
        owners.update((id(value), infos[one.info.name]) for value in (*own, *seen_there))
    environment = Environment(
        name=name,
        python=python,
        version=there.python,
        tensors={kind.name: kind for kind in there.tensors},
        profilers={value.name: value for one in there.plugins for value in _profilers(one, name)},
        versions=versions,
    )
    return found.extended(
        [_asks(name, python)],
        owners,
        formats=dict(sorted({**found.formats, **formats}.items())),
        devices=(*found.devices, *devices),
        converters=(*found.converters, *converters),
        runners=dict(sorted({**found.runners, **runners}.items())),
        loaded=(*found.loaded, *infos.values()),
        broken=(*found.broken, *(attrs.evolve(one, environment=name) for one in there.broken)),
        environments={**found.environments, name: environment},
    )


def _asks(name: str, python: str) -> Hook:
    """A hook that asks an environment what a path is."""
    offered = ("model", "sample")
    info = PluginInfo("core", None, None, plugins.CORE, environment=name)
    return Hook(info, "identify_model", partial(_identify, python), offered, ("model",))


def _identify(python: str, model: Any) -> str | None:
    path = Path(os.fspath(model)).expanduser().absolute()
    return serde.from_data(asking.ask(python, {"ask": "identify", "path": str(path)}), Identity).format


def _far(ref: Ref, environment: str) -> FarRef:
    return FarRef(ref.target, environment)


def _device(value: Device, name: str) -> Device:
    clocks = None if value.clocks is None else _far(value.clocks, name)
    return attrs.evolve(value, detect=_far(value.detect, name), clocks=clocks)


def _format(value: Format, name: str) -> Format:
    return attrs.evolve(
        value,
        reference=value.reference and spelt(value.reference, name),
        signature=value.signature and _far(value.signature, name),
        truth=value.truth and _far(value.truth, name),
        noise=value.noise and _far(value.noise, name),
        companions=value.companions and _far(value.companions, name),
    )


def _implemented(one: PluginThere, name: str, python: str) -> Iterator[tuple[Converter | Runner, Built]]:
    for conversion in one.converters:
        built = _build(conversion.built, name, python)
        yield Converter(source=conversion.source, target=conversion.target, **built), conversion.built
    for runner in one.runners:
        built = _build(runner.built, name, python)
        title = spelt(runner.name, name)
        declared = Runner(name=title, formats=runner.formats, tensors=runner.tensors, knobs=runner.knobs, **built)
        yield declared, runner.built


def _build(built: Built, name: str, python: str) -> dict[str, Any]:
    options = None if built.options is None else _stand_in(built.options, built.variants, python)
    return {
        "implementation": _far(built.implementation, name),
        "options": options,
        "variants": tuple(
            Variant(
                name=one.name,
                options=None if one.options is None or options is None else serde.from_data(one.options, options),
                precision=one.precision,
                requirements=_requirements(one.requirements, name, python),
            )
            for one in built.variants
        ),
        "requirements": _requirements(built.requirements, name, python),
        "devices": built.devices,
    }


def _profilers(one: PluginThere, name: str) -> Iterator[Profiler]:
    for value in one.profilers:
        yield Profiler(
            name=value.name,
            unit=value.unit,
            implementation=value.implementation,
            tensors=value.tensors,
            memory=value.memory,
            devices=value.devices,
            requirements=_requirements(value.requirements, name, ""),
        )


def _requirements(values: Iterable[Answered | Probe], name: str, python: str) -> tuple[Requirement | Probe, ...]:
    """With remedies that say where they are to be applied."""
    where = f"in environment {name!r}: "
    found: list[Requirement | Probe] = []
    for one in values:
        if isinstance(one, Probe):
            found.append(Probe(_far(one.check, name), where + one.remedy))
        elif one.lacking is None:
            found.append(one)
        else:
            remedy = one.lacking.remedy
            remedy = f"{python} -m {remedy}" if remedy.startswith("pip ") else where + remedy
            found.append(
                attrs.evolve(one, lacking=Unavailable(f"{one.lacking.reason} in environment {name!r}", remedy))
            )
    return tuple(found)


def _stand_in(cls: OptionsClass, variants: Iterable[VariantThere], python: str) -> type:
    """A class of the same fields in the place of one that cannot be imported here.

    Its values are what the original makes of them, asked in its environment, and it refuses what that one refuses.
    """
    module, _, name = cls.ref.target.partition(":")
    known = {_text(one.options): one.options for one in variants if one.options is not None}
    if cls.default is not None:
        known[_text(cls.default)] = cls.default
    names = {one.name: one.alias for one in cls.fields}

    def check(self: Any) -> None:
        said = {one: serde.to_data(getattr(self, one)) for one in names if getattr(self, one) is not UNSAID}
        text = _text(said)
        if text not in known:
            made_of = _checked(python, cls.ref.target, {names[one]: value for one, value in said.items()})
            known[text] = known[_text(made_of)] = made_of
        for one in names:
            object.__setattr__(self, one, serde.from_data(known[text][one], Any))

    made = attrs.make_class(
        name.rpartition(".")[2],
        {
            one.name: attrs.field(
                alias=one.alias, type=Any, metadata={"type": one.type}, kw_only=True, **_default(cls, one.name)
            )
            for one in cls.fields
        }
        | {"__attrs_post_init__": check},
        frozen=True,
        slots=False,
    )
    made.__module__, made.__qualname__ = module, name
    return made


def _default(cls: OptionsClass, name: str) -> dict[str, Any]:
    required = next(one.required for one in cls.fields if one.name == name)
    if cls.default is None:
        return {} if required else {"default": UNSAID}
    return {"default": serde.from_data(cls.default[name], Any)}


def _checked(python: str, name: str, values: Mapping[str, Any]) -> Any:
    """The options as data. Raises ValueError as their class does."""
    try:
        answer = asking.ask(python, {"ask": "options", "class": name, "values": dict(values)})
    except NoAnswerError as error:
        raise ValueError(f"its environment cannot be asked: {error}") from error
    found = serde.from_data(answer, Checked)
    if found.refused is not None:
        raise ValueError(found.refused)
    return found.value


def _text(data: Any) -> str:
    return json.dumps(data, sort_keys=True)
