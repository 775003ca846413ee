"""SavedModels to SavedModels with parts of the graph as TensorRT's engines, by TF-TRT."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from navigator_core import Context, Names, samples
from navigator_core.errors import NavigatorError
from navigator_tf import serving
from navigator_tf.engine import on, said, tf, without_tf32
from navigator_tf.options import ToTfTrt


def convert(source: Path, output: Path, options: ToTfTrt, context: Context) -> Names:
    """Convert, and build the engines for the sizes from the smallest to the largest batch that is asked for.

    Raises NavigatorError with what TensorRT says where it cannot.
    """
    from tensorflow.python.compiler.tensorrt import trt_convert

    settings: dict[str, Any] = {
        "precision_mode": options.precision_mode,
        "minimum_segment_size": options.minimum_segment_size,
        "use_dynamic_shape": True,
        "dynamic_shape_profile_strategy": "Range+Optimal",
    }
    if options.max_workspace_size_bytes is not None:
        settings["max_workspace_size_bytes"] = options.max_workspace_size_bytes
    try:
        with on(context.device), without_tf32():
            converter = trt_convert.TrtGraphConverterV2(
                input_saved_model_dir=str(source), input_saved_model_signature_key=serving.KEY, **settings
            )
            converter.convert()
            converter.build(input_fn=inputs(context))
            converter.save(output_saved_model_dir=str(output))
    except Exception as error:
        raise NavigatorError(f"TF-TRT failed: {type(error).__name__}: {said(error)}") from error
    return context.names


def inputs(context: Context) -> Callable[[], Iterator[dict[str, Any]]]:
    """The samples at the smallest and the largest batch, by the SavedModel's names: the range of the engines."""
    batch = next((n for n in context.signature.dims().values() if n.name == "batch"), None)
    sizes = [None] if batch is None else sorted({batch.min, batch.max or batch.min})

    def made() -> Iterator[dict[str, Any]]:
        for size in sizes:
            for sample in context.samples:
                arrays = sample if size is None else samples.resize(sample, context.signature, size)
                yield {context.names.inputs.get(n, n): tf.convert_to_tensor(a) for n, a in arrays.items()}

    return made
