"""Live models to ONNX by jax2onnx."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax2onnx

from navigator_core import Context, Dim, Names, Signature
from navigator_core.errors import NavigatorError
from navigator_jax.models import prepare
from navigator_jax.run import flat
from navigator_jax.stablehlo import symbols

if TYPE_CHECKING:
    from navigator_jax.options import ToOnnx


def export(model: Any, output: Path, options: ToOnnx, context: Context) -> Names | None:
    """The model as an ONNX file whose names are the signature's, checked.

    An output that is called like an input is renamed, and the names returned: a graph has one value for each name.
    Raises NavigatorError where jax2onnx cannot convert the model.
    """
    import onnx

    ready, signature = prepare(model), context.signature
    words, names = symbols(signature), _names(signature)
    inputs = [
        jax.ShapeDtypeStruct(
            tuple(words[n.name] if isinstance(n, Dim) else n for n in spec.shape), jax.numpy.dtype(spec.dtype)
        )
        for spec in signature.inputs
    ]
    with ready.settings.active(), warnings.catch_warnings():
        warnings.simplefilter("default")  # it warns of its own code, on which nobody here can act
        try:
            made = jax2onnx.to_onnx(
                flat(ready, signature),
                inputs=inputs,
                opset=options.opset,
                enable_double_precision=ready.settings.x64,
                input_names=[spec.name for spec in signature.inputs],
                output_names=[names.outputs.get(spec.name, spec.name) for spec in signature.outputs],
                model_name="navigator",
            )
        except Exception as error:
            lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
            raise NavigatorError(f"jax2onnx failed: {type(error).__name__}: {' '.join(lines[:2])[:300]}") from error
    del made.graph.value_info[:]  # of an NHWC convolution they are those of another layout
    onnx.save(made, output)
    onnx.checker.check_model(str(output))
    return names if names.outputs else None


def _names(signature: Signature) -> Names:
    inputs = {spec.name for spec in signature.inputs}
    taken = inputs | {spec.name for spec in signature.outputs}
    outputs = {}
    for name in [spec.name for spec in signature.outputs if spec.name in inputs]:
        outputs[name] = next(new for n in itertools.count(1) if (new := f"{name}.out{n}") not in taken)
    return Names(outputs=outputs)
