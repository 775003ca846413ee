"""Live models to ONNX, and what every export shares: flat tensors in, flat tensors out."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import Context, Dim, Names, Signature, samples
from navigator_core.errors import NavigatorError
from navigator_torch import quiet, tensors
from navigator_torch.adapted import adapted, as_declared
from navigator_torch.options import WRITTEN, WRITTEN_BY_TORCHSCRIPT

with quiet.exporting():  # what every export imports: once in a worker, not once in each of its steps
    import torch.export

if TYPE_CHECKING:
    import numpy as np

    from navigator_torch.options import Onnx

LARGEST_FILE = 2**28
"""Bytes of weights above which they lie beside the ONNX file: a message of protobuf is in memory twice while it is
written, and ends at 2 GiB."""

_FIXED = (
    r"You marked L\['tensors'\]\[(?P<input>\d+)\]\.size\(\)\[(?P<axis>\d+)\] as dynamic but your code specialized it "
    r"to be a constant \((?P<size>\d+)\)",
    r"inferred a static shape of (?P<size>\d+) for dimension "
    r"inputs\['tensors'\]\[(?P<input>\d+)\]\.shape\[(?P<axis>\d+)\]",
)
"""The two ways in which `torch.export` says that an axis became a constant."""


class Flat(torch.nn.Module):  # type: ignore[misc]
    """The model with its signature's tensors in declared order, in and out: what artifacts look like.

    ``cast``: outputs come in other types than the signature's, and are given in these.
    """

    def __init__(self, model: torch.nn.Module, signature: Signature, *, cast: bool = False) -> None:
        super().__init__()
        self.model = model
        self.signature = signature
        self.cast = cast
        self.training = False

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Bind, call, flatten."""
        inputs = {spec.name: tensor for spec, tensor in zip(self.signature.inputs, tensors, strict=True)}
        outputs = self.signature.call(self.model, inputs)
        if self.cast:
            outputs = as_declared(outputs, self.signature)
        return tuple(outputs[spec.name] for spec in self.signature.outputs)


def flat(model: torch.nn.Module, context: Context, autocast: str | None = None) -> Flat:
    """The model as every exporter takes it; with ``autocast`` in the half precision that the context promises."""
    return Flat(adapted(model, context, autocast=autocast), context.signature, cast=autocast is not None)


def example(context: Context) -> tuple[torch.Tensor, ...]:
    """One input set in declared order, of at least two rows, every dynamic axis of a size of its own.

    An exporter takes equal sizes for equal axes, and a size of one for a constant.
    """
    signature = context.signature
    best = max(context.samples, key=lambda sample: _telling(sample, signature))
    batch = signature.dims().get("batch")
    if batch is not None:
        best = samples.resize(best, signature, _batch_size(batch, best, signature))
    return tuple(tensors.from_numpy(best[s.name], context.device, s.dtype) for s in signature.inputs)


def _telling(sample: Mapping[str, np.ndarray], signature: Signature) -> tuple[int, int]:
    """How many dynamic axes are longer than one, and how many sizes are different."""
    sizes = {
        n.name: sample[spec.name].shape[axis]
        for spec in signature.inputs
        for axis, n in enumerate(spec.shape)
        if isinstance(n, Dim) and n.name != "batch"
    }
    return sum(size > 1 for size in sizes.values()), len(set(sizes.values()))


def _batch_size(batch: Dim, sample: Mapping[str, np.ndarray], signature: Signature) -> int:
    axes = {spec.name: spec.batch_axis for spec in signature.inputs}
    taken = {size for name, a in sample.items() for axis, size in enumerate(a.shape) if axis != axes.get(name)}
    sizes = range(max(2, batch.min), max(2, batch.min) + len(taken) + 1)
    return next(size for size in sizes if size not in taken)


def onnx(model: torch.nn.Module, output: Path, options: Onnx, context: Context) -> Names | None:
    """`torch.onnx.export` by way of `torch.export`; the file's names are the signature's.

    An output that is called like an input is renamed, and the names returned: a graph has one value for each name.

    Raises NavigatorError naming the axis where the model fixes one that the signature says is dynamic.
    """
    if options.opset < WRITTEN[0]:
        raise NavigatorError(
            f"torch.export writes opset {WRITTEN[0]} to {WRITTEN[1]}, not {options.opset}; the TorchScript exporter "
            f"(torch->onnx[torchscript]) writes {WRITTEN_BY_TORCHSCRIPT[0]} to {WRITTEN_BY_TORCHSCRIPT[1]}"
        )
    demand_source(model)
    signature = context.signature
    inputs = example(context)
    try:
        with torch.no_grad(), quiet.exporting():
            program = torch.onnx.export(
                flat(model, context),
                inputs,
                dynamic_shapes=(tuple(_axes(spec.shape) for spec in signature.inputs),),
                opset_version=options.opset,
                optimize=options.optimize,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:
        raise NavigatorError(explain(error, signature, "torch.onnx.export")) from error
    return write(program.model, output, options.opset, signature)


def demand_source(model: torch.nn.Module) -> None:
    """Raises NavigatorError for a scripted module, whose Python is gone."""
    if isinstance(model, torch.jit.ScriptModule):
        raise NavigatorError("torch.export takes no scripted module; give the module that was scripted")


def write(model: Any, output: Path, opset: int, signature: Signature) -> Names | None:
    """An exporter's result as a file with the signature's names, checked, without the user's source.

    Weights above `LARGEST_FILE` lie beside it. Raises NavigatorError where it is not what was asked for.
    """
    _check(model, signature, opset)
    names = _names(signature)
    _name(model.graph, signature, names)
    _forget_source(model.graph)
    weights = sum(math.prod(v.shape) * v.dtype.itemsize for v in model.graph.initializers.values())
    large = weights > LARGEST_FILE
    import onnx as file_format
    from onnxscript import ir

    ir.save(model, output, external_data=f"{output.name}.data" if large else None)
    file_format.checker.check_model(str(output))
    return names if names.outputs else None


def _names(signature: Signature) -> Names:
    taken = {spec.name for spec in (*signature.inputs, *signature.outputs)}
    inputs = {spec.name for spec in signature.inputs}
    outputs: dict[str, str] = {}
    for name in [spec.name for spec in signature.outputs if spec.name in inputs]:
        outputs[name] = next(new for n in itertools.count(1) if (new := f"{name}.out{n}") not in taken)
    return Names(outputs=outputs)


def _axes(shape: Sequence[int | Dim]) -> dict[int, Any]:
    """Dynamic axes by name: torch must not fix them, and may find two of them equal."""
    named = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 7)
    hint = torch.export.Dim.DYNAMIC
    return {i: n.name if named else hint for i, n in enumerate(shape) if isinstance(n, Dim)}


def explain(error: BaseException, signature: Signature, tool: str) -> str:
    """The sentence that helps, out of the exporter's long report: which axes became constants, else the first cause."""
    chain: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in chain:
        chain.append(link)
        link = link.__cause__
    text = "\n".join(map(str, chain))
    fixed = [
        f"axis {found['axis']} of {signature.inputs[int(found['input'])].name!r} at {found['size']}"
        for pattern in _FIXED
        for found in re.finditer(pattern, text)
    ]
    if fixed:
        return (
            f"the model fixes {', '.join(dict.fromkeys(fixed))}, but the samples show the axis to be dynamic; look in "
            "its forward for a constant where the size should follow the input (view, reshape, expand, int(shape[i]))"
        )
    first = " ".join(line.strip() for line in str(chain[-1]).strip().splitlines()[:2])
    return f"{tool} failed: {type(chain[-1]).__name__}: {first}"


def _check(model: Any, signature: Signature, opset: int) -> None:
    """What the exporter promises silently is asked of its result."""
    written = model.opset_imports.get("", opset)
    if written != opset:
        raise NavigatorError(f"torch wrote opset {written} where {opset} was asked for; ask for {written}")
    if len(model.graph.inputs) != len(signature.inputs) or len(model.graph.outputs) != len(signature.outputs):
        raise NavigatorError(
            f"the graph has {len(model.graph.inputs)} inputs and {len(model.graph.outputs)} outputs, the model "
            f"{len(signature.inputs)} and {len(signature.outputs)}"
        )
    values, specs = [*model.graph.inputs, *model.graph.outputs], [*signature.inputs, *signature.outputs]
    for value, spec in zip(values, specs, strict=True):
        for axis, n in enumerate(spec.shape if value.shape is not None else ()):
            if isinstance(n, Dim) and isinstance(value.shape[axis], int):
                raise NavigatorError(
                    f"the export fixes axis {axis} of {spec.name!r} at {value.shape[axis]}, but the samples show it "
                    "to be dynamic"
                )


def _forget_source(graph: Any) -> None:
    """The lines of the user's source that made each node, and where they lie, are not for whoever gets the file."""
    for node in graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)


def _name(graph: Any, signature: Signature, renamed: Names) -> None:
    """Give inputs and outputs the signature's names; inner values that bear one of these give way."""
    from onnxscript import ir

    used = set(graph.inputs)
    for position, value in enumerate(list(graph.outputs)):
        if value in used or value.is_initializer():  # an input or weight handed through, or an output given twice
            node = ir.Node("", "Identity", [value])
            node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
            graph.append(node)
            graph.outputs[position] = node.outputs[0]
        used.add(graph.outputs[position])
    names = {spec.name for spec in (*signature.inputs, *signature.outputs)} | set(renamed.outputs.values())
    for number, value in enumerate(out for node in graph.all_nodes() for out in node.outputs):
        if value.name in names:
            value.name = f"{value.name}/{number}"
    for values, specs in ((graph.inputs, signature.inputs), (graph.outputs, signature.outputs)):
        for value, spec in zip(values, specs, strict=True):
            value.name = renamed.outputs.get(spec.name, spec.name) if values is graph.outputs else spec.name
