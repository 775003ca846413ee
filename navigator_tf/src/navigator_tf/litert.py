"""TFLite files run by LiteRT's interpreter on the CPU: of TensorFlow, or of the package that holds nothing else."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from navigator_core import Context, LoadedModel
from navigator_core.errors import NavigatorError

if TYPE_CHECKING:
    from navigator_tf.options import LiteRt

KEY = "serving_default"


def interpreter(model: Path, threads: int) -> Any:
    """An interpreter of the file. Raises NavigatorError where it cannot be loaded."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        from tensorflow.lite.python.interpreter import Interpreter
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # TensorFlow's own is to be moved elsewhere
            return Interpreter(model_path=str(model), num_threads=threads or None)
    except (RuntimeError, ValueError) as error:
        raise NavigatorError(f"LiteRT cannot load the model: {str(error).strip().splitlines()[0]}") from error


def run(model: Path, options: LiteRt, context: Context) -> LoadedModel:
    """The serving signature: numpy in, numpy out. For another size than in the last call it is planned anew."""
    signature = interpreter(model, options.threads).get_signature_runner(KEY)
    theirs, wanted = context.names, context.signature
    taken = set(signature.get_input_details())
    inputs = [(spec.name, theirs.inputs.get(spec.name, spec.name)) for spec in wanted.inputs]
    inputs = [(ours, name) for ours, name in inputs if name in taken]
    outputs = [(spec.name, theirs.outputs.get(spec.name, spec.name)) for spec in wanted.outputs]
    opened = [signature]

    def call(given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        if not opened:
            raise NavigatorError("this model was closed; load it again")
        found = opened[0](**{name: _native(given[ours]) for ours, name in inputs})
        return {ours: found[name] for ours, name in outputs}

    return LoadedModel(call, close=opened.clear)


def _native(array: Any) -> np.ndarray:
    """In memory as the interpreter copies it."""
    array = np.asarray(array)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))
