"""ONNX to ONNX in fp16 and bf16."""

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx_models import NETWORKS, attention, context, inputs, mlp, model, node, operators, value, write, write_external

from navigator_core.errors import NothingToDoError, RequestError
from navigator_onnx import rewrite
from navigator_onnx.half import bf16, fp16, rounded
from navigator_onnx.options import CpuOptions, HalfOptions
from navigator_onnx.run import cpu
from navigator_onnx.source import signature

LOW = {fp16: TensorProto.FLOAT16, bf16: TensorProto.BFLOAT16}
EPSILON = {fp16: 2.0**-11, bf16: 2.0**-8}
BOTH = pytest.mark.parametrize("convert", [fp16, bf16], ids=lambda f: f.__name__)


@pytest.fixture
def halved(tmp_path, monkeypatch):
    """Converts a model; of bf16 only the file is looked at, for ONNX Runtime's CPU has no kernels for it."""

    def run(proto, convert=fp16, save=write, **options):
        source = save(tmp_path / "source" / "m.onnx", proto)
        (tmp_path / "out").mkdir(exist_ok=True)
        output = tmp_path / "out" / "model.onnx"
        convert(source, output, HalfOptions(**options), context(source))
        return output

    return run


def types(path):
    """The element type of every weight, by the name that it had in fp32."""
    return {t.name.removesuffix("_fp16").removesuffix("_bf16"): t.data_type for t in onnx.load(path).graph.initializer}


@BOTH
@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_stays_within_what_the_format_explains(halved, name, convert):
    proto = NETWORKS[name][0]()
    feed = inputs(name)
    (expected,) = ReferenceEvaluator(proto).run(None, feed)
    (found,) = ReferenceEvaluator(str(halved(proto, convert))).run(None, feed)
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert EPSILON[convert] / 100 < error < 4 * EPSILON[convert]


@pytest.mark.parametrize("name", NETWORKS)
def test_fp16_runs_at_every_batch_size(halved, name):
    proto = NETWORKS[name][0]()
    path = halved(proto)
    loaded = cpu(path, CpuOptions(), context(path))
    for rows in (1, 3, 8):
        feed = inputs(name, rows)
        (expected,) = ReferenceEvaluator(proto).run(None, feed)
        np.testing.assert_allclose(loaded.call(feed)["y"], expected, atol=1e-2)


@BOTH
def test_weights_are_half_and_the_models_ends_keep_names_types_and_axes(halved, tmp_path, convert):
    path = halved(attention(), convert)
    assert signature(path) == signature(tmp_path / "source" / "m.onnx")
    found = types(path)
    assert {found[f"w{name}"] for name in "qkvo"} == {LOW[convert]}
    assert path.stat().st_size < 0.7 * (tmp_path / "source" / "m.onnx").stat().st_size


@BOTH
def test_between_two_operators_in_half_there_is_no_cast(halved, convert):
    assert operators(halved(mlp(), convert)) == ["Cast", "MatMul", "Add", "Relu", "Gemm", "Cast"]


def test_sensitive_operators_stay_in_fp32(halved):
    path = halved(attention())
    casts = {n.output[0]: n.input[0] for n in onnx.load(path).graph.node if n.op_type == "Cast"}
    by_name = {n.name: n for n in onnx.load(path).graph.node}
    assert by_name["softmax"].input[0] in casts  # from fp16 back to fp32
    assert by_name["norm"].input[1:] == ["gain", "shift"]
    assert types(path)["gain"] == TensorProto.FLOAT


def test_sensitive_operators_may_be_given_up(halved):
    path = halved(attention(), keep_sensitive=False)
    assert types(path)["gain"] == TensorProto.FLOAT16
    assert operators(path).count("Cast") == 2


def test_a_node_may_be_kept_in_fp32_by_name(halved):
    found = types(halved(mlp(), nodes_to_exclude=["first"]))
    assert (found["w1"], found["w2"]) == (TensorProto.FLOAT, TensorProto.FLOAT16)


def test_an_operator_may_be_kept_in_fp32(halved):
    found = types(halved(mlp(), op_types_to_exclude="Gemm"))
    assert (found["w1"], found["w2"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"nodes_to_exclude": ["frist"]}, "unknown node to exclude 'frist'; did you mean 'first'"),
        ({"op_types_to_exclude": ["Gem"]}, "unknown operator to exclude 'Gem'; did you mean 'Gemm'"),
    ],
)
def test_what_the_model_does_not_have_cannot_be_excluded(halved, options, words):
    with pytest.raises(RequestError, match=words):
        halved(mlp(), **options)


@pytest.mark.parametrize(
    "proto",
    [
        model([node("Add", "a b", "y")], [value("a", [2], 7), value("b", [2], 7)], [value("y", [2], 7)]),
        model([node("Softmax", "x", "y")], [value("x", [2])], [value("y", [2])]),
        model([node("Relu", "x", "y")], [value("x", [2], 10)], [value("y", [2], 10)]),
    ],
    ids=["integers", "sensitive only", "half already"],
)
def test_where_nothing_would_change_that_is_the_reason(halved, proto):
    with pytest.raises(NothingToDoError, match="so fp16 changes nothing"):
        halved(proto)


def test_a_weight_that_two_nodes_share_is_rounded_once_and_kept_in_fp32_where_it_is_needed(halved):
    proto = model(
        [node("MatMul", "x w", "h", name="a"), node("MatMul", "h w", "y", name="b")],
        [value("x", ["batch", 4])],
        [value("y", ["batch", 4])],
        {"w": np.eye(4, dtype=np.float32)},
    )
    assert [t.name for t in onnx.load(halved(proto)).graph.initializer] == ["w_fp16"]
    kept = onnx.load(halved(proto, nodes_to_exclude="b")).graph.initializer
    assert {t.name: t.data_type for t in kept} == {"w": TensorProto.FLOAT, "w_fp16": TensorProto.FLOAT16}


def test_a_value_that_an_inner_graph_takes_keeps_its_type_there(halved):
    then = onnx.helper.make_graph([node("Identity", "h", "t")], "then", [], [value("t", ["batch", 4])])
    other = onnx.helper.make_graph([node("Neg", "h", "e")], "else", [], [value("e", ["batch", 4])])
    proto = model(
        [node("MatMul", "x w", "h"), node("If", "c", "y", then_branch=then, else_branch=other)],
        [value("x", ["batch", 4]), value("c", [], TensorProto.BOOL)],
        [value("y", ["batch", 4])],
        {"w": np.eye(4, dtype=np.float32) / 3},
    )
    x = np.ones((2, 4), np.float32)
    (found,) = ReferenceEvaluator(str(halved(proto))).run(None, {"x": x, "c": np.array(False)})
    np.testing.assert_allclose(found, -x / 3, rtol=1e-3)


def test_an_intermediate_that_is_an_output_too_stays_fp32(halved):
    proto = mlp()
    proto.graph.output.append(value("r", ["batch", 128]))
    path = halved(proto)
    assert [spec.dtype for spec in signature(path).outputs] == ["float32", "float32"]


@BOTH
def test_external_weights_are_read_and_small_models_lie_in_one_file(halved, tmp_path, convert):
    path = halved(mlp(), convert, save=write_external)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    weight = next(t for t in onnx.load(path).graph.initializer if t.name.startswith("w2"))
    kept = numpy_helper.to_array(next(t for t in mlp().graph.initializer if t.name == "w2"))
    assert np.abs(numpy_helper.to_array(weight).astype(np.float32) - kept).max() < EPSILON[convert]


def test_large_weights_lie_beside_the_file(halved, monkeypatch):
    monkeypatch.setattr(rewrite, "INLINE", 1000)
    path = halved(mlp(), save=write_external)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert path.stat().st_size < 4000
    feed = inputs("mlp")
    (expected,) = ReferenceEvaluator(mlp()).run(None, feed)
    np.testing.assert_allclose(cpu(path, CpuOptions(), context(path)).call(feed)["y"], expected, atol=1e-2)


def test_bf16_needs_the_opset_that_has_it(halved):
    with pytest.raises(NothingToDoError, match="so bf16 changes nothing"):
        halved(model([node("MatMul", "x x", "y")], [value("x", [2, 2])], [value("y", [2, 2])], opset=11), bf16)


@pytest.mark.parametrize("low", [ir.DataType.FLOAT16, ir.DataType.BFLOAT16], ids=["fp16", "bf16"])
def test_rounding_keeps_numbers_finite_and_epsilons_alive(low):
    array = np.array([1e-45, -1e-45, 0.0, 3.4e38, -3.4e38, np.inf, 1.0], np.float32)
    found = rounded(array, low).astype(np.float32)
    assert found[0] > 0 > found[1]
    assert found[2] == 0
    assert np.isfinite(found[[3, 4]]).all()
    assert found[5] == np.inf
    assert found[6] == 1
    assert rounded(array, low).dtype == (np.float16 if low == ir.DataType.FLOAT16 else ml_dtypes.bfloat16)
