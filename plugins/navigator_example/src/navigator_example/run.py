"""The runtime: reads a model of the example format and executes it with numpy. Runs in a worker, or at the user's."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from navigator_core import Context, LoadedModel


def gemm(
    a: np.ndarray,
    b: np.ndarray,
    c: Any = 0,
    *,
    alpha: float = 1,
    beta: float = 1,
    transA: int = 0,  # noqa: N803 - the attribute's name in ONNX
    transB: int = 0,  # noqa: N803
) -> Any:
    """``alpha * a @ b + beta * c``, the matrices transposed where asked."""
    return alpha * ((a.T if transA else a) @ (b.T if transB else b)) + beta * c


def relu(x: np.ndarray) -> Any:
    """The larger of x and 0."""
    return np.maximum(x, 0)


OPERATORS: Mapping[str, Callable[..., Any]] = {
    "Add": np.add,
    "Gemm": gemm,
    "Identity": np.copy,
    "MatMul": np.matmul,
    "Mul": np.multiply,
    "Relu": relu,
    "Sub": np.subtract,
    "Tanh": np.tanh,
}


def load(source: Path, options: None, context: Context) -> LoadedModel:
    """The model as a function of tensors by name; ``context.names`` says what the artifact calls the signature's."""
    with np.load(source, allow_pickle=False) as file:
        steps = json.loads(str(file["steps"]))
        weights = {name.removeprefix("weight "): file[name] for name in file.files if name != "steps"}
    inputs = {spec.name: context.names.inputs.get(spec.name, spec.name) for spec in context.signature.inputs}
    outputs = {spec.name: context.names.outputs.get(spec.name, spec.name) for spec in context.signature.outputs}

    def call(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {**weights, **{theirs: tensors[ours] for ours, theirs in inputs.items()}}
        for step in steps:
            arguments = [values[name] for name in step["takes"]]
            values[step["gives"]] = OPERATORS[step["operator"]](*arguments, **step["attributes"])
        return {ours: values[theirs] for ours, theirs in outputs.items()}

    return LoadedModel(call, thread_safe=True)  # each call has values of its own
