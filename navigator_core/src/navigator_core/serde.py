"""Frozen values to plain data and back: what goes into journals, packages and keys. The only user of cattrs.

The data is valid JSON: lists, objects with string keys, finite numbers. What JSON lacks has a form of its own:
``{"float": "nan"}``, ``{"pairs": [[key, value], ...]}`` for an object whose keys are not strings, and
``{"opaque": repr}`` for an object that is no plain data, which comes back as that string. In a union a class is told
by ``"class"``, its name. Unknown fields are errors: a new field is a new schema.
"""

from __future__ import annotations

import hashlib
import json
import math
import types
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path, PurePath
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

import attrs
import cattrs
from cattrs import cols, gen, v
from cattrs.errors import ForbiddenExtraKeysError

T = TypeVar("T")
LEVELS = 100
"""How deep data may nest: deeper than any model's structure, shallower than Python's stack."""

_SCALARS = (type(None), bool, int, float, str)
_FORMS = {"float", "opaque", "pairs", "object"}


def to_data(value: Any, cls: Any = None) -> Any:
    """JSON-able data. ``cls`` is the declared type, where it is not the value's own: a union, ``tuple[Node, ...]``.

    Raises TypeError where a value is not what its field declares, ValueError where it nests too deeply.
    """
    typed = cls is not None or attrs.has(type(value))
    try:
        data = _converter.unstructure(value, cls) if typed else _plain(value)
    except NameError as error:
        raise TypeError(f"an annotation of {type(value).__name__} cannot be resolved: {error}") from error
    _check_depth(data)
    return data


def from_data(data: Any, cls: type[T]) -> T:
    """The inverse of `to_data`. Nothing is coerced: "1" is no int and 1 is no bool.

    Raises ValueError saying what is wrong where: ``expected int, found '3' @ Dim.max``.
    """
    _check_depth(data)
    try:
        return _converter.structure(data, cls)
    except Exception as error:  # groups of anything that a class's own validators raise
        problems = v.transform_error(error, getattr(cls, "__name__", "value"), _explain)
    raise ValueError("; ".join(problems[:5]))


def dumps(value: Any, cls: Any = None) -> str:
    """`to_data` as one line of JSON, fields in their declared order."""
    return json.dumps(to_data(value, cls), allow_nan=False)


def loads(text: str | bytes, cls: type[T]) -> T:
    """The inverse of `dumps`. Raises ValueError as `from_data` does, and for what is not JSON."""
    return from_data(parse(text), cls)


def parse(text: str | bytes) -> Any:
    """JSON by a stranger: valid, no duplicate keys, no NaN, at most `LEVELS` deep. Raises ValueError."""
    try:
        data = json.loads(text, parse_constant=lambda name: _wrong("a finite number", name), object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError(f"nested more than {LEVELS} levels deep") from None
    _check_depth(data)
    return data


def canonical(data: Any) -> bytes:
    """The same bytes for equal data: sorted keys, no spaces, ASCII. Takes what `to_data` returns."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(*parts: Any) -> str:
    """SHA-256 of values or plain data, as hex. An opaque object counts as its repr, so let it say all that matters.

    >>> digest("a", {"x": 1, "y": 2}) == digest("a", {"y": 2, "x": 1})
    True
    """
    return hashlib.sha256(canonical(_plain(parts))).hexdigest()


def _check_depth(data: Any) -> None:
    level = [data]
    for _ in range(LEVELS):
        nested = [value for value in level if isinstance(value, dict | list)]
        level = [item for value in nested for item in (value.values() if isinstance(value, dict) else value)]
        if not level:
            return
    raise ValueError(f"nested more than {LEVELS} levels deep")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError(f"an object has a key twice, among {', '.join(map(repr, list(data)[:5]))}")
    return data


def _explain(error: BaseException, cls: Any) -> str:
    return v.format_exception(error, cls) if isinstance(error, KeyError | ForbiddenExtraKeysError) else str(error)


def _wrong(expected: str, value: Any) -> NoReturn:
    text = repr(value)
    raise ValueError(f"expected {expected}, found {text if len(text) <= 60 else 'a ' + type(value).__name__}")


def _plain(value: Any) -> Any:
    cls = type(value)
    if cls is float:
        return _finite(value)
    if cls in _SCALARS:
        return value
    if cls in (list, tuple):
        return [_plain(item) for item in value]
    if attrs.has(cls):
        return _object(_fields(value))
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return _object({key: _plain(item) for key, item in value.items()})
    if isinstance(value, Mapping) and all(type(key) in _SCALARS for key in value):
        return {"pairs": [[_plain(key), _plain(item)] for key, item in value.items()]}
    return {"opaque": repr(value)}


def _fields(value: Any) -> dict[str, Any]:
    try:
        return dict(_converter.unstructure(value))
    except Exception:  # the class may be a plugin's, with annotations that cannot be resolved or do not hold
        return {name: _plain(getattr(value, name)) for name in attrs.fields_dict(type(value))}


def _object(data: dict[str, Any]) -> dict[str, Any]:
    return {"object": data} if len(data) == 1 and _FORMS.issuperset(data) else data


def _finite(number: float) -> Any:
    return number if math.isfinite(number) else {"float": str(number)}


def _from_plain(data: Any, _: Any = None) -> Any:
    if isinstance(data, list):
        return [_from_plain(item) for item in data]
    if not isinstance(data, dict):
        return data
    form, content = next(iter(data.items())) if len(data) == 1 else ("", None)
    if form == "float":
        return _float(data)
    if form == "opaque":
        return _exactly(str)(content)
    if form == "pairs":
        return {_from_plain(key): _from_plain(item) for key, item in _exactly(list, "a list")(content)}
    inside = _exactly(dict, "an object")(content) if form == "object" else data
    return {key: _from_plain(item) for key, item in inside.items()}


def _exactly(cls: type, name: str | None = None) -> Callable[..., Any]:
    def structure(data: Any, _: Any = None) -> Any:
        if type(data) is not cls:
            _wrong(name or cls.__name__, data)
        return data

    return structure


def _scalar_writer(cls: type, fits: Callable[[Any], bool], plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def unstructure(value: Any) -> Any:
        if not fits(value):
            raise TypeError(f"expected {cls.__name__}, found {value!r}")
        return plain(value)

    return unstructure


def _float(data: Any, _: Any = None) -> float:
    if isinstance(data, dict) and list(data) == ["float"] and data["float"] in ("nan", "inf", "-inf"):
        return float(data["float"])
    if type(data) not in (int, float):
        _wrong("float", data)
    return float(data)


def _checked(form: type, name: str, structure: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    check = _exactly(form, name)
    return lambda data, cls: structure(check(data), cls)


def _class_reader(cls: type, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    attrs.resolve_types(cls)
    return _checked(dict, f"an object ({cls.__name__})", gen.make_dict_structure_fn(cls, converter))


def _tuple_reader(cls: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    items = cols.list_structure_factory(cls, converter)
    return _checked(list, "a list", lambda data, declared: tuple(items(data, declared)))


def _is_union(cls: Any) -> bool:
    return get_origin(cls) in (Union, types.UnionType) and len(set(get_args(cls)) - {type(None)}) > 1


def _union_writer(union: Any) -> Callable[[Any], Any]:
    def unstructure(value: Any) -> Any:
        cls = type(value)
        if cls not in get_args(union):
            raise TypeError(f"expected {union}, found {value!r}")
        return _plain(value) if cls in _SCALARS else {"class": cls.__name__, **_converter.unstructure(value)}

    return unstructure


def _union_reader(union: Any) -> Callable[[Any, Any], Any]:
    members = get_args(union)

    def structure(data: Any, _: Any) -> Any:
        for cls in members if isinstance(data, dict) else ():
            if cls.__name__ == data.get("class"):
                return _converter.structure({key: data[key] for key in data if key != "class"}, cls)
        if type(data) in members:
            return data
        if float in members:
            return _float(data)
        _wrong(" or ".join(cls.__name__ for cls in members), data)

    return structure


def _make_converter() -> cattrs.Converter:
    converter = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list, Mapping: dict})
    for cls, fits, plain in (  # numpy's scalars pass for Python's
        (bool, lambda value: value in (0, 1), bool),
        (int, lambda value: isinstance(value, Integral), int),
        (float, lambda value: isinstance(value, Real), lambda value: _finite(float(value))),
        (str, lambda value: isinstance(value, str), str.__str__),
    ):
        converter.register_unstructure_hook(cls, _scalar_writer(cls, fits, plain))
        converter.register_structure_hook(cls, _float if cls is float else _exactly(cls))
    converter.register_unstructure_hook(PurePath, str)
    converter.register_structure_hook(Path, _checked(str, "a path", lambda text, cls: cls(text)))
    converter.register_structure_hook_factory(attrs.has, _class_reader)
    converter.register_structure_hook_factory(lambda cls: get_args(cls)[1:] == (...,), _tuple_reader)
    converter.register_structure_hook_factory(
        cols.is_mapping, lambda cls, own: _checked(dict, "an object", cols.mapping_structure_factory(cls, own))
    )
    converter.register_unstructure_hook_factory(_is_union, _union_writer)
    converter.register_structure_hook_factory(_is_union, _union_reader)
    converter.register_unstructure_hook_func(lambda cls: cls is Any, _plain)
    converter.register_structure_hook_func(lambda cls: cls is Any, _from_plain)
    return converter


_converter = _make_converter()
