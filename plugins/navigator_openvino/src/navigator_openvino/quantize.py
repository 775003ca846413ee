"""OpenVINO IR to IR in int8 by NNCF, calibrated on the samples. Imports nncf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from navigator_core import Context, Names, processor
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_openvino import convert, engine, names
from navigator_openvino.engine import openvino
from navigator_openvino.options import Int8Options

with engine.no_telemetry():
    import nncf

PRESETS = {"performance": nncf.QuantizationPreset.PERFORMANCE, "mixed": nncf.QuantizationPreset.MIXED}

BETWEEN = frozenset({"Add", "Convert", "Divide", "Maximum", "Minimum", "Multiply", "Reshape", "Select", "Subtract"})
"""What attention scores go through on their way to the softmax."""


def int8(source: Path, output: Path, options: Int8Options, context: Context) -> Names:
    """Write the model with weights and activations in int8 where NNCF quantizes.

    Raises NothingToDoError where nothing is, NavigatorError where there is nothing to calibrate on and where NNCF
    refuses, as it does a node to exclude that the model does not have.
    """
    if not context.calibration:
        raise NavigatorError("static quantization needs samples to calibrate on, and there are none")
    model = engine.core().read_model(source)
    if _quantized(model):
        raise NothingToDoError("nothing to quantize: the model computes in int8 already")
    scores = attention_scores(model)
    transformer = bool(scores) if options.transformer is None else options.transformer
    try:
        made = nncf.quantize(
            model,
            nncf.Dataset(list(context.calibration), _feed(model, context)),
            preset=PRESETS[options.preset] if options.preset else None,
            subset_size=len(context.calibration),
            fast_bias_correction=options.fast_bias_correction,
            model_type=nncf.ModelType.TRANSFORMER if transformer else None,
            ignored_scope=nncf.IgnoredScope(
                names=[*options.nodes_to_exclude, *(scores if transformer else ())],
                types=list(options.op_types_to_exclude),
            ),
            advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=_room_for_sums()),
        )
    except nncf.ValidationError as error:
        raise NavigatorError(f"NNCF refuses: {engine.said(error)}") from error
    if not _quantized(made):
        raise NothingToDoError("nothing to quantize: NNCF finds no convolution or product with constant weights")
    openvino.save_model(made, output, compress_to_fp16=False)
    convert.check(output)
    return context.names


def _room_for_sums() -> Any:
    """Whether all weights are kept to 7 bits, or NNCF's default: those of the first layer."""
    return nncf.OverflowFix.ENABLE if processor.sums_of_int8_overflow() else nncf.OverflowFix.FIRST_LAYER


def attention_scores(model: Any) -> list[str]:
    """The names of what lies between a softmax that a product reads and the product before it, the softmax included.

    There a mask of -inf is added or chosen, and a range with that in it leaves nothing of the numbers.
    """
    found: list[str] = []
    for node in model.get_ops():
        if node.get_type_name() == "ScaledDotProductAttention":
            found.append(node.get_friendly_name())
        if node.get_type_name() in ("Softmax", "SoftMax") and _is_read_by_a_product(node):
            waiting = [node]
            while waiting:
                here = waiting.pop()
                found.append(here.get_friendly_name())
                before = [value.get_node() for value in here.input_values()]
                waiting += [one for one in before if one.get_type_name() in BETWEEN]
    return list(dict.fromkeys(found))


def _is_read_by_a_product(node: Any) -> bool:
    readers = [reader.get_node() for end in node.outputs() for reader in end.get_target_inputs()]
    return any(one.get_type_name() == "MatMul" for one in readers) or any(
        _is_read_by_a_product(one) for one in readers if one.get_type_name() in ("Select", "Reshape", "Transpose")
    )


def _quantized(model: Any) -> int:
    return sum(node.get_type_name() == "FakeQuantize" for node in model.get_ops())


def _feed(model: Any, context: Context) -> Any:
    bound = names.match(context, model.inputs, model.outputs)

    def feed(sample: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        return {place: np.ascontiguousarray(sample[ours]) for ours, place in bound.inputs}

    return feed
