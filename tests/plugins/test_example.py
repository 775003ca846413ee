"""The plugin to copy, tested as a stranger's plugin is."""

import json
import re
from typing import ClassVar

import numpy as np
import pytest

import navigator as nav
from navigator_core import Context, Dim, Names, Signature, TensorSpec, availability, testing
from navigator_example import plugin
from navigator_example.plugin import ConvertOptions
from navigator_example.run import gemm, load

MODULE = "navigator_example.plugin"
RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((4, 5)).astype("float32"),
    "b": RNG.standard_normal(5).astype("float32"),
    "v": RNG.standard_normal((2, 5)).astype("float32"),
}
SIGNATURE = Signature(
    (TensorSpec("x", "float32", (Dim("batch"), 4)),), (TensorSpec("y", "float32", (Dim("batch"), 2)),)
)

LACKING = availability.missing(plugin.declare_converters()[0].requirements)
with_onnx = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))


def batch(rows):
    return np.random.default_rng(rows).standard_normal((rows, 4)).astype("float32")


def expected(x):
    return np.maximum(x @ WEIGHTS["w"] + WEIGHTS["b"], 0) @ WEIGHTS["v"].T


def write(path, x="x", y="y"):
    """A model of the example format, made by hand."""
    steps = [
        {"operator": "Gemm", "takes": [x, "w", "b"], "gives": "h", "attributes": {}},
        {"operator": "Relu", "takes": ["h"], "gives": "r", "attributes": {}},
        {"operator": "Gemm", "takes": ["r", "v"], "gives": y, "attributes": {"transB": 1}},
    ]
    np.savez(path, steps=json.dumps(steps), **{f"weight {name}": array for name, array in WEIGHTS.items()})
    return path


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("onnx", "numpy")


class TestRunner(testing.RunnerContract):
    module = MODULE
    runner = "example-numpy"

    def case(self, folder):
        calls = [({"x": batch(n)}, {"y": expected(batch(n))}) for n in (1, 3, 8)]
        return testing.RunnerCase(write(folder / "model.npz"), Context(signature=SIGNATURE), calls)


def test_tensors_go_by_the_names_that_the_artifact_has_for_them(tmp_path):
    path = write(tmp_path / "model.npz", x="input.1", y="output/3")
    loaded = load(path, None, Context(signature=SIGNATURE, names=Names({"x": "input.1"}, {"y": "output/3"})))
    np.testing.assert_allclose(loaded.call({"x": batch(3)})["y"], expected(batch(3)), rtol=1e-5)


@pytest.mark.parametrize("a_is_transposed", [False, True])
@pytest.mark.parametrize("b_is_transposed", [False, True])
def test_gemm_is_what_onnx_says_it_is(a_is_transposed, b_is_transposed):
    a, b, c = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 4)), RNG.standard_normal(4)
    found = gemm(
        a.T if a_is_transposed else a,
        b.T if b_is_transposed else b,
        c,
        alpha=0.5,
        beta=2.0,
        transA=int(a_is_transposed),
        transB=int(b_is_transposed),
    )
    np.testing.assert_allclose(found, 0.5 * (a @ b) + 2.0 * c)


def test_a_wrong_option_is_refused():
    with pytest.raises(TypeError):
        ConvertOptions(compress="yes")


def test_without_what_reads_onnx_the_conversion_says_what_to_install(monkeypatch):
    monkeypatch.setattr(availability, "installed_version", lambda name: None)
    with testing.using(plugin):
        (conversion,) = nav.graph().conversions
        assert conversion.name == "onnx->example"
        assert conversion.unavailable.remedy == "pip install navigator-onnx"
        assert nav.runners()["example-numpy"].requirements == ()


def mlp(path, activation="Relu"):
    from onnx import TensorProto, helper, numpy_helper, save_model

    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "b"], ["h"]),
            helper.make_node(activation, ["h"], ["r"], name="activation"),
            helper.make_node("Gemm", ["r", "v"], ["y"], transB=1),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in WEIGHTS.items()],
    )
    save_model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@with_onnx
class TestConverter(testing.ConversionContract):
    module = MODULE
    conversion = "onnx->example"

    def source(self, folder):
        return mlp(folder / "model.onnx"), {"x": batch(2)}


@with_onnx
def test_a_model_is_optimized_by_way_of_the_example_runtime(tmp_path):
    report = nav.optimize(
        mlp(tmp_path / "model.onnx"),
        {"x": batch(2)},
        workspace=tmp_path / "workspace",
        runners=["example-numpy"],
        batch_sizes=[1],
    )
    (mine,) = [candidate for candidate in report.candidates if candidate.name == "onnx->example @ example-numpy"]
    assert (mine.status, mine.reason) == ("ok", None)
    with mine.load() as model:
        np.testing.assert_allclose(model(batch(3))["y"], expected(batch(3)), rtol=1e-4, atol=1e-5)


@with_onnx
def test_an_operator_it_lacks_is_named_in_the_report(tmp_path):
    path = mlp(tmp_path / "model.onnx", "Softsign")
    report = nav.optimize(
        path, {"x": batch(2)}, workspace=tmp_path / "workspace", runners=["example-numpy"], batch_sizes=[1]
    )
    (mine,) = [candidate for candidate in report.candidates if candidate.name.startswith("onnx->example ")]
    assert mine.status == "failed"
    assert re.search("no operator 'Softsign', which node 'activation' needs; it has Add, Gemm", mine.reason)


def size(options, folder):
    """Of a converted model, which is right whatever the options."""
    from navigator_example.convert import convert

    path, context = folder / "model.npz", Context(signature=SIGNATURE)
    convert(mlp(folder / "model.onnx"), path, options, context)
    np.testing.assert_allclose(load(path, None, context).call({"x": batch(3)})["y"], expected(batch(3)), rtol=1e-5)
    return path.stat().st_size


class TestOptions(testing.OptionsContract):
    module = MODULE
    effects: ClassVar = {"onnx->example": {"compress": testing.Effect(True, size) if LACKING is None else str(LACKING)}}
