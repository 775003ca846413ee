"""ONNX to ONNX with fewer nodes: constants folded, patterns fused, what is double or unused taken out, by onnxslim."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import onnx_ir as ir
import onnxslim

from navigator_core import Context, Names
from navigator_core.errors import NothingToDoError
from navigator_onnx import proto, rewrite
from navigator_onnx.options import SlimOptions


def simplify(source: Path, output: Path, options: SlimOptions, context: Context) -> Names:
    """Write the model with fewer nodes or weights, in its own precision; onnxslim holds the weights in memory.

    Raises NothingToDoError where nothing gets simpler, NavigatorError where the result does not load.
    """
    before = _content(proto.read(source))
    slimmed = onnxslim.slim(str(source), skip_optimizations=list(options.skip_optimizations))
    if _content(slimmed) == before:
        raise NothingToDoError("onnxslim finds nothing to simplify in this model")
    model = ir.from_proto(slimmed)
    del slimmed
    rewrite.write(model, output)
    del model  # it holds the weights, and so does the session that checks them
    rewrite.check(output)
    return context.names


def _content(model: onnx.ModelProto) -> tuple[Counter[str], Counter[tuple[int, ...]]]:
    """What a model is made of: how many nodes of each operator, how many weights of each shape; constants are none."""
    nodes = Counter(node.op_type for node in model.graph.node if node.op_type != "Constant")
    return nodes, Counter(tuple(tensor.dims) for tensor in model.graph.initializer)
