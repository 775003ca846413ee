"""The machine, asked in workers: its devices, what the probes of plugins say, and what workers there import."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import attrs
from attrs import frozen

from navigator_core import availability, elsewhere, graph, keys, obstacles, planning, shipping, survey
from navigator_core.declarations import (
    FP32,
    Converter,
    Device,
    DeviceInfo,
    Exporter,
    Framework,
    Probe,
    Ref,
    Runner,
)
from navigator_core.errors import NavigatorError
from navigator_core.execution import Done, Failed, Job, Kind, Workers
from navigator_core.graph import Graph
from navigator_core.instruments import ProfilerUse
from navigator_core.loading import Kinds, Source
from navigator_core.planning import Plan
from navigator_core.plugins import Plugins
from navigator_core.request import PRECISIONS, Request, check_precisions
from navigator_core.session import Session
from navigator_core.subjects import Subject
from navigator_core.survey import Questions, Survey

Declared = Exporter | Converter | Runner


@frozen(kw_only=True)
class Machine:
    """The graph of conversions, the devices that are here, and the one to optimize for.

    ``foreseen`` is the plan as far as it can be made before the source has run.
    """

    plugins: Plugins
    graph: Graph
    survey: Survey
    device: DeviceInfo
    foreseen: Plan

    def worker(self, declared: Declared, source: Source | None = None) -> Kind:
        """See `worker_of`."""
        return worker_of(self.plugins, declared, source)

    def _declared(self) -> Sequence[Declared]:
        return [*self.plugins.exporters, *self.plugins.converters, *self.plugins.runners.values()]

    def kinds(self, declared: Declared) -> Kinds:
        """See `kinds_of`."""
        return kinds_of(self.plugins, declared)

    def profilers(self, declared: Runner) -> tuple[ProfilerUse, ...]:
        """The profilers that work where this runner runs, on this device, and with its kind of tensor.

        Another environment measures with its own, and only what is known by the same name here.
        """
        environment = elsewhere.environment_of(declared)
        known = self.plugins if environment is None else self.plugins.environments[environment]
        here = survey.kind(self.device.name)
        return tuple(
            ProfilerUse(name=profiler.name, implementation=profiler.implementation, memory=profiler.memory)
            for profiler in known.profilers.values()
            if profiler.name in self.plugins.profilers
            and (not profiler.devices or here in profiler.devices)
            and profiler.tensors in (None, declared.tensors)
            and availability.missing(profiler.requirements) is None
            and obstacles.probed(profiler.requirements, self.survey) is None
        )

    def clocks(self, declared: Declared) -> Ref | None:
        """What tells how fast the device is set to run, where this declaration runs; None where nothing does."""
        environment = elsewhere.environment_of(declared)
        here = survey.kind(self.device.name)
        known = (one for one in self.plugins.devices if one.kind == here and one.clocks is not None)
        return next((one.clocks for one in known if elsewhere.environment_of(one.detect) == environment), None)

    def epsilons(self) -> dict[str, float]:
        """The unit roundoff of every precision that is known here, by name."""
        declared = {v.precision.name: v.precision.epsilon for d in self._declared() for v in d.variants if v.precision}
        return {**PRECISIONS, **declared}

    def versions(self, declared: Declared) -> dict[str, str]:
        """All that takes part: the plugin's version and source, what it requires, the core's version and Python's.

        What runs in another environment takes part with that one's, and with its interpreter.
        """
        environment = elsewhere.environment_of(declared)
        if environment is not None:
            return self.plugins.environments[environment].versions_of(declared)
        return keys.versions(declared, self.plugins.owner(declared))


def worker_of(plugins: Plugins, declared: Declared, source: Source | None = None) -> Kind:
    """The kind of worker for a declaration: its environment's interpreter, and the modules it imports once.

    The conversions of a plugin share a worker. Runners share one only where they share a module: what the others
    import is none of their memory. Steps on a live ``source`` have workers with the modules of its classes.
    """
    owner = plugins.owner(declared)
    theirs = set(shipping.modules(source)) if source is not None else set()
    if owner.name == "core":
        return Kind(tuple(sorted(theirs)))
    modules = {_module(declared)}
    if not isinstance(declared, Runner):
        conversions: tuple[Declared, ...] = (*plugins.exporters, *plugins.converters)
        usable = [one for one in conversions if availability.missing(one.requirements) is None]
        modules |= {_module(one) for one in usable if plugins.owner(one) == owner}
    sources = {
        value.source.target
        for value in plugins.formats.values()
        if isinstance(value, Framework) and plugins.owner(value) == owner
    }
    return Kind(tuple(sorted(modules | sources | theirs)), plugins.interpreter(declared))


def kinds_of(plugins: Plugins, declared: Declared) -> Kinds:
    """The kinds of tensor where a declaration runs."""
    environment = elsewhere.environment_of(declared)
    known = plugins if environment is None else plugins.environments[environment]
    return Kinds(declared=tuple(known.tensors.values()))


def _module(declared: Declared) -> str:
    return declared.implementation.target.partition(":")[0]


def chart(request: Request, plugins: Plugins) -> Graph:
    """The graph of conversions. Raises RequestError for names in the request that do not exist."""
    built = graph.build(plugins, availability.missing)
    planning.check(request.wishes(), plugins, built)
    survey.check_kind(request.device, (device.kind for device in plugins.devices))
    variants = (v for one in (*plugins.exporters, *plugins.converters, *plugins.runners.values()) for v in one.variants)
    check_precisions(request.precisions, (v.precision.name for v in variants if v.precision))
    return built


def survey_machine(subject: Subject, built: Graph, request: Request, plugins: Plugins, active: Session) -> Machine:
    """Detect devices, ask the probes.

    Raises RequestError for a device that is not here and for options that are refused, NoPathError where no runner can
    be reached.
    """
    found = ask_machine(Questions(devices=plugins.devices), plugins, active)
    device = survey.choose(request.device, found, subject.identified.runner.devices)
    kinds = {survey.kind(device.name), survey.CPU}
    probes = obstacles.questions_of(plugins, built, kinds)
    if probes:
        found = attrs.evolve(found, obstacles=ask_machine(Questions(probes=probes), plugins, active).obstacles)
    active.notes += found.problems
    # planned again when the source is known: what is amiss with the options is to be said before it runs
    plan = planning.make(plugins, built, subject.identified.format, FP32, device.name, request.wishes(), found)
    return Machine(plugins=plugins, graph=built, survey=found, device=device, foreseen=plan)


def ask_machine(questions: Questions, plugins: Plugins, active: Session) -> Survey:
    """Ask in a worker of each environment; if that one does not survive a question, ask each by itself."""
    asked = {elsewhere.environment_of(one.detect) for one in questions.devices}
    asked |= {elsewhere.environment_of(one.check) for one in questions.probes}
    return _together(_ask_there(name, questions, plugins, active) for name in sorted(asked, key=lambda n: n or ""))


def _ask_there(environment: str | None, everything: Questions, plugins: Plugins, active: Session) -> Survey:
    questions = Questions(
        devices=tuple(one for one in everything.devices if elsewhere.environment_of(one.detect) == environment),
        probes=tuple(one for one in everything.probes if elsewhere.environment_of(one.check) == environment),
    )
    interpreter = None if environment is None else plugins.environments[environment].python
    outcome, _ = active.perform("look at the machine", "prepare", _question(questions, interpreter), None)
    if isinstance(outcome, Done):
        return _in_our_words(outcome.value, questions)
    single = [
        *(Questions(devices=(device,)) for device in questions.devices),
        *(Questions(probes=(probe,)) for probe in questions.probes),
    ]
    answers = []
    for one in single:
        outcome, _ = active.perform("look at the machine", "prepare", _question(one, interpreter), None)
        if isinstance(outcome, Done):
            answers.append(_in_our_words(outcome.value, one))
        else:
            answers.append(_did_not_survive(one.probes, outcome.reason))
    return _together(answers)


def detect(device: Device, interpreter: str) -> tuple[DeviceInfo, ...]:
    """The devices of one kind that another environment finds. Raises NavigatorError where it cannot tell."""
    with tempfile.TemporaryDirectory(prefix="navigator-devices-") as name, Workers() as workers:
        outcome = workers.run(_question(Questions(devices=(device,)), interpreter), Path(name), Path(name))
    if isinstance(outcome, Failed) or outcome.value.problems:
        raise NavigatorError(outcome.reason if isinstance(outcome, Failed) else outcome.value.problems[0])
    return outcome.value.devices


def _in_our_words(answer: Survey, questions: Questions) -> Survey:
    """What a worker says of a probe by its reference, by that as it is here: with the environment."""
    obstacles = {
        str(probe.check): answer.obstacles[probe.check.target]
        for probe in questions.probes
        if probe.check.target in answer.obstacles
    }
    return attrs.evolve(answer, obstacles=obstacles)


def _together(answers: Iterable[Survey]) -> Survey:
    """Several answers as one: of a device that two environments see, the first's word."""
    devices: dict[str, DeviceInfo] = {}
    obstacles: dict[str, availability.Unavailable] = {}
    problems: list[str] = []
    for answer in answers:
        devices = {**{device.name: device for device in answer.devices}, **devices}
        obstacles.update(answer.obstacles)
        problems += answer.problems
    return Survey(
        devices=tuple(devices[name] for name in sorted(devices)), obstacles=obstacles, problems=tuple(problems)
    )


def _did_not_survive(probes: Iterable[Probe], reason: str) -> Survey:
    said = {str(p.check): availability.Unavailable(f"its check {reason}", p.remedy) for p in probes}
    return Survey(obstacles=said, problems=() if said else (f"detecting devices {reason}",))


def _question(questions: Questions, interpreter: str | None) -> Job[Survey]:
    ask = Ref("navigator_core.survey:ask")
    return Job(function=ask, argument=questions, result=Survey, interpreter=interpreter)


def machine_key(machine: Machine) -> dict[str, str]:
    """What measured times depend on, beside versions."""
    return {"device": f"{machine.device.name} {machine.device.description}"}
