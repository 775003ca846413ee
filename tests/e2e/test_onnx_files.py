"""ONNX files of every shape: the conformance models that the onnx package ships, and files as users have them."""

import importlib
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import navigator as nav

CPU = "onnx @ onnxruntime-cpu"

CASES = {
    # name of the case: (its module, its inputs' batch axes)
    "test_gelu_default_2": ("gelu", {"x": 0}),
    "test_matmul_2d": ("matmul", {"a": 0, "b": None}),
    "test_layer_normalization_2d_axis1": ("layernormalization", {"X": 0, "W": None, "B": None}),
    "test_top_k": ("topk", {"x": 0, "k": None}),
    "test_argmax_default_axis_example": ("argmax", None),
    "test_lstm_defaults": ("lstm", None),
}


def case(name, module):
    from onnx.backend.test.case import node

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cases overflow on purpose while they are made
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    return next(case for case in node._NodeTestCases if case.name == name)


def value(name, shape, dtype=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def write(path, nodes, inputs, outputs, weights=None, **options):
    stored = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "model", inputs, outputs, stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save_model(model, path, **options)
    return path


@pytest.fixture
def optimize(tmp_path):
    def run(path, samples=None, **asked):
        asked = {"runners": ["onnxruntime-cpu"], "batch_sizes": [1], "workspace": tmp_path / "workspace", **asked}
        return nav.optimize(path, samples, **asked)

    return run


@pytest.mark.parametrize("name", CASES)
def test_a_conformance_model_answers_as_its_standard_says(optimize, tmp_path, name):
    known = case(name, CASES[name][0])
    path = tmp_path / "model.onnx"
    onnx.save(known.model, path)
    inputs, outputs = known.data_sets[0]
    names = [one.name for one in known.model.graph.input]
    report = optimize(path, dict(zip(names, inputs, strict=True)))
    assert report.best.name == CPU
    assert report.best.verdict.ok
    assert {spec.batch_axis for spec in report.signature.inputs} == {None}  # every axis of these files is fixed
    with report.load() as model:
        found = model(**dict(zip(names, inputs, strict=True)))
        again = model(*inputs)
    for declared, expected in zip(known.model.graph.output, outputs, strict=True):
        assert found[declared.name].dtype == expected.dtype
        np.testing.assert_allclose(found[declared.name], expected, rtol=known.rtol, atol=max(known.atol, 1e-6))
        np.testing.assert_array_equal(again[declared.name], found[declared.name])


@pytest.mark.parametrize("name", [name for name, (_, axes) in CASES.items() if axes])
def test_a_conformance_model_with_a_free_first_axis_takes_any_batch(optimize, tmp_path, name):
    module, expected = CASES[name]
    known = case(name, module)
    for tensor in (*known.model.graph.input, *known.model.graph.output):
        if tensor.name not in expected or expected[tensor.name] == 0:
            tensor.type.tensor_type.shape.dim[0].dim_param = "rows"
    path = tmp_path / "model.onnx"
    onnx.save(known.model, path)
    names = [one.name for one in known.model.graph.input]
    report = optimize(path, dict(zip(names, known.data_sets[0][0], strict=True)), batch_sizes=[1, 2])
    assert report.best.name == CPU
    assert {spec.name: spec.batch_axis for spec in report.signature.inputs} == expected
    assert [m.batch_size for m in report.best.measurements] == [1, 2]


def test_a_file_is_optimized_without_samples(optimize, tmp_path):
    weight = np.arange(6, dtype=np.float32).reshape(3, 2) / 7
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, [value("x", ["batch", 3])], [value("y", ["batch", 2])], {"w": weight})
    report = optimize(path)
    assert report.best.name == CPU
    assert any("made up" in note for note in report.notes)
    x = np.ones((5, 3), np.float32)
    with report.load() as model:
        np.testing.assert_allclose(model(x)["y"], x @ weight, rtol=1e-6)


def test_an_axis_of_unknown_size_needs_samples(optimize, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, [value("x", ["batch", "time"])], [value("y", ["batch", "time"])])
    with pytest.raises(nav.RequestError, match="axis 'time' of input 'x' is dynamic and nothing says how large"):
        optimize(path)
    report = optimize(path, [np.ones((2, n), np.float32) for n in (4, 9)])
    time = report.signature.inputs[0].shape[1]
    assert (time.min, time.max) == (4, 9)


def test_external_data_comes_along_wherever_the_file_goes(optimize, tmp_path):
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    folder = tmp_path / "model"
    folder.mkdir()
    path = write(
        folder / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["N", 64])],
        [value("y", ["N", 32])], {"w": weight}, save_as_external_data=True, location="m.weights", size_threshold=0,
    )  # fmt: skip
    report = optimize(path, np.ones((2, 64), np.float32))
    saved = report.save(tmp_path / "model.nav")
    (folder / "m.weights").unlink()
    x = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    for loaded in (report.load(), nav.load(saved).load()):
        with loaded as model:
            np.testing.assert_allclose(model(x)["y"], x @ weight, rtol=1e-4, atol=1e-5)
    with pytest.raises(nav.RequestError, match=r"m\.onnx keeps weights in m\.weights, which is not there"):
        optimize(path, x)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.ones((2, 4), np.float32), r"input 'x' of sample 0 is of shape \[2, 4\], but the file takes \[batch, 3\]"),
        (np.ones((2, 3)), "input 'x' is float64 in the samples, but the file takes float32; .* never cast"),
        ({"X": np.ones((2, 3), np.float32)}, "'X', which the model does not take .it takes x"),
        ((np.ones((2, 3), np.float32), np.ones(2)), r"labels\?"),
    ],
)
def test_samples_that_the_file_does_not_take(optimize, tmp_path, samples, message):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    path = write(tmp_path / "m.onnx", nodes, [value("x", ["batch", 3])], [value("y", ["batch", 3])])
    with pytest.raises(nav.RequestError, match=message):
        optimize(path, samples)


def test_the_batch_axis_may_be_another_than_the_first(optimize, tmp_path):
    nodes = [
        helper.make_node("LSTM", ["x", "W", "R", "", "", "h"], ["y", "last"], hidden_size=4),
    ]
    rng = np.random.default_rng(0)
    weights = {n: rng.standard_normal((1, 16, k)).astype(np.float32) for n, k in (("W", 3), ("R", 4))}
    path = write(
        tmp_path / "m.onnx", nodes, [value("x", ["time", "batch", 3]), value("h", [1, "batch", 4])],
        [value("y", ["time", 1, "batch", 4]), value("last", [1, "batch", 4])], weights,
    )  # fmt: skip

    def sample(time, batch):
        sizes = {"x": (time, batch, 3), "h": (1, batch, 4)}
        return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in sizes.items()}

    report = optimize(path, [sample(5, 2), sample(8, 3)], batch_sizes=[1, 4])
    assert {spec.name: spec.batch_axis for spec in report.signature.inputs} == {"x": 1, "h": 1}
    assert {spec.name: spec.batch_axis for spec in report.signature.outputs} == {"y": 2, "last": 1}
    assert report.best.name == CPU


def test_a_precision_that_was_not_allowed_does_not_win(optimize, tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    shape = ["batch", 3]
    path = write(
        tmp_path / "m.onnx", nodes, [value("x", shape, TensorProto.FLOAT16)], [value("y", shape, TensorProto.FLOAT16)]
    )
    report = optimize(path, np.ones((2, 3), np.float16))
    assert report.precision == "fp16"
    assert report.best.precision == "fp16"
    refused = optimize(path, np.ones((2, 3), np.float16), precisions=["fp32"])
    assert refused.best is None
    assert "not among precisions" in refused.candidates[0].reason
