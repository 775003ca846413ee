"""SavedModels to TFLite files, with their weights as they are, in int8, or in half precision."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from navigator_core import Context, Names
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_tf import litert, serving
from navigator_tf.engine import said, tf
from navigator_tf.options import ToTfLite

MISSING = re.compile(r"tf\.(\w+)\(")
"""How its converter names operations that TFLite lacks."""


def convert(source: Path, output: Path, options: ToTfLite, context: Context) -> Names:
    """Write the serving signature, and have it loaded once. Raises NavigatorError where it cannot be converted."""
    converter = tf.lite.TFLiteConverter.from_saved_model(str(source), signature_keys=[serving.KEY])
    if options.weights:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.weights == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        output.write_bytes(converter.convert())
    except Exception as error:
        raise NavigatorError(f"TFLite's converter failed: {_said(error)}") from error
    made = litert.interpreter(output, 0)
    made.allocate_tensors()
    if options.weights == "int8" and not any(one["dtype"] is np.int8 for one in made.get_tensor_details()):
        raise NothingToDoError("TFLite leaves all of its weights as they are: it rounds those of 1024 numbers and more")
    return context.names


def _said(error: Exception) -> str:
    missing = sorted(set(MISSING.findall(str(error))))
    return f"TFLite lacks {', '.join(missing)}" if missing else said(error)
