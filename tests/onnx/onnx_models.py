"""Tiny ONNX models made by hand, and the context a runner is given for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model

from navigator_core import Context, Names
from navigator_onnx.source import signature

FLOAT = TensorProto.FLOAT


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes, inputs, outputs, initializers=None, opset=17) -> ModelProto:
    weights = [numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def linear(weight=None, batch="batch") -> ModelProto:
    """y = x @ w + b, batch by 3 to batch by 2."""
    weight = np.arange(6, dtype=np.float32).reshape(3, 2) / 7 if weight is None else weight
    return model(
        [node("MatMul", "x w", "xw"), node("Add", "xw b", "y")],
        [value("x", [batch, 3])],
        [value("y", [batch, 2])],
        {"w": weight, "b": np.array([0.5, -0.25], np.float32)},
    )


def write(path: Path, proto: ModelProto, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(proto, path, **options)
    return path


def write_external(path: Path, proto: ModelProto, location="weights.data") -> Path:
    return write(path, proto, save_as_external_data=True, location=location, size_threshold=0)


def context(path: Path, inputs=None, outputs=None, **fields) -> Context:
    return Context(signature=signature(path), names=Names(inputs or {}, outputs or {}), **fields)
