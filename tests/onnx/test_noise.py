"""Weights moved by one unit in the last place."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx_models import linear, model, node, value, write, write_external

from navigator_onnx.noise import LAYOUTS, noise, step
from navigator_onnx.source import companions


def weights(path):
    return {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}


def neighbours(a):
    return np.nextafter(a, a.dtype.type(-np.inf)), np.nextafter(a, a.dtype.type(np.inf))


def assert_moved(before, after):
    down, up = neighbours(before)
    zero = before == 0
    assert ((after == down) | (after == up))[~zero].all()
    assert (after == before)[zero].all()


@pytest.fixture
def wide(tmp_path):
    weight = np.random.default_rng(1).normal(size=(3, 200)).astype(np.float32)
    proto = linear(weight)
    proto.graph.initializer[1].CopyFrom(numpy_helper.from_array(weight[0].copy(), "b"))
    return proto


@pytest.mark.parametrize("save", [write, write_external], ids=["inside", "external"])
def test_every_weight_moves_by_one_unit_up_or_down(tmp_path, wide, save):
    source = save(tmp_path / "a" / "m.onnx", wide)
    (tmp_path / "b").mkdir()
    noise(source, tmp_path / "b" / "n.onnx")
    before, after = weights(source), weights(tmp_path / "b" / "n.onnx")
    for name in ("w", "b"):
        assert_moved(before[name], after[name])
        assert 0.3 < (after[name] > before[name]).mean() < 0.7


def test_the_source_is_left_alone_and_the_same_comes_out_every_time(tmp_path, wide):
    source = write_external(tmp_path / "a" / "m.onnx", wide)
    content = [(tmp_path / "a" / name).read_bytes() for name in ("m.onnx", "weights.data")]
    for folder in ("b", "c"):
        (tmp_path / folder).mkdir()
        noise(source, tmp_path / folder / "m.onnx")
    assert [(tmp_path / "a" / name).read_bytes() for name in ("m.onnx", "weights.data")] == content
    for name in ("m.onnx", "weights.data"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes()
    assert companions(tmp_path / "b" / "m.onnx") == companions(source)


def test_inside_and_outside_are_moved_alike(tmp_path, wide):
    one = write(tmp_path / "a" / "m.onnx", wide)
    other = write_external(tmp_path / "b" / "m.onnx", wide)
    for folder in ("c", "d"):
        (tmp_path / folder).mkdir()
    noise(one, tmp_path / "c" / "m.onnx")
    noise(other, tmp_path / "d" / "m.onnx")
    assert (weights(tmp_path / "c" / "m.onnx")["w"] == weights(tmp_path / "d" / "m.onnx")["w"]).all()


def test_external_data_is_never_overwritten(tmp_path):
    source = write_external(tmp_path / "m.onnx", linear())
    with pytest.raises(ValueError, match="would overwrite the external data"):
        noise(source, tmp_path / "n.onnx")


def test_tied_external_weights_move_once(tmp_path, wide):
    source = write_external(tmp_path / "a" / "m.onnx", wide)
    proto = onnx.load(source, load_external_data=False)
    twin = proto.graph.initializer.add()
    twin.CopyFrom(proto.graph.initializer[0])
    twin.name = "twin"
    source.write_bytes(proto.SerializeToString())
    (tmp_path / "b").mkdir()
    noise(source, tmp_path / "b" / "m.onnx")
    after = weights(tmp_path / "b" / "m.onnx")
    assert_moved(weights(source)["w"], after["w"])
    assert (after["twin"] == after["w"]).all()


SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_zeros_and_what_is_not_finite_stay(dtype):
    bits = np.array(SPECIAL, dtype).view(f"<u{np.dtype(dtype).itemsize}")
    layout = LAYOUTS[helper.np_dtype_to_tensor_dtype(np.dtype(dtype))]
    assert (step(bits, layout, np.random.default_rng(0)) == bits).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_number_does_not_become_infinite(dtype):
    largest = np.full(100, np.finfo(dtype).max)
    layout = LAYOUTS[helper.np_dtype_to_tensor_dtype(np.dtype(dtype))]
    moved = step(largest.view(f"<u{largest.itemsize}"), layout, np.random.default_rng(0)).view(dtype)
    assert (moved == np.nextafter(largest, dtype(0))).all()


def typed(tmp_path, element, raw):
    values = np.linspace(-3, 3, 64, dtype=np.float32)
    if raw:
        dtype = helper.tensor_dtype_to_np_dtype(element)
        tensor = numpy_helper.from_array(values.astype(dtype), "w")
    else:
        tensor = helper.make_tensor("w", element, [64], values)
    proto = model([node("Identity", "w", "y")], [], [value("y", [64], element)])
    proto.graph.initializer.append(tensor)
    return write(tmp_path / "a" / "m.onnx", proto)


@pytest.mark.parametrize("raw", [True, False], ids=["raw", "typed"])
@pytest.mark.parametrize("element", [TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_every_floating_type_moves_however_it_is_stored(tmp_path, element, raw):
    source = typed(tmp_path, element, raw)
    (tmp_path / "b").mkdir()
    noise(source, tmp_path / "b" / "m.onnx")
    before, after = weights(source)["w"], weights(tmp_path / "b" / "m.onnx")["w"]
    assert before.dtype == after.dtype
    width = before.dtype.itemsize
    apart = np.abs(before.view(f"i{width}").astype(np.int64) - after.view(f"i{width}").astype(np.int64))
    assert (apart == (before != 0)).all()


def test_operands_that_decide_a_shape_or_a_domain_stay(tmp_path):
    scales = np.array([1, 1, 1.5, 1.5], np.float32)
    proto = model(
        [node("Pow", "x p", "squared"), node("Resize", "squared  scales", "big"), node("Mul", "big k", "y")],
        [value("x", [1, 1, 4, 4])],
        [value("y", [1, 1, 6, 6])],
        {"p": np.array([2], np.float32), "scales": scales, "k": np.array([1.5], np.float32)},
    )
    proto.graph.node[1].input[:] = ["squared", "", "scales"]
    source = write(tmp_path / "a" / "m.onnx", proto)
    (tmp_path / "b").mkdir()
    noise(source, tmp_path / "b" / "m.onnx")
    before, after = weights(source), weights(tmp_path / "b" / "m.onnx")
    assert {name: bool((before[name] == after[name]).all()) for name in before} == {
        "p": True,
        "scales": True,
        "k": False,
    }
    session = onnxruntime.InferenceSession(tmp_path / "b" / "m.onnx", providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.full((1, 1, 4, 4), -1, np.float32)})
    assert np.isfinite(result).all()


def test_weights_that_are_constants_move_and_scalars_and_integers_stay(tmp_path):
    def constant(name, array):
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array))

    arrays = {"w": np.array([0.5, 0.7], np.float32), "s": np.array(0.3, np.float32), "i": np.array([3, 4])}
    proto = model([constant(*item) for item in arrays.items()], [], [value("w", [2])])
    source = write(tmp_path / "a" / "m.onnx", proto)
    (tmp_path / "b").mkdir()
    noise(source, tmp_path / "b" / "m.onnx")
    after = {
        n.output[0]: numpy_helper.to_array(n.attribute[0].t) for n in onnx.load(tmp_path / "b" / "m.onnx").graph.node
    }
    assert_moved(arrays["w"], after["w"])
    assert after["s"] == arrays["s"]
    assert (after["i"] == arrays["i"]).all()
