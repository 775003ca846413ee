"""Exported programs: live models to ``model.pt2`` by `torch.export`, and running such files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import Context, Dim, LoadedModel, Signature
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.signature import BATCH
from navigator_torch import program, quiet
from navigator_torch.export import demand_source, example, explain, flat
from navigator_torch.run import loaded_model

with quiet.exporting():  # once in a worker, not once in each of its steps
    import torch.export

if TYPE_CHECKING:
    from navigator_torch.options import ExportedProgram, ToExportedProgram


def export(model: torch.nn.Module, output: Path, options: ToExportedProgram, context: Context) -> None:
    """Write the model with flat tensors in and a tuple of tensors out; no source is needed to load it.

    Raises NavigatorError naming the axis where the model fixes one that the signature says is dynamic.
    """
    demand_source(model)
    inputs = example(context)
    axes = tuple(_axes(spec.shape, x.shape) for spec, x in zip(context.signature.inputs, inputs, strict=True))
    ready = flat(model, context, options.autocast)
    with torch.no_grad(), quiet.exporting():
        try:
            made = torch.export.export(ready, inputs, dynamic_shapes=(axes,), strict=False)
        except Exception as error:
            raise NavigatorError(explain(error, context.signature, "torch.export.export")) from error
        _forget_source(made)
        torch.export.save(made, output)


def _axes(shape: Sequence[int | Dim], example: Sequence[int]) -> dict[int, Any]:
    """Dynamic axes with their range, as far as this torch takes one; the example's size may lie above it.

    A batch may be of any size. Axes have no names: two of them may turn out equal.
    """
    hint = torch.export.Dim.DYNAMIC

    def axis(n: Dim, size: int) -> Any:
        largest = None if n.max is None or n.name == BATCH else max(n.max, size)
        return hint(min=n.min, max=largest) if callable(hint) else hint

    axes = enumerate(zip(shape, example, strict=True))
    return {i: axis(n, size) for i, (n, size) in axes if isinstance(n, Dim)}


def _forget_source(made: Any) -> None:
    """The lines of the user's source that made each node, and where they lie, are not for whoever gets the file."""
    for module in made.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)


def load(path: Path, device: str) -> Any:
    """The program with its weights and constants on ``device``."""
    with quiet.exporting():
        return program.move(torch.export.load(path), device)


def run(model: Path, options: ExportedProgram, context: Context) -> LoadedModel:
    """An exported program on the context's device, called with tensors in the signature's order."""
    module = load(model, context.device).module()
    ordered = in_order(context.signature)
    outputs = [spec.name for spec in context.signature.outputs]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, module(*ordered(tensors)), strict=True))

    return loaded_model(call, context, options.threads)


def in_order(signature: Signature) -> Callable[[Mapping[str, Any]], list[Any]]:
    """Tensors as what was compiled ahead takes them: in the signature's order, in memory as they were exported.

    What was compiled does not ask for sizes and strides again: it would read past the end of a tensor. The function
    raises RequestError where a tensor does not fit the signature.
    """
    specs = [(spec, len(spec.shape), tuple(enumerate(spec.shape))) for spec in signature.inputs]

    def ordered(tensors: Mapping[str, Any]) -> list[Any]:
        found, sizes = [], dict[str, int]()
        for spec, rank, axes in specs:
            tensor = tensors[spec.name]
            shape = tensor.shape
            fits = len(shape) == rank
            for axis, n in axes if fits else ():
                size = shape[axis]
                if isinstance(n, int):
                    fits = fits and size == n
                else:
                    largest = None if n.name == BATCH else n.max
                    fits = fits and n.min <= size == sizes.setdefault(n.name, size) and (not largest or size <= largest)
            if not fits:
                raise RequestError(_misfit(spec.name, spec.shape, shape, sizes))
            found.append(tensor if tensor.is_contiguous() else tensor.contiguous())
        return found

    return ordered


def _misfit(name: str, wanted: Sequence[int | Dim], shape: Sequence[int], sizes: Mapping[str, int]) -> str:
    words = [
        str(n)
        if isinstance(n, int)
        else f"{n.name} from {n.min}" + (f" to {n.max}" if n.max and n.name != BATCH else "")
        for n in wanted
    ]
    taken = "".join(
        f"; {n.name} is {sizes[n.name]} in this call"
        for n in wanted
        if isinstance(n, Dim) and n.name in sizes and sizes[n.name] not in shape
    )
    return (
        f"input {name!r} has the shape ({', '.join(map(str, shape))}), and the model was exported for "
        f"({', '.join(words)}){taken}; for other sizes, optimize again with samples that have them"
    )
