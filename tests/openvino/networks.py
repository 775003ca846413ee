"""Tiny ONNX models made by hand, with their answers by ONNX's own reference, and as OpenVINO IR."""

from __future__ import annotations

import numpy as np
import onnx_format
from onnx import ModelProto, TensorProto, helper, numpy_helper, save_model
from onnx.reference import ReferenceEvaluator

from navigator_core import Context, Names
from navigator_openvino import convert

FLOAT = TensorProto.FLOAT


def value(name, shape, dtype=FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def model(nodes, inputs, outputs, weights=None, opset=17) -> ModelProto:
    made = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def drawn(*shape, seed=0):
    """Weights as a trained layer has them: the sum over the inputs keeps its size."""
    fan = shape[0] if len(shape) == 2 else int(np.prod(shape[1:]))
    return (np.random.default_rng((seed, *shape)).standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def rows(*shape, seed=0):
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32)


def two_in_two_out():
    """Two inputs and two outputs of different shape, so that none can be taken for another."""
    return model(
        [
            node("MatMul", "x w", "xw"),
            node("Mul", "xw gain", "scaled"),
            node("ReduceSum", "xw axes", "sum", keepdims=0),
        ],
        [value("x", ["batch", 3]), value("gain", [2])],
        [value("scaled", ["batch", 2]), value("sum", ["batch"])],
        {"w": drawn(3, 2), "axes": np.array([1])},
    )


def mlp():
    return model(
        [node("MatMul", "x w", "h"), node("Relu", "h", "r"), node("Gemm", "r v b", "y", name="head")],
        [value("x", ["batch", 32])],
        [value("y", ["batch", 8])],
        {"w": drawn(32, 64), "v": drawn(64, 8), "b": drawn(8, 1)[:, 0]},
    )


def convnet():
    return model(
        [
            node("Conv", "x w cb", "c", pads=[1, 1, 1, 1], name="conv"),
            node("Relu", "c", "r"),
            node("Conv", "r u cb", "d", pads=[1, 1, 1, 1], name="second"),
            node("Relu", "d", "s"),
            node("GlobalAveragePool", "s", "p"),
            node("Flatten", "p", "f"),
            node("Gemm", "f v", "y", name="head"),
        ],
        [value("x", ["batch", 3, 8, 8])],
        [value("y", ["batch", 4])],
        {"w": drawn(16, 3, 3, 3), "u": drawn(16, 16, 3, 3), "cb": drawn(16, 1)[:, 0], "v": drawn(16, 4)},
    )


def attention(width=16):
    """One head; both axes are dynamic."""
    return model(
        [
            *(node("MatMul", f"x w{name}", name, name=f"project_{name}") for name in "qkv"),
            node("Transpose", "k", "kt", perm=[0, 2, 1]),
            node("MatMul", "q kt", "qk"),
            node("Softmax", "qk", "weights", axis=-1),
            node("MatMul", "weights v", "mixed"),
            node("Add", "mixed x", "y"),
        ],
        [value("x", ["batch", "seq", width])],
        [value("y", ["batch", "seq", width])],
        {f"w{name}": drawn(width, width, seed=i) for i, name in enumerate("qkv")},
    )


def masked(width=16):
    """`attention` that leaves out what is not to be kept, by adding minus infinity, as torch exports it."""
    proto = attention(width)
    nodes = list(proto.graph.node)
    place = next(i for i, one in enumerate(nodes) if one.op_type == "Softmax")
    nodes[place].input[0] = "masked"
    nodes[place:place] = [node("Where", "keep nothing never", "mask"), node("Add", "qk mask", "masked")]
    weights = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    weights |= {"nothing": np.array(0, np.float32), "never": np.array(-np.inf, np.float32)}
    inputs = [*proto.graph.input, value("keep", ["batch", 1, "seq"], TensorProto.BOOL)]
    return model(nodes, inputs, list(proto.graph.output), weights)


def doubled(kind):
    """y = x + x of any element type, batch by 3."""
    shape = ["batch", 3]
    return model([node("Add", "x x", "y")], [value("x", shape, kind)], [value("y", shape, kind)])


def write(path, proto):
    save_model(proto, path)
    return path


def context(path, **fields):
    return Context(signature=onnx_format.signature(path), names=Names(), **fields)


def answers(path, inputs):
    """By ONNX's reference."""
    evaluator = ReferenceEvaluator(str(path))
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


def converted(folder, proto, **fields):
    """The model as IR, and the context that goes with it."""
    source = write(folder / "source.onnx", proto)
    given = context(source, **fields)
    convert.convert(source, folder / "model.xml", None, given)
    return folder / "model.xml", given
