"""Writes docs/reference/options.md from what this repository's plugins declare: `python docs/options.py`."""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

import attrs

from navigator_core.plugins import Plugins, discover

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reference" / "options.md"

INTRODUCTION = """\
# Options

<!-- Written by docs/options.py from the declarations; a test compares the two. -->

`options=` says what is *built* or how it is run; [`precisions`](../how-to/precision-and-tolerance.md) says what may
win. A key is a format (every edge into it), one edge, or `@` and a runner. On the command line the same is
`--option onnx.opset=18,20`.

```python
options = {
    "onnx": {"opset": 20},
    "torch->onnx": {"optimize": False},
    "@onnxruntime-cpu": {"threads": [1, 2]},  # a list for a single value: one candidate for each
}
```

A key, field or value that does not exist is an error that names the closest one. Variants are tried side by side;
an option that is given holds for all of them.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([INTRODUCTION, *(text for name, found in plugins() for text in section(name, found))])


def plugins() -> Iterator[tuple[str, Plugins]]:
    """The plugins of this repository by distribution, whatever else is installed."""
    for path in sorted((*ROOT.glob("navigator_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml"))):
        project = tomllib.loads(path.read_text())["project"]
        modules = project["entry-points"]["navigator"].items()
        extra = [(name, import_module(module)) for name, module in modules]
        yield project["name"], discover(extra=extra, entry_points=False)


def section(distribution: str, found: Plugins) -> Iterator[str]:
    """What one distribution's declarations say, if they have options or variants."""
    edges = [(f"{one.source}->{one.target}", one) for one in (*found.exporters, *found.converters)]
    keys = [*edges, *((f"@{name}", one) for name, one in found.runners.items())]
    keys += [(f"deployer {name}", one) for name, one in found.deployers.items()]
    told = [(key, one) for key, one in keys if one.options is not None or one.variants]
    if told:
        yield f"## {distribution}\n"
        for key, one in told:
            yield from entry(key, one)


def entry(key: str, declared: Any) -> Iterator[str]:
    """One edge or runner: its fields with type and default, and its variants."""
    yield f"### `{key}`\n"
    cls = declared.options
    if cls is not None:
        yield f"{inspect.cleandoc(cls.__doc__).replace('``', '`')}\n"
        yield "| field | type | default | allowed |\n|---|---|---|---|"
        kinds = get_type_hints(cls)
        for field in attrs.fields(cls):
            kind = kinds[field.name]
            words = "str" if get_origin(kind) is Literal else inspect.formatannotation(kind).replace("|", "or")
            yield f"| `{field.name}` | {words} | `{field.default!r}` | {', '.join(allowed(field.validator))} |"
        yield ""
    if declared.variants:
        told = (f"`[{v.name}]`" + (f" in {v.precision.name}" if v.precision else "") for v in declared.variants)
        yield f"Variants: {', '.join(told)}.\n"


def allowed(validator: Any) -> Iterator[str]:
    """What attrs' validators let pass, beyond the type."""
    for inner in getattr(validator, "_validators", ()):
        yield from allowed(inner)
    for name in ("validator", "member_validator"):  # of what is optional, of what are several
        if hasattr(validator, name):
            yield from allowed(getattr(validator, name))
    if hasattr(validator, "bound"):
        yield f"{validator.compare_op} {validator.bound}"
    if hasattr(validator, "options"):
        yield from (f"`{value!r}`" for value in validator.options)


if __name__ == "__main__":
    PAGE.write_text(page())
