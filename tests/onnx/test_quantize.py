"""ONNX to ONNX in int8, dynamic and calibrated."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import (
    NETWORKS,
    attention,
    context,
    convnet,
    drawn,
    inputs,
    mlp,
    model,
    node,
    operators,
    value,
    write,
    write_external,
)

from navigator_core import processor
from navigator_core.errors import NavigatorError, NothingToDoError, RequestError
from navigator_onnx import rewrite
from navigator_onnx.options import CpuOptions, DynamicOptions, QdqOptions
from navigator_onnx.quantize import dynamic, qdq
from navigator_onnx.run import cpu
from navigator_onnx.source import signature

OPTIONS = {dynamic: DynamicOptions, qdq: QdqOptions}
BOTH = pytest.mark.parametrize("convert", [dynamic, qdq], ids=["dynamic", "qdq"])


@pytest.fixture
def quantized(tmp_path):
    """Quantizes a model, calibrated on two calls of other sizes."""

    def run(convert, proto, calls=None, save=write, device="cpu", **options):
        source = save(tmp_path / "source" / "m.onnx", proto)
        (tmp_path / "out").mkdir(exist_ok=True)
        output = tmp_path / "out" / "model.onnx"
        if calls is None:
            shape = [d.dim_value or 7 for d in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
            calls = [{"x": np.random.default_rng(n).standard_normal((n, *shape)).astype("float32")} for n in (2, 9)]
        convert(source, output, OPTIONS[convert](**options), context(source, calibration=calls, device=device))
        return output

    return run


def loaded(path, feed):
    return cpu(path, CpuOptions(), context(path)).call(feed)["y"]


def weights(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def scales(path, name):
    """The scales of a weight, by the name that it had in fp32."""
    return next(a for n, a in weights(path).items() if n.startswith(name) and n.endswith("scale"))


def error(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("convert", "name"), [(dynamic, "mlp"), (dynamic, "attention"), *((qdq, name) for name in NETWORKS)]
)
def test_a_network_stays_within_what_the_format_explains_at_every_batch_size(quantized, convert, name):
    proto = NETWORKS[name][0]()
    path = quantized(convert, proto)
    for rows in (1, 3, 8):
        feed = inputs(name, rows)
        (expected,) = ReferenceEvaluator(proto).run(None, feed)
        assert 1e-4 < error(loaded(path, feed), expected) < 8 * 2 * 2.0**-8


@BOTH
def test_the_models_ends_keep_names_types_and_axes(quantized, tmp_path, convert):
    path = quantized(convert, attention())
    assert signature(path) == signature(tmp_path / "source" / "m.onnx")


@BOTH
def test_weights_are_signed_and_symmetric_int8(quantized, convert):
    found = weights(quantized(convert, mlp()))
    int8 = {n: a for n, a in found.items() if a.dtype == np.int8 and a.ndim == 2}
    assert sorted(n.partition("_")[0] for n in int8) == ["w1", "w2"]
    points = [a for n, a in found.items() if n.startswith("w") and n.endswith("zero_point")]
    assert points
    assert not any(point.any() for point in points)


def test_dynamic_takes_gemm_and_leaves_conv(quantized):
    assert "MatMulInteger" in operators(quantized(dynamic, mlp()))
    found = operators(quantized(dynamic, convnet()))
    assert "Conv" in found
    assert "ConvInteger" not in found
    assert "Gemm" not in found


def test_qdq_takes_conv_with_its_normalization_folded_in(quantized):
    found = operators(quantized(qdq, convnet()))
    assert found.count("Conv") == 1
    assert "BatchNormalization" not in found
    assert "QuantizeLinear" in found


@BOTH
def test_products_of_two_activations_stay_in_fp32(quantized, convert):
    nodes = list(onnx.load(quantized(convert, attention())).graph.node)
    assert {n.name: n.op_type for n in nodes if n.name in ("scores", "mix")} == {"scores": "MatMul", "mix": "MatMul"}
    quantized_values = {n.input[0] for n in nodes if n.op_type in ("QuantizeLinear", "DynamicQuantizeLinear")}
    assert quantized_values.isdisjoint({"qk", "scaled", "weights"})
    assert "mixed" in quantized_values


# options


@BOTH
@pytest.mark.parametrize("kept", ["first", "second"])
def test_a_node_may_be_left_out_by_name(quantized, convert, kept):
    found = weights(quantized(convert, mlp(), nodes_to_exclude=kept))
    names = {name.partition("_")[0] for name, array in found.items() if array.dtype == np.int8 and array.ndim == 2}
    assert names == {"w2" if kept == "first" else "w1"}


@BOTH
@pytest.mark.parametrize(("op", "name"), [("MatMul", "w1"), ("Gemm", "w2")])
def test_only_the_operators_asked_for_are_quantized(quantized, convert, op, name):
    found = weights(quantized(convert, mlp(), op_types=op))
    assert {n.partition("_")[0] for n, a in found.items() if a.dtype == np.int8 and a.ndim == 2} == {name}


@BOTH
@pytest.mark.parametrize("per_channel", [True, False])
def test_channels_have_scales_of_their_own_if_wanted(quantized, convert, per_channel):
    path = quantized(convert, mlp(), per_channel=per_channel)
    assert scales(path, "w1").size == (128 if per_channel else 1)


@BOTH
def test_a_reduced_range_uses_seven_bits(quantized, convert):
    whole, reduced = (quantized(convert, mlp(), reduce_range=flag) for flag in (False, True))
    assert whole == reduced  # the same path: the first is read before the second is written
    assert largest(weights(reduced)) <= 64


def largest(found):
    """The greatest weight of a product, in steps of int8."""
    return max(np.abs(a.astype(int)).max() for n, a in found.items() if a.dtype == np.int8 and a.ndim == 2)


@BOTH
def test_the_whole_range_uses_eight_bits(quantized, convert):
    found = weights(quantized(convert, mlp(), reduce_range=False))
    assert largest(found) > 120


@BOTH
def test_a_processor_whose_sums_overflow_gets_seven_bits_by_itself(quantized, convert, monkeypatch, tmp_path):
    for flags, most in (("fpu avx2", 64), ("fpu avx2 avx_vnni", 127), ("fpu avx512f avx512_vnni", 127)):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\nflags : {flags}\n")
        monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
        monkeypatch.setattr(processor.platform, "machine", lambda: "x86_64")
        processor.sums_of_int8_overflow.cache_clear()
        try:
            assert largest(weights(quantized(convert, mlp()))) == most, flags
        finally:
            processor.sums_of_int8_overflow.cache_clear()


def test_other_processors_than_those_of_x86_have_no_such_sums(monkeypatch):
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    processor.sums_of_int8_overflow.cache_clear()
    assert not processor.sums_of_int8_overflow()
    processor.sums_of_int8_overflow.cache_clear()


def heavy_tailed():
    """A call in which large values are rare."""
    return [{"x": (np.random.default_rng(0).standard_normal((4000, 64)) ** 5).astype(np.float32)}]


def test_each_calibration_finds_other_ranges(quantized):
    calls = heavy_tailed()
    found = {
        method: float(scales(quantized(qdq, mlp(), calls=calls, calibration=method), "x"))
        for method in ("minmax", "percentile")
    }
    x = calls[0]["x"]
    assert found["minmax"] == pytest.approx((x.max() - x.min()) / 255, rel=1e-3)
    assert 0 < found["percentile"] < 0.9 * found["minmax"]


@pytest.mark.parametrize(
    ("device", "options", "dtype"),
    [
        ("cpu", {}, np.uint8),
        ("cuda", {}, np.int8),
        ("cuda:1", {}, np.int8),
        ("cpu", {"activations": "int8"}, np.int8),
        ("cuda", {"activations": "uint8"}, np.uint8),
    ],
)
def test_activations_are_of_the_type_that_the_device_likes_or_the_user_wants(quantized, device, options, dtype):
    found = weights(quantized(qdq, mlp(), device=device, **options))
    point = found["x_zero_point"]
    assert point.dtype == dtype
    assert (point == 0) == (dtype == np.int8)
    assert any(a.dtype == np.int32 for n, a in found.items() if n.startswith("b2")) == (dtype == np.uint8)


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (DynamicOptions, {"op_types": ["Softmax"]}),
        (DynamicOptions, {"op_types": []}),
        (DynamicOptions, {"per_channel": "yes"}),
        (QdqOptions, {"calibration": "guess"}),
        (QdqOptions, {"activations": "float"}),
        (QdqOptions, {"nodes_to_exclude": [3]}),
    ],
)
def test_a_value_that_means_nothing_is_refused(cls, values):
    with pytest.raises((ValueError, TypeError)):
        cls(**values)


# what cannot be done


@BOTH
def test_a_node_that_is_not_there_cannot_be_left_out(quantized, convert):
    with pytest.raises(RequestError, match="unknown node to exclude 'frist'; did you mean 'first'"):
        quantized(convert, mlp(), nodes_to_exclude="frist")


@pytest.mark.parametrize(("convert", "op"), [(dynamic, "ConvTranspose"), (qdq, "Attention")])
def test_an_operator_that_the_quantizer_does_not_know_is_an_error(quantized, convert, op):
    with pytest.raises(NavigatorError, match=f"quantization of ONNX Runtime knows no {op}; it knows .*MatMul"):
        quantized(convert, mlp(), op_types=["MatMul", op])


@BOTH
@pytest.mark.parametrize(
    "proto",
    [
        model([node("Relu", "x", "y")], [value("x", ["batch", 2])], [value("y", ["batch", 2])]),
        model([node("MatMul", "x x", "y")], [value("x", [2, 2])], [value("y", [2, 2])]),
        model(
            [node("MatMul", "x w", "y")],
            [value("x", [2, 2], TensorProto.DOUBLE)],
            [value("y", [2, 2], TensorProto.DOUBLE)],
            {"w": np.eye(2)},
        ),
    ],
    ids=["no product", "no weights", "double"],
)
def test_where_nothing_can_be_quantized_that_is_the_reason(quantized, convert, proto):
    dtype = onnx.helper.tensor_dtype_to_np_dtype(proto.graph.input[0].type.tensor_type.elem_type)
    with pytest.raises(NothingToDoError, match=r"nothing to quantize: the model has no MatMul, Gemm.* or .* in fp32"):
        quantized(convert, proto, calls=[{"x": np.ones((2, 2), dtype)}])


@BOTH
def test_what_is_in_int8_already_does_not_pose_as_quantized_again(quantized, convert):
    done = onnx.load(quantized(qdq, mlp()))
    with pytest.raises(NothingToDoError, match="nothing to quantize"):
        quantized(convert, done)


def test_without_samples_nothing_can_be_calibrated(quantized):
    with pytest.raises(NavigatorError, match="needs samples to calibrate on"):
        quantized(qdq, mlp(), calls=[])


# files as exporters leave them


@BOTH
def test_shapes_that_are_not_true_any_more_do_no_harm(quantized, convert):
    proto = mlp()
    proto.graph.value_info.append(value("h", [7, 7, 7]))
    feed = inputs("mlp")
    (expected,) = ReferenceEvaluator(mlp()).run(None, feed)
    assert error(loaded(quantized(convert, proto), feed), expected) < 0.05


@BOTH
def test_a_weight_that_gemm_shares_is_not_transposed_for_the_others(quantized, convert):
    """As tied embeddings are: a table that is looked up, and multiplied with in the end."""
    proto = model(
        [
            node("Gather", "table ids", "h", name="look_up"),
            node("Gemm", "h table", "y", transB=1, name="score"),
        ],
        [value("ids", ["batch"], TensorProto.INT64)],
        [value("y", ["batch", 32])],
        {"table": drawn(32, 32)},
    )
    ids = np.array([3, 1, 30])
    (expected,) = ReferenceEvaluator(proto).run(None, {"ids": ids})
    path = quantized(convert, proto, calls=[{"ids": np.arange(32)}])
    assert error(loaded(path, {"ids": ids}), expected) < 0.05


@BOTH
def test_nodes_without_names_are_quantized_too(quantized, convert):
    proto = mlp()
    for one in proto.graph.node:
        one.ClearField("name")
    found = weights(quantized(convert, proto))
    assert sum(a.dtype == np.int8 and a.ndim == 2 for a in found.values()) == 2


@BOTH
def test_external_weights_are_read_and_small_models_lie_in_one_file(quantized, convert):
    path = quantized(convert, mlp(), save=write_external)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    assert path.stat().st_size < 25_000


@BOTH
def test_large_weights_lie_beside_the_file(quantized, monkeypatch, convert):
    monkeypatch.setattr(rewrite, "INLINE", 1000)
    path = quantized(convert, mlp(), save=write_external)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    feed = inputs("mlp")
    (expected,) = ReferenceEvaluator(mlp()).run(None, feed)
    assert error(loaded(path, feed), expected) < 0.05
