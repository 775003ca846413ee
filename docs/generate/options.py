"""The page of options: every field of every exporter, converter, runner and deployer."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, Literal, get_origin, get_type_hints

import attrs
from declared import distributions

from navigator_core.plugins import Plugins

INTRODUCTION = """\
# Options

<!-- Written by `python docs/generate` from the declarations; a test compares the two. -->

`options=` says what is *built* or how it is run; [`precisions`](../how-to/precision-and-tolerance.md) says what may
win. A key is a format (every edge into it), one edge, or `@` and a runner; what is from
[another environment](../how-to/other-environments.md) ends in `@` and its name: `onnx->onnx@old`,
`@onnxruntime-cpu@old`. On the command line the same is `--option onnx.opset=18,20`.

```python
options = {
    "onnx": {"opset": 20},
    "torch->onnx": {"optimize": False},
    "@onnxruntime-cpu": {"threads": [1, 2]},  # a list for a single value: one candidate for each
}
```

A key, field or value that does not exist is an error that names the closest one; options for what a run does not try
are in its notes. Variants are tried side by side; an option that is given holds for all of them.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([INTRODUCTION, *(text for one in distributions() for text in section(one.name, one.plugins))])


def section(distribution: str, found: Plugins) -> Iterator[str]:
    """What one distribution's declarations say, if they have options or variants."""
    edges = [(f"{one.source}->{one.target}", one) for one in (*found.exporters, *found.converters)]
    every = [*edges, *((f"@{name}", one) for name, one in found.runners.items())]
    every += [(f"deployer {name}", one) for name, one in found.deployers.items()]
    told = [(key, one) for key, one in every if one.options is not None or one.variants]
    if told:
        yield f"## {distribution}\n"
        keys = [key for key, _ in told]
        for key, one in told:
            yield from entry(key, one, alone=keys.count(key) == 1)


def entry(key: str, declared: Any, alone: bool = True) -> Iterator[str]:
    """One edge or runner: its fields with type and default, and its variants, which tell edges of one key apart."""
    names = "" if alone else "".join(f" `[{v.name}]`" for v in declared.variants if v.name)
    yield f"### `{key}`{names}\n"
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
    if getattr(declared, "knobs", ()):
        yield f"A search tries other values of {', '.join(f'`{knob.field}`' for knob in declared.knobs)}.\n"
    if declared.variants:
        named = [v for v in declared.variants if v.name]
        told = (f"`[{v.name}]`" + (f" in {v.precision.name}" if v.precision else "") for v in named)
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
