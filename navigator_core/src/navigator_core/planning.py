"""What will be tried: every path to every format as a trie of steps, every runner on each end of it.

What cannot be taken is planned too, with the reason: a branch is never silently missing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

import attrs
from attrs import frozen

from navigator_core import graph as graphs
from navigator_core import options as wishes
from navigator_core import serde
from navigator_core.availability import Unavailable
from navigator_core.declarations import Precision, Ref, Runner
from navigator_core.elsewhere import environment_of, spelt
from navigator_core.errors import NoPathError, unknown
from navigator_core.graph import Conversion, Graph
from navigator_core.loading import RunnerUse
from navigator_core.obstacles import obstacle
from navigator_core.offers import Offers, Ways, Wishes, coarser, says_nothing
from navigator_core.options import Choice, Options
from navigator_core.plugins import Plugins
from navigator_core.survey import Survey
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

    def by_artifact(self) -> list[Plan]:
        """This plan in parts: the branches that need no step, then each step with those that end with it."""
        names = [step.name for step in self.steps]
        ready = tuple(branch for branch in self.branches if branch.step not in names)
        ending = {name: tuple(branch for branch in self.branches if branch.step == name) for name in names}
        parts = [((), ready), *(((step,), ending[step.name]) for step in self.steps)]
        return [Plan(steps=steps, branches=branches) for steps, branches in parts]


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


def _accepted(plugins: Plugins, graph: Graph) -> dict[str, frozenset[str]]:
    """The keys that options may have, and the fields that each may have."""
    accepted: dict[str, frozenset[str]] = dict.fromkeys(graph.formats, frozenset())
    for c in graph.conversions:
        fields = wishes.fields_of(c.declaration.options)
        for key in (c.target, c.edge):
            known = accepted.get(key)
            accepted[key] = known | fields if known else fields
    return accepted | {f"@{runner.name}": wishes.fields_of(runner.options) for runner in plugins.runners.values()}


def make(
    plugins: Plugins, graph: Graph, source: str, precision: Precision, device: str, asked: Wishes, survey: Survey
) -> Plan:
    """The plan for a model of format ``source`` whose own arithmetic is ``precision``.

    Raises NoPathError where a target cannot be reached by any conversion, listing every edge that would have helped.
    """
    ways = Ways(asked, device, survey)
    twins = _twins(graph, ways)
    if twins:
        graph = graphs.Graph(graph.formats, tuple(c for c in graph.conversions if id(c) not in twins), graph.runners)
    offers = Offers(plugins, asked, device, survey)
    steps: list[Step] = []
    branches: list[Branch] = []
    ends: dict[tuple[int, ...], list[tuple[str | None, Precision]]] = {}  # by identity: an equal path is the same one
    for path in graphs.paths(graph, source, asked.limit, _wanted(asked, plugins)):
        here = tuple(map(id, path))
        ends[here] = []
        if not path:
            ends[here].append((None, precision))
            branches += _branches(offers, source, None, source, precision)
            continue
        last, way = path[-1], ways.of(path[-1])
        for parent, before in ends[here[:-1]]:
            if says_nothing(last.variant, last.declaration.variants, before):
                continue
            after = coarser(before, last.variant)
            if not offers.may_win(after, precision):
                continue
            for choice in way.choices:
                name = _step_name(parent or source, last, choice)
                if (obstacle := _no_way_on(path) or way.obstacle) is not None:
                    branches.append(_dead_end(name, last, choice, after, device, obstacle))
                    continue
                steps.append(
                    Step(name=name, parent=parent, conversion=last, choice=choice, precision=after, device=way.device)
                )
                ends[here].append((name, after))
                branches += _branches(offers, last.target, name, name, after)
    _require_paths(branches, asked, graph, source)
    branches = [branch for branch in branches if offers.may_win(branch.precision, precision)]
    branches += _beside(branches, offers, source, precision)
    needed = _needed(steps, branches)
    notes = (
        *_left_out(twins.values(), {step.conversion.source for step in steps} | {source}),
        *_idle(asked.options, needed, branches),
    )
    return Plan(steps=needed, branches=tuple(branches), notes=notes)


def _no_way_on(path: graphs.Path) -> Unavailable | None:
    """What one of a path's conversions says of the format that the last one is to make."""
    target = path[-1].target
    reasons = [taken.declaration.dead_ends.get(target) for taken in path[:-1]]
    return next((Unavailable(why, f"another way to {target}, where there is one") for why in reasons if why), None)


def _twins(graph: Graph, ways: Ways) -> dict[int, Conversion]:
    """Conversions of other environments that can be had here just so, and that no option names; by their identity.

    They multiply the branches and differ in the tool's version at most.
    """
    elsewhere = {id(c): c for c in graph.conversions if c.environment is not None and c.edge not in ways.asked.options}
    if not elsewhere:
        return {}
    wanted = {_just(c) for c in elsewhere.values()}
    here = {
        _just(c)
        for c in graph.conversions
        if c.environment is None and _just(c) in wanted and obstacle(c, ways.device, ways.survey) is None
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


def _beside(branches: list[Branch], offers: Offers, source: str, precision: Precision) -> list[Branch]:
    """The source's own branch where it was not asked for: without it there is nothing to compare with."""
    declared = offers.plugins.formats.get(source)
    runner = offers.plugins.runners.get(declared.reference or "") if declared else None
    baseline = baseline_name(source, runner) if runner else None
    if any(branch.name == baseline for branch in branches):
        return []
    everything = attrs.evolve(offers.asked, runners=None, targets=None)
    everything_here = Offers(offers.plugins, everything, offers.device, offers.survey)
    own = _branches(everything_here, source, None, source, precision)
    return [attrs.evolve(b, comparison=True) for b in own if b.name == baseline and b.unavailable is None]


def _branches(offers: Offers, format_name: str, step: str | None, path: str, before: Precision) -> Iterator[Branch]:
    """A branch for everything that runs what a path ends in."""
    for offer in offers.on(format_name, before):
        yield Branch(
            name=f"{path} @ {offer.label}",
            step=step,
            format=format_name,
            runner=offer.runner,
            choice=offer.choice,
            precision=coarser(before, offer.variant),
            device=offers.device,
            unavailable=offer.obstacle,
        )


def _step_name(parent: str, conversion: Conversion, choice: Choice) -> str:
    inside = ",".join(filter(None, (conversion.variant.name if conversion.variant else "", choice.label)))
    return f"{parent}->{spelt(conversion.target, conversion.environment)}" + (f"[{inside}]" if inside else "")


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
