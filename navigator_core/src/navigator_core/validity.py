"""Is a declaration well formed, and what does it claim? What attrs does not check of what plugins declare."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from navigator_core.availability import parse
from navigator_core.declarations import (
    Converter,
    Deployer,
    Device,
    Executor,
    Exporter,
    Format,
    Framework,
    Knob,
    Precision,
    Probe,
    Profiler,
    Ref,
    Requirement,
    Runner,
    Tensors,
    Variant,
)
from navigator_core.errors import PluginError

Declaration = Format | Framework | Tensors | Device | Exporter | Converter | Runner | Profiler | Deployer | Executor

NAMES = frozenset({"name", "source", "target", "kind"})
"""Fields whose text appears in option keys and candidates' names: "torch->onnx[dynamo] @ onnxruntime-cpu"."""

_NAME = re.compile(r"\w[\w.+-]*")
_REF = re.compile(r"[^\W\d][\w.]*(:[^\W\d][\w.]*)?")


def problem(declaration: Any) -> str | None:
    """One clause saying what is wrong with a declaration, or with a variant or requirement in it; None if nothing is.

    >>> from navigator_core.declarations import Device, Ref
    >>> problem(Device(kind="my npu", detect=Ref("my_plugin:detect")))
    "Device 'my npu': kind must be letters, digits and any of _.+-, not 'my npu'"
    """
    for field in attrs.fields(type(declaration)):
        expected = _EXPECTED.get(annotation(type(declaration), field.name), _anything)
        wrong = expected(field.name, getattr(declaration, field.name))
        if wrong is not None:
            return f"{_title(declaration)}: {wrong}"
    return None


def annotation(cls: type, name: str) -> str | None:
    """A field's annotation as it is written. (`attrs` overwrites ``field.type`` once types are resolved.)"""
    return next((_annotated(base)[name] for base in cls.__mro__ if name in _annotated(base)), None)


def _annotated(cls: type) -> Mapping[str, str]:
    found: Mapping[str, str] = vars(cls).get("__annotations__", {})
    return found


def claims(value: Declaration) -> list[str]:
    """What no other declaration may bring, each as a few words: names, and conversions with their variants."""
    if isinstance(value, Device):
        return []
    if isinstance(value, Exporter | Converter):
        edge = f"conversion {value.source}->{value.target}"
        named = [variant.name for variant in value.variants]
        return [f"{edge}[{name}]" if name else edge for name in named] or [edge]
    kind = "format" if isinstance(value, Framework) else type(value).__name__.lower()
    variants = value.variants if isinstance(value, Runner | Deployer) else ()
    title = f"{kind} {value.name!r}"
    return [title, *(f"variant {variant.name!r} of the {title}" for variant in variants)]


def _title(declaration: Any) -> str:
    known = [getattr(declaration, name) for name in ("name", "kind", "source", "target") if hasattr(declaration, name)]
    texts = [value for value in known if isinstance(value, str)]
    return " ".join([type(declaration).__name__, repr("->".join(texts[:2]))] if texts else [type(declaration).__name__])


def _anything(name: str, value: Any) -> str | None:
    return None


def _text(name: str, value: Any) -> str | None:
    if not isinstance(value, str) or not value:
        return f"{name} must be a str that is not empty, not {value!r}"
    if name in NAMES and not _NAME.fullmatch(value):
        return f"{name} must be letters, digits and any of _.+-, not {value!r}"
    if name == "file" and ("/" in value or value in (".", "..")):
        return f"file must be a plain file name, not {value!r}"
    return None


def _ref(name: str, value: Any) -> str | None:
    if not isinstance(value, Ref):
        return f"{name} must be a Ref, not {value!r}"
    if not isinstance(value.target, str) or not _REF.fullmatch(value.target):
        return f"{name} must be a Ref such as 'package.module:name', not {value.target!r}"
    if name != "source" and ":" not in value.target:  # a source is a module; all else is called
        return f"{name} must name a function ('package.module:name'), not the module {value.target!r}"
    return None


def _type(name: str, value: Any) -> str | None:
    return None if isinstance(value, type) else f"{name} must be a class, not {value!r}"


def _bool(name: str, value: Any) -> str | None:
    return None if isinstance(value, bool) else f"{name} must be True or False, not {value!r}"


def _precision(name: str, value: Any) -> str | None:
    return None if isinstance(value, Precision) else f"{name} must be a Precision, not {value!r}"


def _variant(name: str, value: Any) -> str | None:
    if not isinstance(value, Variant):
        return f"{name} must hold Variants, not {value!r}"
    return problem(value if value.name != "" else attrs.evolve(value, name="plain"))  # "" is the plain way's name


def _knob(name: str, value: Any) -> str | None:
    if not isinstance(value, Knob):
        return f"{name} must hold Knobs, not {value!r}"
    return problem(value) or (None if value.values else f"{name}: the knob {value.field!r} has no values to try")


def _requirement(name: str, value: Any) -> str | None:
    if isinstance(value, Probe):
        return problem(value)
    if not isinstance(value, Requirement):
        return f"{name} must hold str, Requirement or Probe, not {value!r}"
    if not value.any_of:
        return f"{name} holds a Requirement of nothing"
    for text in value.any_of:
        if not isinstance(text, str):
            return f"{name} must hold str, not {text!r}"
        try:
            parse(text)
        except PluginError as error:
            return str(error)
    return None


def _texts(name: str, value: Any) -> str | None:
    if not isinstance(value, Mapping) or not all(
        isinstance(text, str) and text for pair in value.items() for text in pair
    ):
        return f"{name} must map names to sentences, not {value!r}"
    return None


def _or_none(check: Callable[[str, Any], str | None]) -> Callable[[str, Any], str | None]:
    return lambda name, value: None if value is None else check(name, value)


def _each(check: Callable[[str, Any], str | None]) -> Callable[[str, Any], str | None]:
    return lambda name, values: next((wrong for value in values if (wrong := check(name, value))), None)


_EXPECTED: Mapping[Any, Callable[[str, Any], str | None]] = MappingProxyType(
    {
        "str": _text,
        "str | None": _or_none(_text),
        "bool": _bool,
        "Any": _anything,
        "type | None": _or_none(_type),
        "Ref": _ref,
        "Ref | None": _or_none(_ref),
        "Precision | None": _or_none(_precision),
        "Mapping[str, str]": _texts,
        "tuple[str, ...]": _each(_text),
        "tuple[Variant, ...]": _each(_variant),
        "tuple[Knob, ...]": _each(_knob),
        "tuple[Any, ...]": _anything,
        "tuple[Requirement | Probe, ...]": _each(_requirement),
    }
)
"""By a field's annotation, so that a new declaration needs no new lines here; a test sees that none is missing."""
