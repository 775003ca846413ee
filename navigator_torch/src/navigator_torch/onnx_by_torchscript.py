"""Live models to ONNX by way of TorchScript: `torch.onnx.export` as it was before `torch.export`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import Context, Dim, Names, Signature
from navigator_core.errors import NavigatorError
from navigator_torch import quiet, torchscript
from navigator_torch.export import example, write
from navigator_torch.options import WRITTEN_BY_TORCHSCRIPT

if TYPE_CHECKING:
    from navigator_torch.options import OnnxByTorchScript

ELEMENTS = {"float32": "FLOAT", "float64": "DOUBLE"}
"""What ONNX calls the element types that it does not call as torch does."""


def onnx(model: torch.nn.Module, output: Path, options: OnnxByTorchScript, context: Context) -> Names | None:
    """A trace, or the compiled source with its control flow, as ONNX; names are the signature's.

    An output that is called like an input is renamed, and the names returned. Raises NavigatorError naming the axis
    where the export fixes one that the signature says is dynamic.
    """
    oldest, newest = WRITTEN_BY_TORCHSCRIPT
    if options.opset > newest:
        raise NavigatorError(
            f"the TorchScript exporter writes opset {oldest} to {newest}, not {options.opset}; torch->onnx[dynamo] does"
        )
    make = torchscript.traced if options.method == "trace" else torchscript.scripted
    with torch.no_grad(), quiet.exporting(), tempfile.TemporaryDirectory(dir=output.parent) as folder:
        file = Path(folder) / output.name
        _export(make(model, context), file, options, context)
        from onnxscript import ir

        written = ir.load(file)
        _restore_unused(written.graph, context.signature)
        _name_axes(written.graph, context.signature)
        return write(written, output, options.opset, context.signature)


def _export(scripted: Any, file: Path, options: OnnxByTorchScript, context: Context) -> None:
    signature = context.signature
    places = _places(signature)
    try:
        torch.onnx.export(
            scripted,
            example(context),
            str(file),
            dynamo=False,
            opset_version=options.opset,
            do_constant_folding=options.optimize,
            input_names=places,
            dynamic_axes={
                place: {axis: n.name for axis, n in enumerate(spec.shape) if isinstance(n, Dim)}
                for place, spec in zip(places, signature.inputs, strict=True)
            },
        )
    except Exception as error:
        first = " ".join(line.strip() for line in str(error).strip().splitlines()[:2])
        raise NavigatorError(f"torch.onnx.export failed: {type(error).__name__}: {first}") from error


def _places(signature: Signature) -> list[str]:
    """What the inputs are called on the way: names that no value of the model's has."""
    return [f"navigator.{number}" for number in range(len(signature.inputs))]


def _restore_unused(graph: Any, signature: Signature) -> None:
    """The exporter drops inputs that reach no output; the file takes what the model takes."""
    from onnxscript import ir

    there = {value.name: value for value in graph.inputs}
    graph.inputs.clear()
    for place, spec in zip(_places(signature), signature.inputs, strict=True):
        shape = [n.name if isinstance(n, Dim) else n for n in spec.shape]
        kind = ir.DataType[ELEMENTS.get(spec.dtype, spec.dtype.upper())]
        unused = ir.Value(name=place, shape=ir.Shape(shape), type=ir.TensorType(kind))
        graph.inputs.append(there.get(place, unused))


def _name_axes(graph: Any, signature: Signature) -> None:
    """Dynamic axes of the outputs by the signature's names, where the exporter made up others."""
    from onnxscript import ir

    for value, spec in zip(graph.outputs, signature.outputs, strict=False):
        if value.shape is not None and len(value.shape) == len(spec.shape):
            axes = zip(value.shape, spec.shape, strict=True)
            value.shape = ir.Shape([n if isinstance(n, int) or isinstance(m, int) else m.name for n, m in axes])
