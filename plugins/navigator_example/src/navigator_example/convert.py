"""ONNX to the example format: one .npz with the weights and, as JSON text, the steps in order. Runs in a worker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from navigator_core import Context, Names
from navigator_core.errors import NavigatorError
from navigator_example.plugin import ConvertOptions
from navigator_example.run import OPERATORS


def convert(source: Path, output: Path, options: ConvertOptions, context: Context) -> Names:
    """Write the model to ``output``. What is raised here costs this branch; its message becomes the reason."""
    graph = onnx.load(source).graph
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    steps = [_step(node) for node in graph.node]
    for name, array in weights.items():
        if array.dtype.kind == "V":  # bfloat16 and its like
            raise NavigatorError(f"weight {name!r} is of type {array.dtype}, which numpy cannot compute with")
    save = np.savez_compressed if options.compress else np.savez
    save(output, steps=json.dumps(steps), **{f"weight {name}": array for name, array in weights.items()})
    return context.names  # the tensors keep the names they have in the ONNX file, whatever the signature's are


def _step(node: onnx.NodeProto) -> dict[str, Any]:
    if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
        raise NavigatorError(
            f"the example runtime has no operator {node.op_type!r}, which node {node.name or node.output[0]!r} needs; "
            f"it has {', '.join(sorted(OPERATORS))}"
        )
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    takes = [name for name in node.input if name]  # "" stands for an optional one that is left out
    return {"operator": node.op_type, "takes": takes, "gives": node.output[0], "attributes": attributes}
