"""Conversion: names, ranges of axes, weights as they are, and reasons where it cannot be done."""

import numpy as np
import openvino
import pytest
from networks import attention, context, converted, mlp, model, node, rows, value, write

from navigator_core import Context, Dim, Signature, TensorSpec
from navigator_core.errors import NavigatorError, RequestError
from navigator_openvino import convert, run
from navigator_openvino.options import CpuOptions


def read(path):
    return openvino.Core().read_model(path)


def with_range(seq, width=16):
    shape = (Dim("batch", 1, 4), seq, width)
    return Signature((TensorSpec("x", "float32", shape),), (TensorSpec("y", "float32", shape),))


@pytest.mark.parametrize(
    ("seq", "shape"), [(Dim("seq", 3, 9), "[?,3..9,16]"), (Dim("seq", 2), "[?,2..,16]"), (7, "[?,7,16]")]
)
def test_axes_get_the_samples_range_and_a_batch_any_size(tmp_path, seq, shape):
    source = write(tmp_path / "m.onnx", attention())
    convert.convert(source, tmp_path / "model.xml", None, Context(signature=with_range(seq)))
    assert str(read(tmp_path / "model.xml").input("x").partial_shape) == shape


def test_a_call_beyond_the_range_says_what_helps(tmp_path):
    source = write(tmp_path / "m.onnx", attention())
    given = Context(signature=with_range(Dim("seq", 3, 9)))
    convert.convert(source, tmp_path / "model.xml", None, given)
    loaded = run.cpu(tmp_path / "model.xml", CpuOptions(), given)
    assert loaded.call({"x": rows(40, 9, 16)})["y"].shape == (40, 9, 16)
    with pytest.raises(RequestError, match=r"the shape \(1, 10, 16\).* \[\?,3\.\.9,16\].*with samples that have them"):
        loaded.call({"x": rows(1, 10, 16)})


def test_weights_stay_in_fp32(tmp_path):
    path, _ = converted(tmp_path, mlp())
    constants = [n for n in read(path).get_ops() if n.get_type_name() == "Constant" and n.get_output_size()]
    kinds = {n.output(0).get_element_type() for n in constants if n.output(0).get_element_type().is_real()}
    assert kinds == {openvino.Type.f32}
    assert path.with_suffix(".bin").stat().st_size > 4 * 32 * 64


def test_an_input_without_effect_has_none(tmp_path):
    shape = ["batch", 3]
    proto = model([node("Relu", "x", "y")], [value("unused", shape), value("x", shape)], [value("y", shape)])
    path, given = converted(tmp_path, proto)
    for options in (CpuOptions(), CpuOptions(static=True)):
        found = run.cpu(path, options, given).call({"unused": rows(2, 3, seed=1), "x": rows(2, 3)})["y"]
        np.testing.assert_array_equal(found, np.maximum(rows(2, 3), 0))


@pytest.mark.parametrize("nodes", [[node("Identity", "x", "y")], [node("Relu", "x", "z"), node("Identity", "z", "y")]])
def test_outputs_keep_their_names_whatever_is_folded_away(tmp_path, nodes):
    proto = model(nodes, [value("x", ["batch", 3])], [value("y", ["batch", 3])])
    path, given = converted(tmp_path, proto)
    assert set(run.cpu(path, CpuOptions(), given).call({"x": rows(2, 3)})) == {"y"}


def test_an_operator_that_openvino_lacks_is_named(tmp_path):
    proto = model([node("Mystery", "x", "y", domain="nobody")], [value("x", [2])], [value("y", [2])])
    proto.opset_import.add(domain="nobody", version=1)
    source = write(tmp_path / "m.onnx", proto)
    with pytest.raises(NavigatorError, match=r"OpenVINO cannot convert m.onnx: .*Mystery"):
        convert.convert(source, tmp_path / "model.xml", None, context(source))


def test_a_model_that_fixes_what_the_samples_vary_is_refused_with_the_shapes(tmp_path):
    proto = model(
        [node("Reshape", "x s", "r"), node("MatMul", "r w", "y")],
        [value("x", [2, 3])],
        [value("y", [1, 2])],
        {"s": np.array([1, 6]), "w": np.zeros((6, 2), np.float32)},
    )
    source = write(tmp_path / "m.onnx", proto)
    signature = Signature((TensorSpec("x", "float32", (2, 4)),), (TensorSpec("y", "float32", (1, 2)),))
    with pytest.raises(NavigatorError, match=r"does not go with inputs x .*\[2,4\]"):
        convert.convert(source, tmp_path / "model.xml", None, Context(signature=signature))
