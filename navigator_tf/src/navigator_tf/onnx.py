"""SavedModels to ONNX by tf2onnx, which writes a broken file and says so in its log only: checked before it counts."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tf2onnx import optimizer, tf_loader, utils
from tf2onnx.tfonnx import process_tf_graph

from navigator_core import Context, Names
from navigator_core.errors import NavigatorError
from navigator_tf import rewriting, serving
from navigator_tf.engine import said, tf
from navigator_tf.options import ToOnnx

UNSUPPORTED = re.compile(r"Unsupported ops: (.*)", re.DOTALL)


def convert(source: Path, output: Path, options: ToOnnx, context: Context) -> Names | None:
    """Write the serving signature as ONNX, its tensors by the SavedModel's names.

    Parts that XLA would compile, such as grouped convolutions of Keras, are converted as plain functions. Raises
    NavigatorError for operations that tf2onnx does not know, and where the result is no valid model.
    """
    with serving.looked_into(source) as folder:
        opened = serving.load(folder)
        made = rewriting.program(opened.function)
    keys = {f"{spec.name}:0": key for key, spec in opened.inputs.items()}
    words = {**keys, **dict(zip(made.outputs, opened.outputs, strict=True))}
    with _log() as said_by_it:
        try:
            model = _converted(made, words, options)
        except Exception as error:
            why = f"{type(error).__name__}: {said(error)}"
            raise NavigatorError(f"tf2onnx failed: {why}{_unknown(said_by_it)}") from error
    unknown = _unknown(said_by_it)
    if unknown:
        raise NavigatorError(f"tf2onnx cannot convert it{unknown}")
    onnx.save(model, output)
    try:
        onnx.checker.check_model(str(output), full_check=True)
    except Exception as error:
        raise NavigatorError(f"tf2onnx wrote a file that is no valid model: {said(error)}") from error
    return context.names


def _converted(made: rewriting.Program, words: dict[str, str], options: ToOnnx) -> Any:
    with tf.Graph().as_default():  # its optimizer looks for one
        graph_def = tf_loader.tf_optimize(list(made.inputs), list(made.outputs), made.graph)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
        found = process_tf_graph(
            graph,
            opset=options.opset,
            input_names=list(made.inputs),
            output_names=list(made.outputs),
            custom_op_handlers={"Erfc": (_erfc, [])},
            tensors_to_rename=words,
        )
        return optimizer.optimize_graph(found).make_model("navigator")


def _erfc(graph: Any, node: Any, name: str, arguments: Sequence[Any]) -> None:
    """What the exact GELU is made of, as 1 - Erf, which ONNX has."""
    shape, dtype = graph.get_shape(node.output[0]), graph.get_dtype(node.output[0])
    one = graph.make_const(utils.make_name(name), np.asarray(1, utils.map_onnx_to_numpy_type(dtype)))
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", [node.input[0]], shapes=[shape], dtypes=[dtype])
    inputs = [one.output[0], erf.output[0]]
    graph.make_node("Sub", inputs, outputs=list(node.output), name=name, shapes=[shape], dtypes=[dtype])


@contextmanager
def _log() -> Iterator[list[str]]:
    """What tf2onnx says of errors meanwhile."""
    heard: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(handler)
    try:
        yield heard
    finally:
        logger.removeHandler(handler)


def _unknown(heard: Sequence[str]) -> str:
    """The operations that it does not know, as the end of a sentence; "" for none."""
    found = [match[1] for text in heard if (match := UNSUPPORTED.search(text))]
    names = sorted({name for text in found for name in re.findall(r"'([^']+)'", text)})
    return f": it does not know {', '.join(names)}" if names else ""
