"""A signature's calls, worked out once: which argument is which, how each is taken apart, what is put together.

`Signature` keeps one of these, because a loaded candidate is called more often than anything else here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from navigator_core import structure as trees
from navigator_core.errors import RequestError
from navigator_core.structure import Build, Take

if TYPE_CHECKING:
    from navigator_core.signature import Parameter, Signature

Plan = tuple[tuple[Take, ...], Sequence[str]]
"""How the arguments of a call are taken apart, one after the other, and the inputs that they do not hold."""


class Binding:
    """What `Signature.bind`, `unbind`, `flatten` and `rebuild` do."""

    def __init__(self, signature: Signature) -> None:
        structure = signature.structure
        output = structure.output if structure is not None else None
        self._inputs = tuple(spec.name for spec in signature.inputs)
        self._parameters = signature.parameters
        self._takes = tuple(map(_taking, self._parameters))
        self._positional = [n for n, p in enumerate(self._parameters) if p.kind in ("positional", "either")]
        self._builds = tuple((p, trees.building(p.node)) for p in self._parameters if p.node is not None)
        self._by_keyword = structure is None
        self._plan = lru_cache(maxsize=64)(self._planned)  # users pass arguments in one or two ways
        self.flatten = None if output is None else trees.flattening(output)
        self.rebuild = _file_outputs(signature) if output is None else trees.building(output)

    def arguments(self, inputs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """The source model's positional arguments for these tensors, and those by name."""
        if self._by_keyword:
            return (), dict(inputs)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter, build in self._builds:
            value = build(inputs)
            if parameter.kind == "variadic":
                args.extend(value)
            elif parameter.given == "positional":
                args.append(value)
            else:
                kwargs[parameter.name] = value
        return args, kwargs

    def unbind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The tensors of a call by name; RequestError as `Signature.unbind` says."""
        takes, missing = self._plan(len(args), tuple(kwargs))
        named = len(self._positional)
        if len(args) > named:
            args = (*args[:named], tuple(args[named:]))
        leaves: dict[str, Any] = {}
        for take, value in zip(takes, chain(args, kwargs.values()), strict=True):
            take(value, leaves)
        if missing:
            raise RequestError(f"missing input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}")
        return leaves

    def straight(self, count: int, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """What `Signature.straight` says."""
        try:
            nodes = [self._parameters[n].node for n in self._chosen(count, names)]
        except RequestError:
            return None
        found = tuple(node.name for node in nodes if isinstance(node, trees.Leaf))
        return found if len(found) == len(nodes) and len(found) == len(self._inputs) else None

    def _planned(self, count: int, names: tuple[str, ...]) -> Plan:
        """For all calls with so many positional arguments and these names, in this order."""
        found = self._chosen(count, names)
        held = {leaf.name for n in found for leaf in trees.leaves(self._parameters[n].node)}
        return tuple(self._takes[n] for n in found), [name for name in self._inputs if name not in held]

    def _chosen(self, count: int, names: tuple[str, ...]) -> list[int]:
        """The parameters that these arguments are for."""
        parameters = self._parameters
        found = self._positional[:count]
        if count > len(self._positional):
            rest = [n for n, p in enumerate(parameters) if p.kind == "variadic"]
            if not rest:
                raise RequestError(
                    f"{count} positional arguments where the model takes {len(self._positional)}: "
                    f"{', '.join(parameters[n].name for n in self._positional)}"
                )
            found.append(rest[0])
        by_name = {p.name: n for n, p in enumerate(parameters) if p.kind in ("either", "keyword")}
        for name in names:
            if name not in by_name:
                raise RequestError(
                    f"unknown argument {name!r}; the model takes {', '.join(p.name for p in parameters)}"
                )
            if by_name[name] in found:
                raise RequestError(f"argument {name!r} is given twice: by position and by name")
            found.append(by_name[name])
        return found


def _taking(parameter: Parameter) -> Take:
    """`structure.flattening` of an argument, whose errors name it."""
    name = parameter.name
    if parameter.node is None:

        def refuse(value: Any, leaves: dict[str, Any]) -> None:
            raise RequestError(
                f"argument {name!r} was left out in the samples, so it is fixed at its default; "
                "to use it, optimize again with samples that pass it"
            )

        return refuse
    inside = trees.flattening(parameter.node)

    def take(value: Any, leaves: dict[str, Any]) -> None:
        try:
            inside(value, leaves)
        except RequestError as error:
            raise RequestError(f"argument {name!r}: {error}") from None

    return take


def _file_outputs(signature: Signature) -> Build:
    """A file's outputs: a dict, in declared order where one is declared."""
    names = tuple(spec.name for spec in signature.outputs)
    return (lambda outputs: {name: outputs[name] for name in names}) if names else dict
