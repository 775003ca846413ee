"""Tiny ONNX models made by hand, and the context a runner is given for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, load, numpy_helper, save_model

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


def drawn(*shape, seed=0) -> np.ndarray:
    """Weights as a trained layer has them: the sum over the inputs keeps its size."""
    fan = int(np.prod(shape[:-1])) if len(shape) == 2 else int(np.prod(shape[1:]))
    return (np.random.default_rng((seed, *shape)).standard_normal(shape) / np.sqrt(fan)).astype(np.float32)


def mlp(opset=17) -> ModelProto:
    """MatMul and Gemm with a Relu between them, batch by 64 to batch by 32."""
    return model(
        [
            node("MatMul", "x w1", "xw", name="first"),
            node("Add", "xw b1", "h", name="bias"),
            node("Relu", "h", "r", name="relu"),
            node("Gemm", "r w2 b2", "y", transB=1, name="second"),
        ],
        [value("x", ["batch", 64])],
        [value("y", ["batch", 32])],
        {"w1": drawn(64, 128), "b1": drawn(1, 128)[0], "w2": drawn(32, 128).copy(), "b2": drawn(1, 32)[0]},
        opset,
    )


def convnet() -> ModelProto:
    """Conv, BatchNormalization, Relu, MaxPool, Gemm: batch of 3 x 8 x 8 to batch by 10."""
    return model(
        [
            node("Conv", "x w cb", "c", pads=[1, 1, 1, 1], name="conv"),
            node("BatchNormalization", "c scale shift mean var", "n", name="norm"),
            node("Relu", "n", "r", name="relu"),
            node("MaxPool", "r", "p", kernel_shape=[2, 2], strides=[2, 2], name="pool"),
            node("Flatten", "p", "f", name="flatten"),
            node("Gemm", "f g gb", "y", name="head"),
        ],
        [value("x", ["batch", 3, 8, 8])],
        [value("y", ["batch", 10])],
        {
            "w": drawn(16, 3, 3, 3),
            "cb": drawn(1, 16)[0],
            "scale": np.ones(16, np.float32),
            "shift": drawn(1, 16, seed=1)[0],
            "mean": drawn(1, 16, seed=2)[0],
            "var": np.full(16, 0.9, np.float32),
            "g": drawn(256, 10),
            "gb": drawn(1, 10)[0],
        },
    )


def attention(width=32) -> ModelProto:
    """One head with a residual and a LayerNormalization: batch by seq by width, both axes dynamic."""
    shape = ["batch", "seq", width]
    return model(
        [
            *(node("MatMul", f"x w{name}", name, name=f"project_{name}") for name in "qkv"),
            node("Transpose", "k", "kt", perm=[0, 2, 1], name="turn"),
            node("MatMul", "q kt", "qk", name="scores"),
            node("Mul", "qk scale", "scaled", name="scale_it"),
            node("Softmax", "scaled", "weights", axis=-1, name="softmax"),
            node("MatMul", "weights v", "mixed", name="mix"),
            node("MatMul", "mixed wo", "out", name="project_out"),
            node("Add", "out x", "sum", name="residual"),
            node("LayerNormalization", "sum gain shift", "y", axis=-1, epsilon=1e-5, name="norm"),
        ],
        [value("x", shape)],
        [value("y", shape)],
        {
            **{f"w{name}": drawn(width, width, seed=i) for i, name in enumerate("qkvo")},
            "scale": np.array(width**-0.5, np.float32),
            "gain": np.ones(width, np.float32),
            "shift": np.zeros(width, np.float32),
        },
    )


NETWORKS = {"mlp": (mlp, (5, 64)), "convnet": (convnet, (5, 3, 8, 8)), "attention": (attention, (5, 7, 32))}
"""Small networks of the usual kinds, with the shape of an input."""


def inputs(name: str, rows: int | None = None, seed=0) -> dict[str, np.ndarray]:
    """What one of `NETWORKS` is called with."""
    shape = NETWORKS[name][1]
    shape = shape if rows is None else (rows, *shape[1:])
    return {"x": np.random.default_rng((seed, rows or 0)).standard_normal(shape).astype(np.float32)}


def operators(path: Path) -> list[str]:
    """The types of a file's nodes, in order."""
    return [n.op_type for n in load(path, load_external_data=False).graph.node]


def write(path: Path, proto: ModelProto, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(proto, path, **options)
    return path


def write_external(path: Path, proto: ModelProto, location="weights.data") -> Path:
    return write(path, proto, save_as_external_data=True, location=location, size_threshold=0)


def context(path: Path, inputs=None, outputs=None, **fields) -> Context:
    return Context(signature=signature(path), names=Names(inputs or {}, outputs or {}), **fields)


def wordy():
    """Constants to fold, a normalization to fuse into its convolution, a node twice, and one that nobody needs."""
    proto = convnet()
    proto.graph.node.insert(0, node("Add", "cb cb", "twice", name="fold"))
    proto.graph.node[1].input[2] = "twice"
    del proto.graph.node[-1]
    proto.graph.node.extend(
        [
            node("Gemm", "f g gb", "one", name="one"),
            node("Gemm", "f g gb", "same", name="same"),
            node("Add", "one same", "y", name="sum"),
            node("Neg", "f", "unused", name="unused"),
        ]
    )
    return proto
