"""Batch normalization as single operations: the fused one computes in float32 only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from tensorflow.core.framework import node_def_pb2, types_pb2

FUSED = frozenset({"FusedBatchNormV2", "FusedBatchNormV3"})


def plain(node: Any) -> Iterator[Any]:
    """What stands for a node of a graph: itself, or its single operations where it normalizes with given moments.

    The last one has the node's name, as its first output is all that is used then.
    """
    if node.op not in FUSED or node.attr["is_training"].b or node.attr["data_format"].s not in (b"", b"NHWC"):
        yield node
        return
    x, scale, offset, mean, variance = node.input[:5]
    name, kind = node.name, node.attr["T"].type
    epsilon = node_def_pb2.NodeDef(name=f"{name}/epsilon", op="Const")
    epsilon.attr["dtype"].type = kind
    epsilon.attr["value"].tensor.dtype = types_pb2.DT_FLOAT
    epsilon.attr["value"].tensor.tensor_shape.SetInParent()
    epsilon.attr["value"].tensor.float_val.append(node.attr["epsilon"].f)
    yield epsilon
    yield _made("AddV2", f"{name}/sum", (variance, epsilon.name), kind)
    yield _made("Rsqrt", f"{name}/root", (f"{name}/sum",), kind)
    yield _made("Mul", f"{name}/factor", (f"{name}/root", scale), kind)
    yield _made("Sub", f"{name}/centered", (x, mean), kind)
    yield _made("Mul", f"{name}/scaled", (f"{name}/centered", f"{name}/factor"), kind)
    yield _made("AddV2", name, (f"{name}/scaled", offset), kind)


def _made(op: str, name: str, inputs: Sequence[str], kind: int) -> Any:
    node = node_def_pb2.NodeDef(name=name, op=op, input=inputs)
    node.attr["T"].type = kind
    return node
