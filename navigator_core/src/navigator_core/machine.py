"""The machine, asked in workers: its devices, what the probes of plugins say, and what workers there import."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs
from attrs import frozen

from navigator_core import availability, graph, keys, planning, shipping, survey
from navigator_core.declarations import (
    FP32,
    Converter,
    DeviceInfo,
    Exporter,
    Framework,
    Probe,
    Ref,
    Requirement,
    Runner,
)
from navigator_core.evaluation import ProfilerUse
from navigator_core.execution import Done, Job
from navigator_core.graph import Graph
from navigator_core.loading import Source
from navigator_core.plugins import Plugins
from navigator_core.request import PRECISIONS, Request, check_precisions
from navigator_core.session import Session
from navigator_core.subjects import Subject
from navigator_core.survey import Questions, Survey

Declared = Exporter | Converter | Runner


@frozen(kw_only=True)
class Machine:
    """The graph of conversions, the devices that are here, and the one to optimize for."""

    plugins: Plugins
    graph: Graph
    survey: Survey
    device: DeviceInfo

    def preload(self, declared: Declared, source: Source | None = None) -> tuple[str, ...]:
        """The modules that a worker for this declaration imports once.

        The conversions of a plugin share a worker. Runners share one only where they share a module: what the others
        import is none of their memory. Steps on a live ``source`` have workers with the modules of its classes.
        """
        owner = self.plugins.owner(declared)
        theirs = set(shipping.modules(source)) if source is not None else set()
        if owner.name == "core":
            return tuple(sorted(theirs))
        modules = {_module(declared)}
        if not isinstance(declared, Runner):
            conversions: tuple[Declared, ...] = (*self.plugins.exporters, *self.plugins.converters)
            usable = [one for one in conversions if availability.missing(one.requirements) is None]
            modules |= {_module(one) for one in usable if self.plugins.owner(one) == owner}
        sources = {
            value.source.target
            for value in self.plugins.formats.values()
            if isinstance(value, Framework) and self.plugins.owner(value) == owner
        }
        return tuple(sorted(modules | sources | theirs))

    def _declared(self) -> Sequence[Declared]:
        return [*self.plugins.exporters, *self.plugins.converters, *self.plugins.runners.values()]

    def profilers(self) -> tuple[ProfilerUse, ...]:
        """The profilers that work here, on this device."""
        here = survey.kind(self.device.name)
        return tuple(
            ProfilerUse(name=profiler.name, implementation=profiler.implementation)
            for profiler in self.plugins.profilers.values()
            if (not profiler.devices or here in profiler.devices)
            and availability.missing(profiler.requirements) is None
            and planning.probed(profiler.requirements, self.survey) is None
        )

    def epsilons(self) -> dict[str, float]:
        """The unit roundoff of every precision that is known here, by name."""
        declared = {v.precision.name: v.precision.epsilon for d in self._declared() for v in d.variants if v.precision}
        return {**PRECISIONS, **declared}

    def versions(self, declared: Declared) -> dict[str, str]:
        """All that takes part: the plugin's version and source, what it requires, the core's version and Python's."""
        owner = self.plugins.owner(declared)
        requirements = [r for r in declared.requirements if isinstance(r, Requirement)]
        for variant in declared.variants:
            requirements += [r for r in variant.requirements if isinstance(r, Requirement)]
        names = {availability.parse(text).name for r in requirements for text in r.any_of}
        found = {name: version for name in names if (version := availability.installed_version(name))}
        own = {owner.distribution or owner.name: owner.version or "", "source": keys.source_digest(owner.module)}
        return {**keys.base_versions(), **own, **found}


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
    found = ask_machine(Questions(devices=plugins.devices), active)
    device = survey.choose(request.device, found, subject.identified.runner.devices)
    kinds = {survey.kind(device.name), survey.CPU}
    probes = planning.questions_of(plugins, built, kinds)
    if probes:
        found = attrs.evolve(found, obstacles=ask_machine(Questions(probes=probes), active).obstacles)
    active.notes += found.problems
    # planned again when the source is known: what is amiss with the options is to be said before it runs
    planning.make(plugins, built, subject.identified.format, FP32, device.name, request.wishes(), found)
    return Machine(plugins=plugins, graph=built, survey=found, device=device)


def ask_machine(questions: Questions, active: Session) -> Survey:
    """Ask in a worker; if that one does not survive a question, ask each by itself."""
    outcome, _ = active.perform("look at the machine", "prepare", _question(questions), None)
    if isinstance(outcome, Done):
        return outcome.value
    single = [
        *(Questions(devices=(device,)) for device in questions.devices),
        *(Questions(probes=(probe,)) for probe in questions.probes),
    ]
    answers = []
    for one in single:
        outcome, _ = active.perform("look at the machine", "prepare", _question(one), None)
        if isinstance(outcome, Done):
            answers.append(outcome.value)
        else:
            answers.append(_did_not_survive(one.probes, outcome.reason))
    return Survey(
        devices=tuple(device for answer in answers for device in answer.devices),
        obstacles={name: obstacle for answer in answers for name, obstacle in answer.obstacles.items()},
        problems=tuple(problem for answer in answers for problem in answer.problems),
    )


def _did_not_survive(probes: Iterable[Probe], reason: str) -> Survey:
    said = {str(p.check): availability.Unavailable(f"its check {reason}", p.remedy) for p in probes}
    return Survey(obstacles=said, problems=() if said else (f"detecting devices {reason}",))


def _question(questions: Questions) -> Job[Survey]:
    return Job(function=Ref("navigator_core.survey:ask"), argument=questions, result=Survey)


def machine_key(machine: Machine) -> dict[str, str]:
    """What measured times depend on, beside versions."""
    return {"device": f"{machine.device.name} {machine.device.description}"}
