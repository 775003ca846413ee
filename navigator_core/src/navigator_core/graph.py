"""Formats and conversions as a graph, and the paths through it. Pure: values in, values out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from math import inf
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from navigator_core.availability import Unavailable
from navigator_core.declarations import Converter, Exporter, Format, Framework, Probe, Requirement, Runner, Variant
from navigator_core.elsewhere import environment_of, spelt

if TYPE_CHECKING:
    from navigator_core.plugins import Plugins

PASSES = 1
"""How many conversions of a format into itself (onnx->onnx[fp16]) one path may hold: chains would multiply branches."""

Ask = Callable[[Iterable[Requirement | Probe]], Unavailable | None]
Requirements = tuple[Requirement | Probe, ...]


@frozen
class Conversion:
    """One way of taking one edge. ``variant=None``: the edge's only way, unnamed, with its default options."""

    source: str
    target: str
    variant: Variant | None
    declaration: Exporter | Converter
    unavailable: Unavailable | None = None
    environment: str | None = field(init=False, eq=False)
    """The registered environment that it runs in, None for this one."""

    @environment.default
    def _environment(self) -> str | None:
        return environment_of(self.declaration)

    @property
    def name(self) -> str:
        """ "torch->onnx[dynamo]"; "onnx->tensorrt" for an unnamed one; "onnx->onnx@old[slim]" in an environment."""
        return self.edge + (f"[{self.variant.name}]" if self.variant and self.variant.name else "")

    @property
    def edge(self) -> str:
        """The name without the variant: what options call it."""
        return spelt(f"{self.source}->{self.target}", self.environment)


@frozen
class Execution:
    """A runner, with what it lacks here."""

    runner: Runner
    unavailable: Unavailable | None = None

    @property
    def environment(self) -> str | None:
        """The registered environment that it runs in, None for this one."""
        return environment_of(self.runner)


Path = tuple[Conversion, ...]


@frozen
class Graph:
    """``formats`` by name, None for one that conversions name and nobody declares; the others in order of name."""

    formats: Mapping[str, Format | Framework | None]
    conversions: tuple[Conversion, ...]
    runners: tuple[Execution, ...] = ()
    leaving: Mapping[str, tuple[Conversion, ...]] = field(init=False, repr=False, eq=False)
    """The conversions from each format, in order of name."""
    sources: Mapping[str, frozenset[str]] = field(init=False, repr=False, eq=False)
    """From where conversions lead to each format."""

    @leaving.default
    def _leaving(self) -> Mapping[str, tuple[Conversion, ...]]:
        found: dict[str, list[Conversion]] = {}
        for conversion in self.conversions:
            found.setdefault(conversion.source, []).append(conversion)
        return {name: tuple(conversions) for name, conversions in found.items()}

    @sources.default
    def _sources(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = {}
        for start, conversions in self.leaving.items():
            for target in {conversion.target for conversion in conversions}:
                found.setdefault(target, set()).add(start)
        return {name: frozenset(sources) for name, sources in found.items()}

    def to_dict(self) -> dict[str, Any]:
        """The graph in plain values: what ``--json`` prints."""
        from navigator_core import drawing

        return drawing.to_dict(self)

    def to_mermaid(self) -> str:
        """A picture of the graph in Mermaid, which GitHub and notebooks render."""
        from navigator_core import drawing

        return drawing.to_mermaid(self)

    def __str__(self) -> str:
        from navigator_core import drawing

        return drawing.to_text(self)


def build(plugins: Plugins, unavailable: Ask) -> Graph:
    """The graph of what the plugins declare, in an order that does not depend on theirs.

    ``unavailable`` says what requirements lack, None when they hold (`availability.missing`); of equal ones it is
    asked once. A conversion from or to a format that nobody declares stays in the graph, unavailable, with the remedy
    that its own requirements list.
    """
    answers: dict[Requirements, Unavailable | None] = {}

    def lacking(requirements: Requirements) -> Unavailable | None:
        try:
            return answers[requirements]
        except KeyError:
            return answers.setdefault(requirements, unavailable(requirements))

    declarations: list[Exporter | Converter] = [*plugins.exporters, *plugins.converters]
    named = {name for edge in declarations for name in (edge.source, edge.target)}
    formats = {name: plugins.formats.get(name) for name in sorted(named | plugins.formats.keys())}
    conversions = [
        Conversion(edge.source, edge.target, variant, edge, _obstacle(edge, variant, formats, lacking))
        for edge in declarations
        for variant in edge.variants or (None,)
    ]
    conversions.sort(key=lambda c: (c.source, c.target, c.environment or "", c.variant.name if c.variant else ""))
    runners = [Execution(runner, lacking(runner.requirements)) for _, runner in sorted(plugins.runners.items())]
    return Graph(formats, tuple(conversions), tuple(runners))


def paths(graph: Graph, source: str, limit: int = 4, targets: Iterable[str] | None = None) -> Iterator[Path]:
    """Every way to go on from a format, each as a tuple of conversions.

    1. The first is the empty path.
    2. The prefixes of a path come before it.
    3. Shorter paths come first; those of equal length in the order of their conversions' names.
    4. No path comes twice.
    5. A path holds at most ``limit`` conversions, each starting where the one before ended.
    6. A path enters no format twice, except by passes (onnx->onnx[fp16]): at most `PASSES`, and none of them twice.
    7. Only the last conversion of a path may be unavailable: nothing goes on from there.
    8. With ``targets``, all paths that end in one of them come, with all their prefixes, and nothing from where none
       could be reached within the limit. (A path cut short by rule 7 comes where a target lay ahead: it says why.)
    9. A converter that says ``from_passes=False`` follows neither a pass nor a variant with a precision, though rule 8
       counts that as a way.
    """
    steps_to = None if targets is None else _distances(graph, targets)
    waiting: deque[tuple[Path, frozenset[str]]] = deque([((), frozenset((source,)))])
    while waiting:
        path, entered = waiting.popleft()
        yield path
        left = limit - len(path) - 1
        if left < 0 or (path and path[-1].unavailable):
            continue
        for conversion in graph.leaving.get(path[-1].target if path else source, ()):
            target = conversion.target
            hopeless = steps_to is not None and steps_to.get(target, inf) > left
            new = target not in entered or _is_new_pass(conversion, path)
            if new and not hopeless and _goes_on(conversion, path):
                waiting.append(((*path, conversion), entered | {target} if left else entered))


def runners_by_format(plugins: Plugins) -> dict[str, list[Runner]]:
    """The runners that execute each format, in order of name."""
    found: dict[str, list[Runner]] = {}
    for _, runner in sorted(plugins.runners.items()):
        for name in runner.formats:
            found.setdefault(name, []).append(runner)
    return found


def _obstacle(
    edge: Exporter | Converter,
    variant: Variant | None,
    formats: Mapping[str, Format | Framework | None],
    unavailable: Callable[[Requirements], Unavailable | None],
) -> Unavailable | None:
    more = variant.requirements if variant else ()
    lacking = unavailable(edge.requirements + more if more else edge.requirements)
    if formats[edge.source] is None or formats[edge.target] is None:
        undeclared = edge.source if formats[edge.source] is None else edge.target
        remedy = lacking.remedy if lacking else f"install a plugin that declares the format {undeclared!r}"
        return Unavailable(f"no installed plugin declares the format {undeclared!r}", remedy)
    return lacking or _misfit(edge, formats)


def _misfit(edge: Exporter | Converter, formats: Mapping[str, Format | Framework | None]) -> Unavailable | None:
    """An exporter is handed a live model, a converter a path, and both write a path; two plugins may disagree."""
    exports = isinstance(edge, Exporter)
    if isinstance(formats[edge.source], Framework) is not exports:
        have, other = ("an artifact", "a converter") if exports else ("a live model", "an exporter")
        reason = f"{edge.source!r} is {have}, so what goes from it is {other}"
        return Unavailable(reason, "its plugin's author must declare it as such")
    if isinstance(formats[edge.target], Framework):
        reason = f"{edge.target!r} is a live model, and a conversion writes an artifact"
        return Unavailable(reason, "its plugin's author must declare another target")
    return None


def _goes_on(conversion: Conversion, path: Path) -> bool:
    """Whether a conversion starts from what the path ends in, which a pass may have made, or a variant rounded."""
    return getattr(conversion.declaration, "from_passes", True) or not any(map(_changes, path))


def _changes(taken: Conversion) -> bool:
    return taken.source == taken.target or (taken.variant is not None and taken.variant.precision is not None)


def _is_new_pass(conversion: Conversion, path: Path) -> bool:
    if conversion.source != conversion.target:
        return False
    passes = [taken for taken in path if taken.source == taken.target]
    return len(passes) < PASSES and all(taken is not conversion for taken in passes)


def _distances(graph: Graph, targets: Iterable[str]) -> dict[str, int]:
    """How many conversions each format is away from the nearest target, unavailable ones counted in."""
    found = dict.fromkeys(targets, 0)
    waiting = deque(found)
    while waiting:
        here = waiting.popleft()
        for source in graph.sources.get(here, ()):
            if source not in found:
                found[source] = found[here] + 1
                waiting.append(source)
    return found
