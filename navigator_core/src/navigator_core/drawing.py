"""The graph for people and for programs: text, plain values, and a picture in Mermaid."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

from navigator_core.declarations import Framework
from navigator_core.elsewhere import spelt

if TYPE_CHECKING:
    from navigator_core.availability import Unavailable
    from navigator_core.declarations import Format
    from navigator_core.graph import Conversion, Execution, Graph

PLAIN = re.compile(r"[^\w .,:+=()/'-]")
"""What Mermaid may read as its own syntax, as Markdown or as HTML, even between quotes."""


def to_text(graph: Graph) -> str:
    """One line for each conversion, with the reason and remedy of those that are unavailable, and for its dead ends."""
    if not graph.conversions:
        return "no installed plugin declares a conversion; `navigator plugins` lists what is installed"
    lines = []
    for one in graph.conversions:
        lines.append(one.name + (f"  unavailable: {one.unavailable}" if one.unavailable else ""))
        lines += [f"{one.name}->{name}  not offered: {why}" for name, why in _dead_ends(one, graph).items()]
    return "\n".join(lines)


def _dead_ends(one: Conversion, graph: Graph) -> dict[str, str]:
    """Where it does not lead, of the formats that something here would make of what it writes."""
    near = {after.target for after in graph.leaving.get(one.target, ())}
    return {name: why for name, why in one.declaration.dead_ends.items() if name in near}


def to_dict(graph: Graph) -> dict[str, Any]:
    """The graph in plain values."""
    return {
        "formats": [{"name": name, "kind": _kind(value)} for name, value in graph.formats.items()],
        "conversions": [_conversion(conversion, graph) for conversion in graph.conversions],
        "runners": [
            {
                "name": one.runner.name,
                "environment": one.environment,
                "formats": list(one.runner.formats),
                "unavailable": _obstacle(one.unavailable),
            }
            for one in graph.runners
        ],
    }


def to_mermaid(graph: Graph) -> str:
    """A Mermaid flowchart.

    Live models are stadiums, formats boxes, runners hexagons beside what they execute. An arrow bears the names of the
    conversions that share its ends, with "@" and the environment of those from elsewhere, and its conditions: the
    device kinds that they are for, where the CPU is none of them, and what is missing here, in which case it is dashed.
    """
    executed = {name for one in graph.runners for name in one.runner.formats}
    formats = {name: graph.formats.get(name) for name in sorted(graph.formats.keys() | executed)}
    ids = {name: f"n{number}" for number, name in enumerate(formats)}
    nodes = [f"{ids[name]}{_shape(name, value)}" for name, value in formats.items()]
    dashed = [ids[name] for name, value in formats.items() if value is None]
    arrows = list(_arrows(graph, ids))
    for number, (together, condition, missing, names) in enumerate(_hexagons(graph)):
        hexagon = f"r{number}"
        nodes.append(f'{hexagon}{{{{"{"<br>".join(names)}"}}}}')
        arrows += [f"{ids[name]} {'-.-' if missing else '---'}{_label(condition)} {hexagon}" for name in together]
        dashed += [hexagon] if missing else []
    styles = ["classDef absent stroke-dasharray: 4", f"class {','.join(dashed)} absent"] if dashed else []
    return "\n  ".join(["flowchart LR", *nodes, *arrows, *styles])


def _arrows(graph: Graph, ids: dict[str, str]) -> Iterator[str]:
    """One for the conversions of equal ends and conditions."""

    def alike(one: Conversion) -> tuple[str, str, str, bool]:
        return one.source, one.target, _condition(one.declaration.devices, one.unavailable), one.unavailable is not None

    for (source, target, condition, missing), found in groupby(sorted(graph.conversions, key=alike), alike):
        names = ", ".join(_escape(name) for one in found if (name := _way(one)))
        yield f"{ids[source]} {'-.->' if missing else '-->'}{_label(names, condition)} {ids[target]}"


def _way(one: Conversion) -> str:
    """What tells a conversion from the others of its ends: its variant and its environment."""
    return spelt(one.variant.name if one.variant else "", one.environment)


def _hexagons(graph: Graph) -> Iterator[tuple[tuple[str, ...], str, bool, list[str]]]:
    """For the runners of the same formats and conditions: these, and the runners' names."""

    def alike(one: Execution) -> tuple[tuple[str, ...], str, bool]:
        formats = tuple(sorted(one.runner.formats))
        return formats, _condition(one.runner.devices, one.unavailable), one.unavailable is not None

    for (formats, condition, missing), found in groupby(sorted(graph.runners, key=alike), alike):
        yield formats, condition, missing, [_escape(one.runner.name) for one in found]


def _condition(devices: tuple[str, ...], missing: Unavailable | None) -> str:
    """Where it runs if not on the CPU, and in short what it lacks; safe to stand between quotes."""
    only = "" if "cpu" in devices or not devices else f"{' or '.join(devices)} only"
    lacks = re.split("[,;] ", missing.reason)[0] if missing else ""
    return "<br>".join(_escape(text) for text in (only, lacks) if text)


def _label(*lines: str) -> str:
    text = "<br>".join(line for line in lines if line)
    return f'|"{text}"|' if text else ""


def _shape(name: str, value: Format | Framework | None) -> str:
    return f'(["{_escape(name)}"])' if isinstance(value, Framework) else f'["{_escape(name)}"]'


def _escape(text: str) -> str:
    return PLAIN.sub(lambda found: f"#{ord(found[0])};", text)


def _kind(value: Format | Framework | None) -> str:
    if value is None:
        return "undeclared"
    return "framework" if isinstance(value, Framework) else "format"


def _conversion(conversion: Conversion, graph: Graph) -> dict[str, Any]:
    variant = conversion.variant
    return {
        "name": conversion.name,
        "source": conversion.source,
        "target": conversion.target,
        "environment": conversion.environment,
        "variant": variant.name if variant else None,
        "precision": variant.precision.name if variant and variant.precision else None,
        "unavailable": _obstacle(conversion.unavailable),
        "dead_ends": _dead_ends(conversion, graph),
    }


def _obstacle(missing: Unavailable | None) -> dict[str, str] | None:
    return {"reason": missing.reason, "remedy": missing.remedy} if missing else None
