"""Files that OpenVINO reads by itself, ONNX and SavedModel, to IR: shaped for the samples, loaded before it counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from navigator_core import Context, Dim, Names, TensorSpec
from navigator_core.errors import NavigatorError
from navigator_core.signature import BATCH
from navigator_openvino import engine, names
from navigator_openvino.engine import openvino


def convert(source: Path, output: Path, options: None, context: Context) -> Names:
    """Write the IR, its weights beside it. Raises NavigatorError with what OpenVINO says where it cannot."""
    try:
        model = openvino.convert_model(source)
    except Exception as error:  # its own exceptions share no base
        raise NavigatorError(f"OpenVINO cannot convert {source.name}: {engine.said(error)}") from error
    return write(model, output, context)


def write(model: Any, output: Path, context: Context) -> Names:
    """Shape the model, save it with its weights as they are, and have it compiled once."""
    shape(model, context)
    openvino.save_model(model, output, compress_to_fp16=False)
    check(output)
    return context.names


def shape(model: Any, context: Context) -> None:
    """Fix the axes that the samples have fixed and give the others their range; a batch may be of any size.

    Raises NavigatorError where the model does not go with these shapes.
    """
    specs = {spec.name: spec for spec in context.signature.inputs}
    bound = names.match(context, model.inputs, model.outputs)
    wanted = {model.inputs[place]: openvino.PartialShape(axes(specs[ours])) for ours, place in bound.inputs}
    try:
        model.reshape(wanted)
    except RuntimeError as error:
        shapes = ", ".join(f"{ours} {wanted[model.inputs[place]]}" for ours, place in bound.inputs)
        raise NavigatorError(f"the model does not go with inputs {shapes}: {engine.said(error)}") from error


def axes(spec: TensorSpec) -> list[openvino.Dimension]:
    """The shape of a tensor as OpenVINO has it."""
    return [openvino.Dimension(*_range(n)) for n in spec.shape]


def _range(n: int | Dim) -> tuple[int, ...]:
    if not isinstance(n, Dim):
        return (n,)
    return (-1,) if n.name == BATCH else (n.min, -1 if n.max is None else n.max)


def check(output: Path) -> None:
    """Raises NavigatorError where OpenVINO cannot compile what was written."""
    try:
        engine.core().compile_model(output, engine.CPU)
    except RuntimeError as error:
        raise NavigatorError(f"OpenVINO cannot load the result: {engine.said(error)}") from error
