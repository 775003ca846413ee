"""ONNX to ONNX in half precision: what computes in fp32 computes in fp16 or bf16, what is sensitive stays.

An operator is converted where its own schema says that the half type is as good to it as float32, so nothing is
guessed by name. Inputs and outputs of the model keep their types: casts are inside.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir

from navigator_core import Context, Names
from navigator_core.errors import NothingToDoError
from navigator_onnx import rewrite
from navigator_onnx.options import HalfOptions

# fmt: off
SENSITIVE = frozenset({
    # sums that overflow or lose their small parts, and functions that magnify an error
    "CumSum", "DFT", "Exp", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "Log", "LogSoftmax",
    "LpNormalization", "MeanVarianceNormalization", "Pow", "RMSNormalization", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare", "STFT", "ScatterElements",
    "ScatterND", "Softmax", "Softplus",
    # values that decide a place, an order or an integer
    "Ceil", "DequantizeLinear", "DynamicQuantizeLinear", "Floor", "GridSample", "MaxRoiPool", "Mod", "QuantizeLinear",
    "Range", "Resize", "RoiAlign", "Round", "TopK", "Upsample",
})
# fmt: on
"""Operators that compute in fp32 unless ``keep_sensitive`` is off."""

NAMES = {ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16"}


def fp16(source: Path, output: Path, options: HalfOptions, context: Context) -> Names:
    """Write the model with weights and compute in fp16. Raises as `convert`."""
    return convert(source, output, options, context, ir.DataType.FLOAT16)


def bf16(source: Path, output: Path, options: HalfOptions, context: Context) -> Names:
    """Write the model with weights and compute in bf16. Raises as `convert`."""
    return convert(source, output, options, context, ir.DataType.BFLOAT16)


def convert(source: Path, output: Path, options: HalfOptions, context: Context, low: ir.DataType) -> Names:
    """Write ``source`` with its fp32 arithmetic in ``low``; tensors keep their names, axes stay dynamic.

    Raises NothingToDoError where nothing computes in fp32, NavigatorError where the result does not load, RequestError
    for a node or operator in the options that the model does not have.
    """
    model = rewrite.read(source)
    rewrite.require_nodes("node", options.nodes_to_exclude, (node.name for node in model.graph))
    rewrite.require_nodes("operator", options.op_types_to_exclude, (node.op_type for node in model.graph))
    excluded = {*options.op_types_to_exclude, *(SENSITIVE if options.keep_sensitive else ())}
    rewriting = _Rewriting(model, low)
    for node in tuple(model.graph):
        if node.op_type not in excluded and node.name not in options.nodes_to_exclude:
            rewriting.lower(node)
    if not rewriting.lowered:
        raise NothingToDoError(
            f"nothing in this model that may be converted computes in fp32, so {NAMES[low]} changes nothing"
        )
    rewriting.tidy()
    rewrite.write(model, output)
    rewrite.check(output, load=low != ir.DataType.BFLOAT16)  # its CPU kernels know no bfloat16
    return context.names


class _Rewriting:
    """The graph on its way to half precision: which fp32 values have a half twin already."""

    def __init__(self, model: ir.Model, low: ir.DataType) -> None:
        self.graph = model.graph
        self.opsets = model.opset_imports
        self.low = low
        self.lowered = 0
        self._twins: dict[ir.Value, ir.Value] = {}
        self._casts_back: list[ir.Node] = []

    def lower(self, node: ir.Node) -> None:
        """Have a node compute in half, where its schema lets it; everybody else sees its results in fp32 as before."""
        inputs, outputs = _lowerable(node, self.opsets, self.low)
        if not inputs or not outputs:
            return
        for index in inputs:
            value = node.inputs[index]
            assert value is not None
            node.replace_input_with(index, self._twin(value, node))
        for value in outputs:
            cast = ir.node("Cast", [value], attributes={"to": ir.DataType.FLOAT}, name=f"{value.name}_to_fp32")
            wide = cast.outputs[0]
            wide.type, wide.shape = ir.TensorType(ir.DataType.FLOAT), value.shape
            value.replace_all_uses_with(wide, replace_graph_outputs=True)
            cast.replace_input_with(0, value)
            wide.name, value.name = value.name, f"{value.name}_{NAMES[self.low]}"
            value.dtype = self.low
            self.graph.insert_after(node, cast)
            self._twins[wide] = value
            self._casts_back.append(cast)
        self.lowered += 1

    def tidy(self) -> None:
        """Take out casts and weights that nobody uses any more."""
        for cast in self._casts_back:
            if not cast.outputs[0].uses() and not cast.outputs[0].is_graph_output():
                self.graph.remove(cast, safe=True)
        for name, value in list(self.graph.initializers.items()):
            if not value.uses() and not value.is_graph_output() and value in self._twins:
                del self.graph.initializers[name]

    def _twin(self, value: ir.Value, node: ir.Node) -> ir.Value:
        if value not in self._twins:
            is_weight = value.is_initializer() and not value.is_graph_input()
            self._twins[value] = self._weight(value) if is_weight else self._cast(value, node)
        return self._twins[value]

    def _cast(self, value: ir.Value, node: ir.Node) -> ir.Value:
        cast = ir.node("Cast", [value], attributes={"to": self.low}, name=f"{value.name}_to_{NAMES[self.low]}")
        found = cast.outputs[0]
        found.name, found.type, found.shape = f"{value.name}_{NAMES[self.low]}", ir.TensorType(self.low), value.shape
        self.graph.insert_before(node, cast)
        return found

    def _weight(self, value: ir.Value) -> ir.Value:
        name = f"{value.name}_{NAMES[self.low]}"
        assert value.const_value is not None
        lazy = _later(value.const_value, self.low, name)
        found = ir.Value(name=name, type=ir.TensorType(self.low), shape=lazy.shape, const_value=lazy)
        self.graph.register_initializer(found)
        return found


def _later(tensor: ir.TensorProtocol, low: ir.DataType, name: str) -> ir.LazyTensor:
    """The rounded tensor, made when it is written: one at a time is in memory."""
    shape = ir.Shape(tensor.shape.numpy())
    return ir.LazyTensor(lambda: ir.tensor(rounded(tensor.numpy(), low), name=name), low, shape, name=name)


def rounded(array: np.ndarray, low: ir.DataType) -> np.ndarray:
    """Finite numbers stay finite and others than zero stay so: an epsilon that vanished would divide by zero."""
    dtype = np.dtype(np.float16) if low == ir.DataType.FLOAT16 else np.dtype(ml_dtypes.bfloat16)
    limits = ml_dtypes.finfo(dtype)
    largest, smallest = float(limits.max), float(limits.smallest_subnormal)
    kept = np.where(np.isfinite(array), np.clip(array, -largest, largest), array)
    found: np.ndarray = kept.astype(dtype)
    vanished = (found == 0) & (array != 0)
    return np.where(vanished, np.copysign(smallest, array).astype(dtype), found) if vanished.any() else found


def _lowerable(node: ir.Node, opsets: dict[str, int], low: ir.DataType) -> tuple[tuple[int, ...], tuple[ir.Value, ...]]:
    """Which inputs and outputs of a node may be of the half type: those of type variables that allow it."""
    nothing: tuple[tuple[int, ...], tuple[ir.Value, ...]] = ((), ())
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        return nothing
    if node.op_type in ("Cast", "Constant"):
        return nothing
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets.get(node.domain) or opsets.get("ai.onnx", 0), node.domain)
    except onnx.defs.SchemaError:  # of a runtime's own domain: nobody says what it takes
        return nothing
    half = "tensor(float16)" if low == ir.DataType.FLOAT16 else "tensor(bfloat16)"
    free = {
        one.type_param_str for one in schema.type_constraints if {"tensor(float)", half} <= set(one.allowed_type_strs)
    }
    taken = [
        (index, value, _variable(schema.inputs, index)) for index, value in enumerate(node.inputs) if value is not None
    ]
    free -= {variable for _, value, variable in taken if value.dtype != ir.DataType.FLOAT}
    bound = {variable for _, _, variable in taken} & free
    given = [value for index, value in enumerate(node.outputs) if _variable(schema.outputs, index) in bound]
    return (
        tuple(index for index, _, variable in taken if variable in bound),
        tuple(value for value in given if value.name),  # one without a name is left out
    )


def _variable(formal: Collection[onnx.defs.OpSchema.FormalParameter], index: int) -> str:
    """The type variable of an argument; those that are variable in number repeat the last one."""
    listed = list(formal)
    return str(listed[min(index, len(listed) - 1)].type_str)
