"""What the user wants built: options by format, edge or runner, checked, one variant for each value of a list."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import attrs
from attrs import frozen

from navigator_core import serde
from navigator_core.errors import RequestError, unknown

Options = Mapping[str, Mapping[str, Any]]


@frozen
class Choice:
    """Options as the plugin's own value; ``label`` tells it from the other values of a list: "opset=18"."""

    value: Any
    label: str = ""


def check_keys(options: Options, accepted: Mapping[str, Collection[str]]) -> None:
    """Raises RequestError for a key that is no format, "a->b" or "@runner", and for a field that nothing there has.

    ``accepted`` maps each key to the fields of what it stands for.
    """
    for key, fields in options.items():
        if key not in accepted:
            raise unknown("key in options", key, accepted)
        if not isinstance(fields, Mapping):
            raise RequestError(f"options[{key!r}] must be a mapping of fields, not {fields!r}")
        for name in fields:
            if not accepted[key]:
                raise RequestError(f"options[{key!r}]: {key.lstrip('@')} has no options")
            if name not in accepted[key]:
                raise unknown(f"field in options[{key!r}]", name, accepted[key])


@cache
def fields_of(cls: type | None) -> frozenset[str]:
    """The names that a class of options takes."""
    return frozenset(() if cls is None else (field.alias or field.name for field in attrs.fields(cls) if field.init))


def choices(options: Options, keys: Iterable[str], cls: type | None, default: Any) -> Iterator[Choice]:
    """The options that ``keys`` (later ones win) make of a default, one `Choice` for each combination of lists.

    Raises RequestError for a field the options do not have, and for a value that they refuse.
    """
    said: dict[str, tuple[str, Any]] = {}
    for key in keys:
        said.update({field: (key, value) for field, value in options.get(key, {}).items()})
    if cls is None or (default is None and not said):
        if said:
            key = next(iter(said.values()))[0]
            raise RequestError(f"options[{key!r}]: {key.lstrip('@')} has no options")
        yield Choice(default if cls is None else _build(cls, {}, ""))
        return
    if not said:
        yield Choice(default)  # as it was declared
        return
    fields = {field.alias or field.name: field for field in attrs.fields(cls)}
    for name, (key, _) in said.items():
        if name not in fields:
            raise unknown(f"field in options[{key!r}]", name, fields)
    lists = {n: _distinct(v) for n, (_, v) in said.items() if isinstance(v, list) and not _takes_list(fields[n])}
    for name, listed in lists.items():
        if not listed:
            raise RequestError(f"options[{said[name][0]!r}]: the list for {name!r} is empty, which would build nothing")
    for combination in itertools.product(*lists.values()):
        varied = dict(zip(lists, combination, strict=True))
        values = {**_fields(default), **{name: value for name, (_, value) in said.items()}, **varied}
        where = ", ".join(sorted({key for key, _ in said.values()}))
        yield Choice(
            _build(cls, values, where),
            ",".join(f"{name}={value}" for name, value in varied.items()),
        )


def _takes_list(field: Any) -> bool:
    return any(word in str(field.metadata.get("type", field.type)).lower() for word in ("list", "tuple", "sequence"))


def _distinct(values: list[Any]) -> list[Any]:
    return [value for number, value in enumerate(values) if value not in values[:number]]


def _fields(value: Any) -> dict[str, Any]:
    if value is None:
        return {}
    return {field.alias or field.name: getattr(value, field.name) for field in attrs.fields(type(value)) if field.init}


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    try:
        return serde.from_data(serde.to_data(cls(**values)), cls)  # a wrong type is found here, not in the worker
    except (TypeError, ValueError) as error:
        why = error.args[0] if error.args else error  # attrs appends the whole declaration of the field
        raise RequestError(f"options[{where!r}]: {why}") from None
