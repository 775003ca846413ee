"""The signature's names and a model's own, matched by name and never by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attrs import frozen

from navigator_core import Context, TensorSpec
from navigator_core.errors import PluginError


@frozen
class Bindings:
    """Pairs of (our name, its place): inputs that the model takes, outputs that are asked of it."""

    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


def match(context: Context, inputs: Sequence[Any], outputs: Sequence[Any]) -> Bindings:
    """Which of the model's ends (openvino.Output, with one name or several) is which of the signature's tensors.

    An input of the signature that the model does not take is left out: a conversion drops what has no effect. With no
    outputs in the signature all are asked for. Raises PluginError where a name on the model's side is unknown.
    """
    taken = _theirs(context.signature.inputs, context.names.inputs)
    given = _theirs(context.signature.outputs, context.names.outputs)
    if not given:
        back = {theirs: ours for ours, theirs in context.names.outputs.items()}
        given = {back.get(name, name): name for name in (min(end.names) for end in outputs)}
    takes = [(next((ours for ours, name in taken.items() if name in end.names), None), end) for end in inputs]
    gives = [(next((i for i, end in enumerate(outputs) if name in end.names), None), name) for name in given.values()]
    _refuse("takes input", ["/".join(sorted(end.names)) for ours, end in takes if ours is None], taken.values())
    _refuse("lacks output", [name for place, name in gives if place is None], (min(end.names) for end in outputs))
    return Bindings(
        tuple((ours, place) for place, (ours, _) in enumerate(takes) if ours is not None),
        tuple((ours, place) for ours, (place, _) in zip(given, gives, strict=True) if place is not None),
    )


def _theirs(specs: Iterable[TensorSpec], names: Mapping[str, str]) -> dict[str, str]:
    return {spec.name: names.get(spec.name, spec.name) for spec in specs}


def _refuse(what: str, unknown: Sequence[str], known: Iterable[str]) -> None:
    if unknown:
        raise PluginError(
            f"the model {what} {', '.join(map(repr, unknown))}; known are {', '.join(map(repr, known)) or 'none'}; the "
            "step that wrote it must keep the signature's names or return Names that map them"
        )
