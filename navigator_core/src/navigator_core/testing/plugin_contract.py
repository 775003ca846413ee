"""What every plugin keeps to: declaring imports nothing, references lead somewhere, options survive the journey."""

from __future__ import annotations

import importlib.util
import inspect
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import attrs
import importlib_metadata
from attrs import frozen

from navigator_core import serde
from navigator_core.availability import missing, parse, probes, run_probe
from navigator_core.declarations import Format, Framework, Probe, Ref, Requirement
from navigator_core.plugins import GROUP, Plugins, discover
from navigator_core.testing import isolation
from navigator_core.testing.isolation import Import

_Requirements = tuple[Requirement | Probe, ...]

_SCRIPT = """
import importlib, json, sys
name, sys.path[:], unrelated = json.loads(sys.argv[1])
from navigator_core.plugins import discover
found = discover(extra=[(name, importlib.import_module(name))], entry_points=False)
for value in unrelated:
    found.identify(value)
declared = sorted(sys.modules)
for kind in found.tensors.values():
    kind.source.resolve().is_tensor(3)
print(json.dumps([declared, sorted(sys.modules)]))
"""

_SOURCE = {"parameters": 1, "fingerprint": 1}
_SOURCE_MAY = {"truth": 1, "noise": 1, "state": 1, "pack": 1, "prepare": 2, "reducers": 0, "ship": 2, "receive": 1}
_TENSORS = {"is_tensor": 1, "to_numpy": 1, "from_numpy": 3}
_TENSORS_MAY = {"dtype": 1, "device": 1, "to_device": 2, "adopt": 3, "beside": 2}
_ARITY = {"exporter": 4, "converter": 4, "runner": 3, "profiler": 1, "deployer": 4, "executor": 1}


@frozen
class _Reference:
    """A function that the core calls: how it is reached, with how many arguments, and what must be installed first."""

    where: str
    ref: Ref
    arguments: int
    requirements: _Requirements = ()
    optional: bool = False


class PluginContract:
    """Run by every plugin. ``module`` is what its entry point names; ``forbidden`` what loading that may not import.

    ::

        class TestPlugin(testing.PluginContract):
            module = "navigator_tinyrt.plugin"
            forbidden = ("tinyrt", "numpy")

    The modules of `Tensors` are imported in every process that meets a tensor, so they may not import these either,
    numpy excepted. Of an installed plugin, each implementation is also imported where nothing but the plugin's own
    dependencies and the requirements it declares can be found. ``unrelated`` are values that are no models of this
    plugin.
    """

    module: str
    forbidden: ClassVar[tuple[str, ...]] = ()
    unrelated: ClassVar[tuple[Any, ...]] = (3, None, "text", [1], {"a": 1}, object(), len, int, Path("no/file.unknown"))

    def test_declaring_and_identifying_import_nothing_heavy(self) -> None:
        plain = [value for value in self.unrelated if isinstance(value, int | str | None)]
        told = json.dumps([self.module, sys.path, plain])
        done = subprocess.run([sys.executable, "-c", _SCRIPT, told], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        declared, with_tensors = (_packages(modules) for modules in json.loads(done.stdout))
        _none("loading the plugin imports", declared & set(self.forbidden))
        _none("the modules of its tensors import", (with_tensors & set(self.forbidden)) - {"numpy"})

    def test_the_plugin_is_accepted(self) -> None:
        assert [str(broken) for broken in self.found().broken] == []

    def test_every_reference_has_a_module(self) -> None:
        names = {one.ref.target.partition(":")[0] for one in _references(self.found())}
        _none("there is no module", {name for name in names if importlib.util.find_spec(name) is None})

    def test_every_reference_takes_what_the_core_passes_where_its_requirements_hold(self) -> None:
        wrong = [text for one in _references(self.found()) if _holds(one.requirements) for text in _misfits(one)]
        _none("", wrong)

    def test_every_requirement_is_well_formed_and_has_a_remedy(self) -> None:
        for requirement in _requirements(self.found()):
            if isinstance(requirement, Requirement):
                for text in requirement.any_of:
                    parse(text)  # raises PluginError
            assert requirement.remedy != "", f"{requirement} has an empty remedy; leave it out for 'pip install'"

    def test_what_an_implementation_requires_is_enough_to_import_it(self) -> None:
        asked = [one for one in _implemented(self.found()) if _holds(one.requirements)]
        imports = dict.fromkeys(Import(_module(one), self._not_required(one)) for one in asked)
        for one, refusal in zip(imports, isolation.attempt(list(imports)), strict=True):
            assert refusal is None, (
                f"with what is required and nothing else, {one.module} cannot be imported: {refusal}"
            )

    def test_without_something_required_an_import_says_what_is_missing_if_it_fails(self) -> None:
        cases: dict[Import, set[str]] = {}
        for one in _implemented(self.found()):
            needed = [r for r in one.requirements if isinstance(r, Requirement)]
            absent = [r for r in needed if missing([r]) is not None]
            for requirement in needed:
                hidden = isolation.packages_of(_names_of([requirement]))
                named = {*hidden, *(name.replace("-", "_") for name in _names_of([requirement, *absent]))}
                cases.setdefault(Import(_module(one), hidden), set()).update(named)
        for (one, names), refusal in zip(cases.items(), isolation.attempt(list(cases)), strict=True):
            said = refusal is None or (refusal.expected and any(name in refusal.text for name in names))
            assert said, (
                f"without {' or '.join(sorted(names))}, importing {one.module} must work, or raise an ImportError that "
                f"names it; it raises {refusal}"
            )

    def test_declaring_twice_declares_the_same(self) -> None:
        assert self.found() == self.found()

    def test_options_are_frozen_have_defaults_and_survive_the_journey_to_a_worker(self) -> None:
        for where, cls, given in _options(self.found()):
            assert attrs.has(cls), f"the options of {where}, {cls.__name__}, must be an attrs class"
            assert cls.__setattr__ is not object.__setattr__, f"the options of {where}, {cls.__name__}, must be frozen"
            found = Ref(f"{cls.__module__}:{cls.__qualname__}").resolve()
            assert found is cls, f"the options of {where}, {cls.__name__}, cannot be imported by name"
            for value in (cls(), *given):
                assert isinstance(value, cls), (
                    f"a variant of {where} has the options {value!r}, which are no {cls.__name__}"
                )
                _survives(where, cls, value)

    def test_every_knob_turns_a_field_of_the_options_to_values_that_these_take(self) -> None:
        for runner in self.found().runners.values():
            for knob in runner.knobs:
                where = f"the knob {knob.field!r} of {runner.name}"
                known = () if runner.options is None else [field.name for field in attrs.fields(runner.options)]
                assert knob.field in known, f"{where} is no field of its options"
                assert runner.options is not None
                for value in knob.values:
                    _survives(runner.name, runner.options, _turned(where, runner.options, knob.field, value))

    def test_a_framework_or_source_format_has_its_reference_runner(self) -> None:
        found = self.found()
        for value in found.formats.values():
            if value.reference is not None:
                runner = found.runners.get(value.reference)
                assert runner is not None, f"{value.name} names the runner {value.reference!r}, which it does not bring"
                assert value.name in runner.formats, f"{runner.name} does not run {value.name}, whose reference it is"

    def test_what_is_no_model_of_it_is_not_recognised(self) -> None:
        found = self.found()
        for value in self.unrelated:
            answer, notes = found.identify(value)
            assert answer is None, f"{value!r} is taken for a {answer} model"
            assert notes == (), f"asked about {value!r}: {notes}"

    def found(self) -> Plugins:
        """What the plugin declares."""
        return discover(extra=[(self.module, import_module(self.module))], entry_points=False)

    def _not_required(self, one: Any) -> frozenset[str]:
        """What is to be out of sight: all but the plugin's own dependencies and this declaration's requirements."""
        points = importlib_metadata.entry_points(group=GROUP)
        own = [point.dist.name for point in points if point.value == self.module and point.dist is not None]
        if not own:
            return frozenset()  # not installed: what it depends on is not known
        required = [text for r in one.requirements if isinstance(r, Requirement) for text in r.any_of]
        return isolation.packages_beyond([*own, *required])


def _packages(modules: list[str]) -> set[str]:
    return {name.partition(".")[0] for name in modules}


def _none(what: str, found: set[str] | list[str]) -> None:
    assert not found, f"{what} {', '.join(sorted(found))}".strip()


def _module(one: Any) -> str:
    return str(one.implementation.target.partition(":")[0])


def _names_of(requirements: Iterable[Requirement]) -> list[str]:
    return [parse(text).name for requirement in requirements for text in requirement.any_of]


def _references(found: Plugins) -> Iterator[_Reference]:
    for value in found.formats.values():
        runner = found.runners.get(value.reference or "")
        needs = runner.requirements if runner else ()
        if isinstance(value, Framework):
            yield from _functions(value.name, value.source, _SOURCE, _SOURCE_MAY, needs)
        else:
            yield from _of_format(value, needs)
    for kind in found.tensors.values():
        yield from _functions(f"tensors {kind.name}", kind.source, _TENSORS, _TENSORS_MAY, ())
    for device in found.devices:
        yield _Reference(f"device {device.kind}", device.detect, 0)
    for one in _implemented(found):
        yield _Reference(_where(one), one.implementation, _ARITY[type(one).__name__.lower()], one.requirements)
    for requirement in _requirements(found):
        if isinstance(requirement, Probe):
            yield _Reference("a probe", requirement.check, 0)


def _functions(
    where: str, module: Ref, must: dict[str, int], may: dict[str, int], needs: _Requirements
) -> Iterator[_Reference]:
    for name, arguments in {**must, **may}.items():
        yield _Reference(where, Ref(f"{module.target}:{name}"), arguments, needs, name in may)


def _of_format(value: Format, needs: _Requirements) -> Iterator[_Reference]:
    for ref, arguments in ((value.signature, 1), (value.truth, 2), (value.noise, 2), (value.companions, 1)):
        if ref is not None:
            yield _Reference(value.name, ref, arguments, needs)


def _implemented(found: Plugins) -> list[Any]:
    named = (found.runners, found.profilers, found.deployers, found.executors)
    return [*found.exporters, *found.converters, *(one for values in named for one in values.values())]


def _where(one: Any) -> str:
    return str(getattr(one, "name", "")) or f"{one.source}->{one.target}"


def _requirements(found: Plugins) -> Iterator[Requirement | Probe]:
    for one in _implemented(found):
        yield from one.requirements
        for variant in getattr(one, "variants", ()):
            yield from variant.requirements


def _options(found: Plugins) -> Iterator[tuple[str, type, list[Any]]]:
    """Where, which class, and the values that variants have of it."""
    for one in _implemented(found):
        cls, given = getattr(one, "options", None), [variant.options for variant in getattr(one, "variants", ())]
        if cls is None:
            wrong = [value for value in given if value is not None]
            assert not wrong, f"{_where(one)} has variants with options {wrong}, but declares no options class"
        else:
            yield _where(one), cls, [value for value in given if value is not None]


def _turned(where: str, cls: type, field: str, value: Any) -> Any:
    try:
        return cls(**{field: value})
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{where} is turned to {value!r}, which the options refuse: {error}") from error


def _survives(where: str, cls: type, value: Any) -> None:
    try:
        back: Any = serde.from_data(json.loads(json.dumps(serde.to_data(value))), cls)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"the options {value!r} of {where} cannot be sent to a worker: {error}") from error
    assert back == value, f"the options {value!r} of {where} come back as {back!r}"


def _holds(requirements: _Requirements) -> bool:
    return missing(requirements) is None and all(run_probe(probe) is None for probe in probes(requirements))


def _misfits(one: _Reference) -> Iterator[str]:
    """What is wrong with a function, as a sentence; nothing where its signature cannot be told."""
    if one.optional and not hasattr(import_module(one.ref.target.partition(":")[0]), one.ref.target.partition(":")[2]):
        return
    try:
        function = one.ref.resolve()
    except (ImportError, AttributeError) as error:
        yield f"{one.ref} of {one.where} leads nowhere: {error}"
        return
    try:
        inspect.signature(function).bind(*range(one.arguments))
    except TypeError as error:
        yield f"{one.ref} of {one.where} is called with {one.arguments} arguments: {error}"
    except ValueError:  # some builtins tell no signature
        return
