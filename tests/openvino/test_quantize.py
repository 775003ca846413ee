"""Quantization by NNCF: what it makes, and what it says where it makes nothing."""

import numpy as np
import openvino
import pytest
from networks import answers, attention, converted, convnet, masked, mlp, model, node, rows, two_in_two_out, value

from navigator_core import INT8, availability
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_openvino import plugin, run
from navigator_openvino.options import CpuOptions, Int8Options

LACKING = availability.missing((plugin.NNCF,))
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


def quantize(folder, proto, calibration, options=None, **fields):
    from navigator_openvino import quantize

    path, context = converted(folder, proto, calibration=calibration, **fields)
    (folder / "out").mkdir()
    quantize.int8(path, folder / "out" / "model.xml", options or Int8Options(), context)
    return folder / "out" / "model.xml", context


def fake(path):
    return sum(n.get_type_name() == "FakeQuantize" for n in openvino.Core().read_model(path).get_ops())


def given(*shape):
    return [{"x": rows(64, *shape, seed=n)} for n in range(4)]


@pytest.mark.parametrize(("make", "shape"), [(mlp, (32,)), (convnet, (3, 8, 8)), (attention, (5, 16))])
def test_a_quantized_model_answers_nearly_as_before_and_takes_any_batch(tmp_path, make, shape):
    path, context = quantize(tmp_path, make(), given(*shape), precision=INT8)
    assert fake(path) > 0
    loaded = run.cpu(path, CpuOptions(), context)
    for n in (1, 3, 8):
        x = {"x": rows(n, *shape, seed=100)}
        expected = answers(tmp_path / "source.onnx", x)["y"]
        found = loaded.call(x)["y"]
        error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 1e-4 < error < 0.1


def test_samples_reach_their_inputs_by_name(tmp_path):
    calibration = [{"gain": rows(2, seed=n), "x": rows(4, 3, seed=n)} for n in range(4)]
    path, context = quantize(tmp_path, two_in_two_out(), calibration, precision=INT8)
    x = {"x": rows(4, 3), "gain": rows(2)}
    found, expected = run.cpu(path, CpuOptions(), context).call(x), answers(tmp_path / "source.onnx", x)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=0.1)


def test_a_model_without_products_has_nothing_to_quantize(tmp_path):
    proto = model([node("Tanh", "x", "y")], [value("x", ["batch", 3])], [value("y", ["batch", 3])])
    with pytest.raises(NothingToDoError, match="nothing to quantize: NNCF finds no"):
        quantize(tmp_path, proto, given(3))


def test_what_is_quantized_is_not_quantized_again(tmp_path):
    from navigator_openvino import quantize as module

    path, context = quantize(tmp_path, mlp(), given(32))
    with pytest.raises(NothingToDoError, match="in int8 already"):
        module.int8(path, tmp_path / "again.xml", Int8Options(), context)


def test_without_samples_it_says_what_is_missing(tmp_path):
    with pytest.raises(NavigatorError, match="needs samples to calibrate on"):
        quantize(tmp_path, mlp(), [])


def test_a_node_to_exclude_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(NavigatorError, match=r"NNCF refuses: .*nowhere"):
        quantize(tmp_path, mlp(), given(32), Int8Options(nodes_to_exclude="nowhere"))


@pytest.mark.parametrize(
    ("make", "names"),
    [(attention, {"mixed"}), (masked, {"weights", "masked", "mask"}), (convnet, set()), (mlp, set())],
)
def test_attention_is_found_with_all_that_lies_between_its_products(tmp_path, make, names):
    """Without a mask OpenVINO makes one operation of it, which has the name of the last."""
    from navigator_openvino.quantize import attention_scores

    path, _ = converted(tmp_path, make())
    assert set(attention_scores(openvino.Core().read_model(path))) == names


def test_a_mask_of_infinity_leaves_the_numbers_as_they_are(tmp_path):
    path, context = quantize(tmp_path, masked(), [masked_rows(seed) for seed in range(4)], precision=INT8)
    x = masked_rows(seed=9)
    found, expected = run.cpu(path, CpuOptions(), context).call(x)["y"], answers(tmp_path / "source.onnx", x)["y"]
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 0.1


def masked_rows(seed):
    keep = np.random.default_rng(seed).random((16, 1, 5)) < 0.7
    return {"x": rows(16, 5, 16, seed=seed), "keep": keep | (np.arange(5) == 0)}
