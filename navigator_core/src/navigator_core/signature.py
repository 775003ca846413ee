"""What a model takes and returns: tensors by name with their axes, and the call they are part of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import attrs
from attrs import Factory, frozen

from navigator_core import structure as trees
from navigator_core.binding import Binding
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
        args, kwargs = self._binding.arguments(inputs)
        return Call(tuple(args), kwargs)

    def unbind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The inverse of `bind`, for any way of passing the same arguments: tensors by name.

        Raises RequestError naming the argument that is missing, surplus or built in another way.
        """
        return self._binding.unbind(args, kwargs)

    def straight(self, count: int, names: tuple[str, ...]) -> tuple[str, ...] | None:
        """For a call with so many positional arguments and these by name: the input that each is, in that order.

        None where one is no lone tensor, or an input is missing, or there is no such parameter.
        """
        return self._binding.straight(count, names)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """How the call is made; for a file, one parameter for each input in declared order."""
        if self.structure is not None:
            return self.structure.parameters
        return tuple(Parameter(spec.name, "either", "keyword", trees.Leaf(spec.name)) for spec in self.inputs)

    def flatten(self, outputs: Any) -> dict[str, Any]:
        """The source model's outputs by name: "logits", "hidden.1", a lone one "output"."""
        take = self._binding.flatten
        if take is None:
            return describe_outputs(outputs)[1]
        leaves: dict[str, Any] = {}
        take(outputs, leaves)
        return leaves

    def rebuild(self, outputs: Mapping[str, Any]) -> Any:
        """The inverse of `flatten`: outputs in the source model's own containers; a dict for a file."""
        return self._binding.rebuild(outputs)

    def call(self, model: Callable[..., Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Bind, call, flatten: the body of every eager runner."""
        args, kwargs = self._binding.arguments(inputs)
        return self.flatten(model(*args, **kwargs))

    @cached_property
    def _binding(self) -> Binding:
        return Binding(self)

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
