"""ONNX's own conformance cases of single operators, rewritten by each pass that finds something to do in them."""

import numpy as np
import onnx
import pytest
from node_cases import CASES
from onnx_models import context, operators, write

from navigator_core.errors import NavigatorError
from navigator_onnx.half import fp16
from navigator_onnx.options import CpuOptions, HalfOptions
from navigator_onnx.run import cpu
from navigator_onnx.source import signature

FLOAT = [
    case
    for case in CASES
    if any(v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT for v in case.model.graph.input)
]
# a place that rounding moves, numbers that fp16 does not have, a running state that takes its error along, and a sum
# that ONNX Runtime refuses in fp16 only when it is called: it is sensitive, and stays in fp32 by default
OUTSIDE = ("argmax", "cast", "clip", "lstm", "gru", "loop", "scatternd")


def refusal(convert, *given):
    """Why a conversion is not made, None if it is."""
    try:
        convert(*given)
    except NavigatorError as error:
        return str(error)
    return None


def test_there_are_cases_that_have_something_to_convert():
    assert len(FLOAT) > 50


@pytest.mark.parametrize("case", [c for c in FLOAT if not any(w in c.name for w in OUTSIDE)], ids=lambda c: c.name)
def test_an_operator_computes_in_fp16_or_is_said_to_stay(case, tmp_path):
    source, output = write(tmp_path / "m.onnx", case.model), tmp_path / "model.onnx"
    known = context(source)
    reason = refusal(fp16, source, output, HalfOptions(keep_sensitive=False), known)
    if reason is not None:
        assert "so fp16 changes nothing" in reason or "cannot load the result" in reason
        return
    assert "Cast" in operators(output)
    assert signature(output) == signature(source)
    loaded = cpu(output, CpuOptions(threads=1), known)
    names = [spec.name for spec in known.signature.inputs]
    for inputs, outputs in case.data_sets:
        found = loaded.call(dict(zip(names, inputs, strict=True)))
        for name, expected in zip((v.name for v in case.model.graph.output), outputs, strict=True):
            scale = float(np.abs(expected).max(initial=1)) if expected.dtype.kind == "f" else 0
            np.testing.assert_allclose(found[name], expected, atol=4e-3 * scale, equal_nan=True)
