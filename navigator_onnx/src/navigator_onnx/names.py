"""The signature's names and an artifact's own, matched by name and never by position."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen

from navigator_core import Context, TensorSpec
from navigator_core.errors import PluginError


@frozen
class Bindings:
    """Pairs of (ours, theirs): inputs that the artifact takes, outputs that are asked of it."""

    inputs: tuple[tuple[str, str], ...]
    outputs: tuple[tuple[str, str], ...]


def match(context: Context, takes: Sequence[str], gives: Sequence[str]) -> Bindings:
    """What to feed and what to fetch.

    An input of the signature that the artifact does not take is left out: an export drops what has no effect. With
    no outputs in the signature all are fetched. Raises PluginError where a name on the artifact's side is unknown.
    """
    inputs = _theirs(context.signature.inputs, context.names.inputs)
    outputs = _theirs(context.signature.outputs, context.names.outputs)
    if not outputs:
        back = {theirs: ours for ours, theirs in context.names.outputs.items()}
        outputs = {back.get(name, name): name for name in gives}
    ours = {theirs: name for name, theirs in inputs.items()}
    _refuse("takes", [name for name in takes if name not in ours], inputs.values())
    _refuse("lacks", [name for name in outputs.values() if name not in gives], gives)
    return Bindings(tuple((ours[name], name) for name in takes), tuple(outputs.items()))


def _theirs(specs: Iterable[TensorSpec], names: Mapping[str, str]) -> dict[str, str]:
    return {spec.name: names.get(spec.name, spec.name) for spec in specs}


def _refuse(verb: str, unknown: Sequence[str], known: Iterable[str]) -> None:
    if not unknown:
        return
    kind, side = ("input", "the signature leads to") if verb == "takes" else ("output", "it gives")
    raise PluginError(
        f"the artifact {verb} {kind} {', '.join(map(repr, unknown))}; {side} {', '.join(map(repr, known)) or 'none'}; "
        "the step that wrote it must keep the signature's names or return Names that map them"
    )
