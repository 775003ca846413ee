"""What will be tried: every path to every format as a trie of steps, every runner on each end of it.

What cannot be taken is planned too, with the reason: a branch is never silently missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
from attrs import define, field, frozen

from navigator_core import graph as graphs
from navigator_core import options as wishes
from navigator_core import serde
from navigator_core.availability import Unavailable, missing, probes
from navigator_core.declarations import Precision, Probe, Profiler, Ref, Requirement, Runner, Variant
from navigator_core.elsewhere import environment_of, spelt
from navigator_core.errors import NoPathError, unknown
from navigator_core.graph import Conversion, Graph
from navigator_core.loading import RunnerUse
from navigator_core.options import Choice, Options
from navigator_core.plugins import Plugins
from navigator_core.survey import CPU, Survey, kind
from navigator_core.tensors import NUMPY


@frozen(kw_only=True)
class Step:
    """One export or conversion. ``name`` is the whole path to it; ``parent`` the name of the step before, or None."""

    name: str
    parent: str | None
    conversion: Conversion
    choice: Choice
    precision: Precision
    device: str


@frozen(kw_only=True)
class Branch:
    """One candidate to be: an artifact (``step``; None: the source itself) and a runner.

    ``runner`` is None where the path already ends at an obstacle; ``unavailable`` then says which.
    ``comparison``: not asked for, and tried because speed-ups are relative to it.
    """

    name: str
    step: str | None
    format: str
    runner: Runner | None
    choice: Choice
    precision: Precision
    device: str
    unavailable: Unavailable | None = None
    comparison: bool = False


@frozen(kw_only=True)
class Plan:
    """Steps in an order in which each comes after its parent, and the branches that end them.

    ``notes`` say what was asked for and changes nothing.
    """

    steps: tuple[Step, ...]
    branches: tuple[Branch, ...]
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Wishes:
    """What the user asked of the plan. None: all."""

    targets: tuple[str, ...] | None = None
    runners: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    options: Options = attrs.Factory(dict)
    limit: int = 4


def check(wishes_: Wishes, plugins: Plugins, graph: Graph) -> None:
    """Raises RequestError for a format, runner or option key that does not exist, with the closest that do."""
    for name in wishes_.targets or ():
        if name not in graph.formats:
            raise unknown("format in targets", name, graph.formats)
    for name in wishes_.runners or ():
        if name not in plugins.runners:
            raise unknown("runner", name, plugins.runners)
    if wishes_.options:
        wishes.check_keys(wishes_.options, _accepted(plugins, graph))


def _accepted(plugins: Plugins, graph: Graph) -> dict[str, set[str]]:
    """The keys that options may have, and the fields that each may have."""
    accepted: dict[str, set[str]] = {name: set() for name in graph.formats}
    for c in graph.conversions:
        fields = wishes.fields_of(c.declaration.options)
        accepted[c.target] |= fields
        accepted.setdefault(c.edge, set()).update(fields)
    accepted |= {f"@{runner.name}": set(wishes.fields_of(runner.options)) for runner in plugins.runners.values()}
    return accepted


def make(
    plugins: Plugins, graph: Graph, source: str, precision: Precision, device: str, asked: Wishes, survey: Survey
) -> Plan:
    """The plan for a model of format ``source`` whose own arithmetic is ``precision``.

    Raises NoPathError where a target cannot be reached by any conversion, listing every edge that would have helped.
    """
    ways = _Ways(asked, device, survey)
    twins = _twins(graph, ways)
    graph = graphs.Graph(graph.formats, tuple(c for c in graph.conversions if id(c) not in twins), graph.runners)
    offers = _Offers(plugins, asked, device, survey)
    steps: list[Step] = []
    branches: list[Branch] = []
    ends: dict[tuple[int, ...], list[tuple[str | None, Precision]]] = {}  # by identity: an equal path is the same one
    for path in graphs.paths(graph, source, asked.limit, _wanted(asked, plugins)):
        here = tuple(map(id, path))
        ends[here] = []
        if not path:
            ends[here].append((None, precision))
            branches += offers.on(source, None, source, precision)
            continue
        last, way = path[-1], ways.of(path[-1])
        for parent, before in ends[here[:-1]]:
            if _says_nothing(last.variant, last.declaration.variants, before):
                continue
            after = _coarser(before, last.variant)
            if not offers.may_win(after, precision):
                continue
            for choice in way.choices:
                name = _step_name(parent or source, last, choice)
                if way.obstacle is not None:
                    branches.append(_dead_end(name, last, choice, after, device, way.obstacle))
                    continue
                steps.append(
                    Step(name=name, parent=parent, conversion=last, choice=choice, precision=after, device=way.device)
                )
                ends[here].append((name, after))
                branches += offers.on(last.target, name, name, after)
    _require_paths(branches, asked, graph, source)
    branches = [branch for branch in branches if offers.may_win(branch.precision, precision)]
    branches += _beside(branches, offers, source, precision)
    needed = _needed(steps, branches)
    notes = (
        *_left_out(twins.values(), {step.conversion.source for step in steps} | {source}),
        *_idle(asked.options, needed, branches),
    )
    return Plan(steps=needed, branches=tuple(branches), notes=notes)


def _twins(graph: Graph, ways: _Ways) -> dict[int, Conversion]:
    """Conversions of other environments that can be had here just so, and that no option names; by their identity.

    They multiply the branches and differ in the tool's version at most.
    """
    elsewhere = {id(c): c for c in graph.conversions if c.environment is not None and c.edge not in ways.asked.options}
    wanted = {_just(c) for c in elsewhere.values()}
    here = {
        _just(c)
        for c in graph.conversions
        if c.environment is None and _just(c) in wanted and _obstacle(c, ways.device, ways.survey) is None
    }
    return {identity: c for identity, c in elsewhere.items() if _just(c) in here}


def _just(c: Conversion) -> tuple[str, str, str]:
    """What a conversion does, whatever the environment."""
    return c.source, c.target, c.variant.name if c.variant else ""


def _left_out(twins: Iterable[Conversion], sources: Collection[str]) -> tuple[str, ...]:
    """A note for each environment whose conversions could have been taken."""
    edges: dict[str, dict[str, None]] = {}
    for c in twins:
        if c.source in sources:
            edges.setdefault(c.environment or "", {})[c.edge] = None
    return tuple(
        f"what this environment converts as well was not converted in {name!r} again; to try both, name the conversion "
        f"in options=: {', '.join(map(repr, found))}"
        for name, found in edges.items()
    )


def _idle(options: Options, steps: Iterable[Step], branches: Iterable[Branch]) -> Iterator[str]:
    """Options that nothing in the plan takes."""
    taken = {f"@{branch.runner.name}" for branch in branches if branch.runner}
    for step in steps:
        taken |= {step.conversion.target, step.conversion.edge}
    obstructed = {branch.format for branch in branches if branch.runner is None}
    for key in options:
        if key not in taken and key.rpartition("->")[2] not in obstructed:
            yield f"options[{key!r}] changes nothing: no candidate of this run takes that way"


def _wanted(asked: Wishes, plugins: Plugins) -> Iterable[str] | None:
    """The formats to reach: those asked for, else those that the runners asked for execute; None: all."""
    if asked.targets is not None or asked.runners is None:
        return asked.targets
    return {name for runner in asked.runners for name in plugins.runners[runner].formats}


def _beside(branches: list[Branch], offers: _Offers, source: str, precision: Precision) -> list[Branch]:
    """The source's own branch where it was not asked for: without it there is nothing to compare with."""
    declared = offers.plugins.formats.get(source)
    runner = offers.plugins.runners.get(declared.reference or "") if declared else None
    baseline = baseline_name(source, runner) if runner else None
    if any(branch.name == baseline for branch in branches):
        return []
    everything = attrs.evolve(offers.asked, runners=None, targets=None)
    own = _Offers(offers.plugins, everything, offers.device, offers.survey).on(source, None, source, precision)
    return [attrs.evolve(b, comparison=True) for b in own if b.name == baseline and b.unavailable is None]


@frozen
class _Way:
    """What is the same wherever a path takes this conversion."""

    choices: tuple[Choice, ...]
    device: str
    obstacle: Unavailable | None


@define
class _Ways:
    """Each conversion looked at once, though thousands of paths may take it."""

    asked: Wishes
    device: str
    survey: Survey
    _known: dict[int, _Way] = field(init=False, factory=dict)

    def of(self, conversion: Conversion) -> _Way:
        found = self._known.get(id(conversion))
        if found is None:
            found = self._known[id(conversion)] = _Way(
                choices=tuple(_choices(conversion, self.asked.options, self.survey)),
                device=self.device if kind(self.device) in conversion.declaration.devices else CPU,
                obstacle=_obstacle(conversion, self.device, self.survey),
            )
        return found


@frozen
class _Offer:
    """One runner, in one variant with one choice of options, wherever a path ends in its format."""

    runner: Runner
    label: str
    variant: Variant | None
    choice: Choice
    obstacle: Unavailable | None


@define
class _Offers:
    """What runs each format, looked up once for each, though thousands of paths may end in it."""

    plugins: Plugins
    asked: Wishes
    device: str
    survey: Survey
    _runners: dict[str, list[Runner]] = field(init=False)
    _known: dict[str, tuple[_Offer, ...]] = field(init=False, factory=dict)

    @_runners.default
    def _by_format(self) -> dict[str, list[Runner]]:
        return graphs.runners_by_format(self.plugins)

    def may_win(self, precision: Precision, source: Precision) -> bool:
        """Whether it is worth trying: what is coarser than the source and was not named could never be chosen."""
        named = self.asked.precisions
        return named is None or precision.name in named or precision.epsilon <= source.epsilon

    def on(self, format_name: str, step: str | None, path: str, before: Precision) -> Iterator[Branch]:
        """A branch for every variant of every runner that takes the format and is asked for."""
        if format_name not in self._known:
            self._known[format_name] = tuple(self._made(format_name))
        for offer in self._known[format_name]:
            if _says_nothing(offer.variant, offer.runner.variants, before):
                continue
            yield Branch(
                name=f"{path} @ {offer.label}",
                step=step,
                format=format_name,
                runner=offer.runner,
                choice=offer.choice,
                precision=_coarser(before, offer.variant),
                device=self.device,
                unavailable=offer.obstacle,
            )

    def _made(self, format_name: str) -> Iterator[_Offer]:
        asked = self.asked
        for runner in self._runners.get(format_name, ()):
            wanted = (asked.runners is None or runner.name in asked.runners) and (
                asked.targets is None or format_name in asked.targets
            )
            for variant in runner.variants or (None,):
                requirements = (*runner.requirements, *(variant.requirements if variant else ()))
                obstacle = _misplaced(runner.devices, self.device, self.survey) or (
                    missing(requirements) or probed(requirements, self.survey)
                )
                whole = attrs.evolve(runner, requirements=requirements)
                default = variant.options if variant else None
                # what is not wanted is looked at all the same: its options may be wrong
                made = wishes.choices(asked.options, (f"@{runner.name}",), runner.options, default)
                for choice in _not_of_others(made, variant, runner.variants, self.survey):
                    inside = ",".join(filter(None, (variant.name if variant else "", choice.label)))
                    if wanted:
                        label = runner.name + (f"[{inside}]" if inside else "")
                        yield _Offer(whole, label, variant, choice, obstacle)


def _step_name(parent: str, conversion: Conversion, choice: Choice) -> str:
    inside = ",".join(filter(None, (conversion.variant.name if conversion.variant else "", choice.label)))
    return f"{parent}->{spelt(conversion.target, conversion.environment)}" + (f"[{inside}]" if inside else "")


def _choices(conversion: Conversion, options: Options, survey: Survey) -> Iterator[Choice]:
    edge = conversion.edge
    default = conversion.variant.options if conversion.variant else None
    mine = wishes.fields_of(conversion.declaration.options)
    # what is said of a format or an edge is for the conversions there that have such a field; `check` knows the rest
    said = {
        key: {name: value for name, value in options.get(key, {}).items() if name in mine}
        for key in (conversion.target, edge)
    }
    made = wishes.choices(said, (conversion.target, edge), conversion.declaration.options, default)
    yield from _not_of_others(made, conversion.variant, conversion.declaration.variants, survey)


def _not_of_others(
    made: Iterable[Choice], variant: Variant | None, variants: tuple[Variant, ...], survey: Survey
) -> Iterator[Choice]:
    """Without what another variant, one that can be had here, does anyway: ``options=`` may lead to what it is."""
    default, precision = (variant.options, variant.precision) if variant else (None, None)
    others = [
        v.options
        for v in variants
        if v is not variant
        and v.precision == precision
        and not (missing(v.requirements) or probed(v.requirements, survey))
    ]
    return (c for c in made if c.value == default or default in others or c.value not in others)


def _says_nothing(variant: Variant | None, variants: tuple[Variant, ...], before: Precision) -> bool:
    """Whether a variant is there for a precision no coarser than what comes in, and another keeps just that."""
    if variant is None or variant.precision is None or variant.precision.epsilon > before.epsilon:
        return False
    return any(other.precision is None for other in variants)


def _coarser(before: Precision, variant: Variant | None) -> Precision:
    """What a variant leaves of a precision: what was rounded away does not come back."""
    promised = (variant.precision if variant else None) or before
    return promised if promised.epsilon >= before.epsilon else before


def _dead_end(
    name: str, conversion: Conversion, choice: Choice, precision: Precision, device: str, obstacle: Unavailable
) -> Branch:
    return Branch(
        name=name,
        step=None,
        format=conversion.target,
        runner=None,
        choice=choice,
        precision=precision,
        device=device,
        unavailable=obstacle,
    )


def _obstacle(conversion: Conversion, device: str, survey: Survey) -> Unavailable | None:
    variant = conversion.variant.requirements if conversion.variant else ()
    requirements = (*conversion.declaration.requirements, *variant)
    devices = conversion.declaration.devices
    here = CPU in devices or not devices  # what runs on the CPU converts for every device
    return (
        (None if here else _misplaced(devices, device, survey))  # first: nothing that is installed helps
        or conversion.unavailable
        or probed(requirements, survey)
    )


def _misplaced(devices: tuple[str, ...], device: str, survey: Survey) -> Unavailable | None:
    """What is for other devices than the run's."""
    if not devices or kind(device) in devices:
        return None
    wanted = " or ".join(devices)
    here = [found.name for found in survey.devices if kind(found.name) in devices]
    if not here:
        return Unavailable(
            f"needs a {wanted} device, and none was found here", f"run it where there is a {wanted} device"
        )
    return Unavailable(f"runs on {wanted}, and this run is for {device}", f"device={here[0]!r}")


def probed(requirements: Iterable[Requirement | Probe], survey: Survey) -> Unavailable | None:
    """The first obstacle that a probe found."""
    checks = [str(r.check) for r in requirements if isinstance(r, Probe)]
    return next((survey.obstacles[check] for check in checks if check in survey.obstacles), None)


def _require_paths(branches: list[Branch], asked: Wishes, graph: Graph, source: str) -> None:
    restricted = asked.targets is not None or asked.runners is not None
    if any(b.unavailable is None for b in branches) or (branches and not restricted):
        return
    wanted = ", ".join(asked.targets or ()) or "any format"
    wanted += f" with runners={list(asked.runners)}" if asked.runners else ""
    edges = "\n".join(
        f"  {c.name}" + (f": {c.unavailable}" if c.unavailable else "")
        for c in graph.conversions
        if c.source == source or c.target in (asked.targets or ())
    )
    blocked = "\n".join(f"  {b.name}: {b.unavailable}" for b in branches if b.unavailable)
    if blocked:
        raise NoPathError(f"nothing on the way from {source!r} to {wanted} can run here:\n{blocked}")
    raise NoPathError(
        f"no runner can be reached from {source!r} on the way to {wanted}"
        + (f"; the conversions there are:\n{edges}" if edges else "; no installed plugin declares a conversion")
    )


def _needed(steps: list[Step], branches: list[Branch]) -> tuple[Step, ...]:
    """The steps that some available branch needs, with their parents."""
    by_name = {step.name: step for step in steps}
    needed: set[str] = set()
    for branch in branches:
        name = branch.step if branch.unavailable is None else None
        while name is not None and name not in needed:
            needed.add(name)
            name = by_name[name].parent
    return tuple(step for step in steps if step.name in needed)


def questions_of(plugins: Plugins, graph: Graph, device_kinds: Mapping[str, int] | Iterable[str]) -> tuple[Probe, ...]:
    """The probes whose other requirements hold, of conversions and runners for these device kinds."""
    kinds = set(device_kinds)
    found: dict[str, Probe] = {}
    for c in graph.conversions:
        asked = probes(c.declaration.requirements) + (probes(c.variant.requirements) if c.variant else ())
        if asked and c.unavailable is None and not kinds.isdisjoint(c.declaration.devices or kinds):
            found.update({str(probe.check): probe for probe in asked})
    others: list[Runner | Profiler] = [*plugins.runners.values(), *plugins.profilers.values()]
    others += [profiler for one in plugins.environments.values() for profiler in one.profilers.values()]
    for one in (one for one in others if not kinds.isdisjoint(one.devices or kinds)):
        for variant in getattr(one, "variants", None) or (None,):
            requirements = (*one.requirements, *(variant.requirements if variant else ()))
            asked = probes(requirements)
            if asked and missing(requirements) is None:
                found.update({str(probe.check): probe for probe in asked})
    return tuple(found[name] for name in sorted(found))


def baseline_name(source: str, runner: Runner) -> str:
    """The name of the source's own candidate, by its reference runner."""
    variant = runner.variants[0].name if runner.variants else ""
    return f"{source} @ {runner.name}" + (f"[{variant}]" if variant else "")


def runner_use(
    runner: Runner, options: Mapping[str, Mapping[str, object]], passed: str, choice: wishes.Choice | None = None
) -> RunnerUse:
    """A runner with its options as a worker is told of it; without a choice, what the user gave, of lists the first."""
    if choice is None:
        default = runner.variants[0].options if runner.variants else None
        choice = next(iter(wishes.choices(options, (f"@{runner.name}",), runner.options, default)))
    cls = runner.options
    environment = environment_of(runner)
    return RunnerUse(
        name=runner.name,
        implementation=runner.implementation,
        options_type=None if cls is None else Ref(f"{cls.__module__}:{cls.__qualname__}"),
        options=None if cls is None else serde.to_data(choice.value),
        tensors=runner.tensors,
        passed=passed if environment is None else NUMPY,  # the caller's framework need not be there
        environment=environment,
    )
