"""A page for each distribution: what it brings, what that needs, and, from its README, what no declaration says."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from declared import ROOT, Distribution, distributions

from navigator_core import Format, Framework, Probe, Requirement

FOLDER = ROOT / "docs" / "reference" / "packages"
RECOGNISES, GAPS = "What it recognises", "Known gaps"
NOTICE = "<!-- Written by `python docs/generate` from the declarations and {readme}; a test compares. -->"
CONDITIONS = """\
`[name]` is a variant. Without a precision of its own, a path or runner keeps the one that comes in. A path that runs on
the CPU serves every device.
"""


def pages() -> dict[Path, str]:
    """Each page as it should be, by where it belongs."""
    return {FOLDER / f"{one.name}.md": "\n".join(page(one)) for one in distributions()}


def page(one: Distribution) -> Iterator[str]:
    """One page."""
    readme = one.folder / "README.md"
    yield f"# {one.name}\n\n{NOTICE.format(readme=readme.relative_to(ROOT))}\n\n{one.project['description']}\n"
    yield f"## {RECOGNISES}\n\n{written(readme, RECOGNISES)}\n"
    for title, text, head, rows in tables(one):
        if rows:
            yield f"## {title}\n\n{text}{table(head, rows)}\n"
    if any(_has_options(one.plugins)):
        yield f"## Options\n\nAll of them are on [the page of options](../options.md#{one.name}).\n"
    yield f"## What it installs\n\nPython {one.project['requires-python']} on Linux, and:\n\n{installs(one.project)}\n"
    yield f"## {GAPS}\n\n{written(readme, GAPS)}\n"


def tables(one: Distribution) -> Iterator[tuple[str, str, Sequence[str], list[Sequence[str]]]]:
    """What is declared, as title, introduction, header and rows."""
    found = one.plugins
    edges = sorted((*found.exporters, *found.converters), key=lambda edge: (edge.source, edge.target))
    paths = [row for edge in edges for row in ways(f"{edge.source}->{edge.target}", edge)]
    rest = ("precision", "devices", "needs")
    formats = [(code(name), kind(value)) for name, value in found.formats.items()]
    yield "Formats and frameworks", "", ("name", "is"), formats
    yield "Paths", f"{CONDITIONS}\n", ("path", *rest), paths
    runners = [
        (whole, codes(runner.formats), *others)
        for name, runner in found.runners.items()
        for whole, *others in ways(name, runner)
    ]
    yield "Runners", "", ("runner", "runs", *rest), runners
    yield "What helps where something is missing", "", ("needed", "what helps"), remedies(found)
    yield (
        "Tensors and devices",
        "",
        ("kind", "name"),
        [
            *(("array", code(name)) for name in found.tensors),
            *(("device", code(device.kind)) for device in found.devices),
        ],
    )
    others = [("profiler", found.profilers), ("deployer", found.deployers), ("executor", found.executors)]
    more = [(word, code(name), needs(one.requirements)) for word, them in others for name, one in them.items()]
    yield "Measuring and deploying", "", ("kind", "name", "needs"), more


def kind(value: Format | Framework) -> str:
    """What a format is, in words."""
    if isinstance(value, Framework):
        return f"live models, run as they are by {code(value.reference)}"
    words = [f"files, {code(value.file)}"]
    if value.signature is not None:
        words.append(f"a model may be given as one, and {code(value.reference or '')} says what it means")
    if not value.portable:
        words.append("tied to the device that it was built on")
    if value.executes_code:
        words.append("loading one can execute code, so a [package](../package.md) from elsewhere has to be trusted")
    return "; ".join(words)


def ways(name: str, declared: Any) -> Iterator[Sequence[str]]:
    """One row for each variant: name, precision, devices, needs."""
    for variant in declared.variants or (None,):
        precision = variant.precision.name if variant and variant.precision else ""
        required = declared.requirements + (variant.requirements if variant else ())
        whole = f"{name}[{variant.name}]" if variant and variant.name else name
        yield code(whole), precision, ", ".join(declared.devices), needs(required)


def needs(requirements: Iterable[Requirement | Probe]) -> str:
    """What must be there; a probe by the name of its function."""
    return ", ".join(need(one) for one in requirements)


def need(one: Requirement | Probe) -> str:
    """One requirement."""
    return " or ".join(map(code, one.any_of)) if isinstance(one, Requirement) else f"check {code(_check(one))}"


def remedies(found: Any) -> list[Sequence[str]]:
    """Each requirement once, with the remedy that a user is told."""
    declared = [*found.exporters, *found.converters, *found.runners.values(), *found.profilers.values()]
    declared += [*found.deployers.values(), *found.executors.values()]
    every = [one for value in declared for one in value.requirements]
    every += [one for value in declared for variant in getattr(value, "variants", ()) for one in variant.requirements]
    return sorted({(need(one), remedy(one)) for one in every})


def remedy(one: Requirement | Probe) -> str:
    """What a user is told: a command, or a sentence."""
    words = one.remedy or f"pip install {shlex.quote(one.any_of[0].partition(';')[0].strip())}"
    return code(words) if words.startswith("pip ") else words


def installs(project: Mapping[str, Any]) -> str:
    """Dependencies and extras."""
    lines = [f"- always: {codes(project['dependencies'])}"]
    for extra, names in project.get("optional-dependencies", {}).items():
        lines.append(f"- with `pip install '{project['name']}[{extra}]'`: {codes(names)}")
    return "\n".join(lines)


def written(readme: Path, heading: str) -> str:
    """What stands under a heading of the README, its links made to lead from the page; ValueError without it."""
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", readme.read_text(), re.M | re.S)
    if found is None or not found[1].strip():
        raise ValueError(f"{readme.relative_to(ROOT)} must have a section '## {heading}'")

    def link(match: re.Match[str]) -> str:
        return f"]({os.path.relpath(readme.parent / match[1], FOLDER)}"

    return re.sub(r"\]\((?!\w+:|#)([^)#]+)", link, found[1].strip())


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown; columns that are empty in every row are left out."""
    rows = list(rows)
    filled = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line[number].replace("|", "\\|") for number in filled) + " |" for line in lines)


def code(text: str) -> str:
    """Between backticks."""
    return f"`{text}`"


def codes(names: Iterable[str]) -> str:
    """Several of them."""
    return ", ".join(map(code, names))


def _check(probe: Probe) -> str:
    return str(probe.check).rpartition(":")[2]


def _has_options(found: Any) -> Iterator[bool]:
    for value in (*found.exporters, *found.converters, *found.runners.values(), *found.deployers.values()):
        yield value.options is not None or bool(value.variants)
