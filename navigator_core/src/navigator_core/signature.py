"""What a model takes and returns: tensors by name with their axes, and the call they are part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import attrs
from attrs import Factory, frozen

from navigator_core import structure as trees
from navigator_core.errors import RequestError
from navigator_core.structure import Node

BATCH = "batch"


@frozen
class Dim:
    """A dynamic axis. The one named "batch" is the batch. ``max=None``: no upper end is known."""

    name: str
    min: int = 1
    max: int | None = None


@frozen
class TensorSpec:
    """A tensor: element type such as "float32", "bfloat16", "int64"; fixed axes are ints, dynamic ones `Dim`."""

    name: str
    dtype: str
    shape: tuple[int | Dim, ...]

    @property
    def batch_axis(self) -> int | None:
        """The position of the batch axis; None where the tensor has none."""
        return next((i for i, n in enumerate(self.shape) if isinstance(n, Dim) and n.name == BATCH), None)


@frozen
class Names:
    """Returned where an artifact could not keep the signature's names: ``{ours: theirs}``."""

    inputs: Mapping[str, str] = Factory(dict)
    outputs: Mapping[str, str] = Factory(dict)


@frozen
class Call:
    """One call of a model: what stands in the parentheses."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = Factory(dict)


@frozen
class Parameter:
    """One parameter of the model's call.

    ``given`` says how the samples pass it; "absent" ones keep the model's default. ``node`` is how the argument is
    built, None when absent.
    """

    name: str
    kind: Literal["positional", "either", "keyword", "variadic"]
    given: Literal["positional", "keyword", "absent"]
    node: Node | None = None


@frozen
class Structure:
    """How the call and the result are built; ``output`` is known once the reference has run."""

    parameters: tuple[Parameter, ...]
    output: Node | None = None


@frozen
class Signature:
    """Inputs and outputs by name, and the structure that puts them into the source model's own call.

    ``structure=None`` is a file's: inputs go by name or in declared order, outputs come as a dict.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...] = ()
    structure: Structure | None = None

    def bind(self, inputs: Mapping[str, Any]) -> Call:
        """The source model's own call for these tensors."""
        if self.structure is None:
            return Call((), dict(inputs))
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self.structure.parameters:
            if parameter.node is None:
                continue
            value = trees.rebuild(parameter.node, inputs)
            if parameter.kind == "variadic":
                args.extend(value)
            elif parameter.given == "positional":
                args.append(value)
            else:
                kwargs[parameter.name] = value
        return Call(tuple(args), kwargs)

    def unbind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `bind`, for any way of passing the same arguments: tensors by name.

        Raises RequestError naming the argument that is missing, surplus or built in another way.
        """
        leaves: dict[str, Any] = {}
        for parameter, value in self._arguments(args, kwargs):
            if parameter.node is None:
                raise RequestError(
                    f"argument {parameter.name!r} was left out in the samples, so it is fixed at its default; "
                    "to use it, optimize again with samples that pass it"
                )
            leaves.update(_unbind(parameter, value))
        missing = [spec.name for spec in self.inputs if spec.name not in leaves]
        if missing:
            raise RequestError(f"missing input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}")
        return leaves

    def _arguments(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> list[tuple[Parameter, Any]]:
        parameters = self.parameters
        positional = [p for p in parameters if p.kind in ("positional", "either")]
        rest = next((p for p in parameters if p.kind == "variadic"), None)
        found = list(zip(positional, args, strict=False))
        if rest is not None and len(args) > len(positional):
            found.append((rest, tuple(args[len(positional) :])))
        elif len(args) > len(positional):
            raise RequestError(
                f"{len(args)} positional arguments where the model takes {len(positional)}: "
                f"{', '.join(p.name for p in positional)}"
            )
        by_name = {p.name: p for p in parameters if p.kind in ("either", "keyword")}
        for name, value in kwargs.items():
            if name not in by_name:
                raise RequestError(
                    f"unknown argument {name!r}; the model takes {', '.join(p.name for p in parameters)}"
                )
            if any(parameter is by_name[name] for parameter, _ in found):
                raise RequestError(f"argument {name!r} is given twice: by position and by name")
            found.append((by_name[name], value))
        return found

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """How the call is made; for a file, one parameter for each input in declared order."""
        if self.structure is not None:
            return self.structure.parameters
        return tuple(Parameter(spec.name, "either", "keyword", trees.Leaf(spec.name)) for spec in self.inputs)

    def flatten(self, outputs: Any) -> dict[str, Any]:
        """The source model's outputs by name: "logits", "hidden.1", a lone one "output"."""
        if self.structure is not None and self.structure.output is not None:
            return trees.flatten(self.structure.output, outputs)
        return describe_outputs(outputs)[1]

    def rebuild(self, outputs: Mapping[str, Any]) -> Any:
        """The inverse of `flatten`: outputs in the source model's own containers; a dict for a file."""
        if self.structure is None or self.structure.output is None:
            return {spec.name: outputs[spec.name] for spec in self.outputs} if self.outputs else dict(outputs)
        return trees.rebuild(self.structure.output, outputs)

    def call(self, model: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Bind, call, flatten: the body of every eager runner."""
        call = self.bind(inputs)
        return self.flatten(model(*call.args, **call.kwargs))

    def dims(self) -> dict[str, Dim]:
        """The dynamic axes of the inputs by name."""
        return {n.name: n for spec in self.inputs for n in spec.shape if isinstance(n, Dim)}

    def with_parameters(self, parameters: tuple[Parameter, ...] | None) -> Signature:
        """The same signature with these parameters, whose constants are the caller's own objects."""
        if self.structure is None or parameters is None:
            return self
        return attrs.evolve(self, structure=attrs.evolve(self.structure, parameters=parameters))

    def with_structure_of(self, other: Signature) -> Signature:
        """The same tensors in another's calling convention; both name their tensors alike."""
        return attrs.evolve(self, structure=other.structure)

    def with_batch(self, largest: int) -> Signature:
        """The same signature with the batch axis reaching up to ``largest``."""

        def widen(spec: TensorSpec) -> TensorSpec:
            shape = tuple(
                attrs.evolve(n, max=max(n.max or 1, largest)) if isinstance(n, Dim) and n.name == BATCH else n
                for n in spec.shape
            )
            return attrs.evolve(spec, shape=shape)

        return attrs.evolve(self, inputs=tuple(map(widen, self.inputs)), outputs=tuple(map(widen, self.outputs)))


def describe_outputs(outputs: Any) -> tuple[Node, dict[str, Any]]:
    """The tree and the tensors of what a model returned; a lone tensor is "output".

    Raises RequestError for an output that is neither tensor, container nor plain constant, and for none at all.
    """
    node, found = trees.describe(outputs, "", constants=False)
    if isinstance(node, trees.Leaf):
        return trees.Leaf("output"), {"output": outputs}
    if not found:
        raise RequestError(f"the model returned {trees.brief(outputs)}, which holds no tensor")
    return node, found


def _unbind(parameter: Parameter, value: Any) -> dict[str, Any]:
    if parameter.node is None:
        return {}
    try:
        return trees.flatten(parameter.node, value)
    except RequestError as error:
        raise RequestError(f"argument {parameter.name!r}: {error}") from None
