"""What every rewriting of an ONNX file shares: weights stay on disk until they are written; the result is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common

from navigator_core import availability
from navigator_core.errors import NavigatorError, unknown
from navigator_onnx import proto
from navigator_onnx.requirements import ORT_CPU

INLINE = 2**28
"""Bytes of weights that still lie in the file itself: a message of protobuf is in memory twice while it is written, and
ends at 2 GiB."""


def read(source: Path) -> ir.Model:
    """The model with weights of side files mapped, not read; functions inlined, types and shapes inferred anew.

    What the file says of inner tensors is set aside: exporters leave what their last optimization made untrue.
    Raises RequestError as `proto.read` and `proto.side_files`.
    """
    message = proto.read(source)
    proto.side_files(message, source)
    for graph in proto.graphs(message.graph):
        del graph.value_info[:]
    model: ir.Model = ir.from_proto(message)
    ir.external_data.set_base_dir(model.graph, source.parent)
    ir.passes.Sequential(
        common.InlinePass(),
        common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        common.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True),
    )(model)
    return model


def write(model: ir.Model, output: Path) -> None:
    """Save it, large weights beside the file; one tensor at a time is in memory."""
    tensors = [value.const_value for graph in model.graphs() for value in graph.initializers.values()]
    large = sum(tensor.nbytes for tensor in tensors if tensor is not None) > INLINE
    if not large:
        ir.external_data.load_to_model(model)
    ir.save(model, output, external_data=side_file(output) if large else None)


def side_file(output: Path) -> str:
    """The name of the file for weights that are not inside."""
    return f"{output.name}.data"


def check(output: Path, *, load: bool = True) -> None:
    """Raises NavigatorError where the file is no valid model, or ONNX Runtime, where installed, cannot load it.

    ``load=False`` is for what ONNX Runtime runs on other devices only.
    """
    try:
        onnx.checker.check_model(str(output))
    except (onnx.checker.ValidationError, ValueError) as error:
        raise NavigatorError(f"the result is no valid ONNX model: {_first_line(error)}") from error
    if not load or availability.missing((ORT_CPU,)) is not None:
        return
    from navigator_onnx import run

    try:
        run.open_session(output, run.base_options("all"), [run.CPU])
    except Exception as error:  # of ONNX Runtime, which has no base class for what it raises
        raise NavigatorError(f"onnxruntime cannot load the result: {_first_line(error)}") from error


def require_nodes(kind: str, wanted: Iterable[str], known: Iterable[str | None]) -> None:
    """Raises RequestError for a name, of a node or of an operator, that the model does not have."""
    there = [name for name in known if name]
    for name in wanted:
        if name not in there:
            raise unknown(f"{kind} to exclude", name, there)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
