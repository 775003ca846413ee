"""The way to ONNX Runtime, where jax2onnx and navigator-onnx are installed: in the session of the long tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import navigator as nav
from navigator_core import Dim, Names
from navigator_core.errors import NavigatorError
from navigator_jax import options, source

from . import models
from .conftest import BATCH, HAS_ONNX, NO_ONNX, context_for

pytestmark = [pytest.mark.together, pytest.mark.skipif(not HAS_ONNX, reason=NO_ONNX)]


def written(model, context, folder, **chosen):
    import onnx

    from navigator_jax import onnx as exporter

    names = exporter.export(source.prepare(model), folder / "model.onnx", options.ToOnnx(**chosen), context)
    return onnx.load(folder / "model.onnx"), names


def axes(values):
    return {v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}


def test_names_are_the_signatures_and_dynamic_axes_stay_so(tmp_path):
    make, samples = models.MODELS["flax nnx: encoder of token ids with a mask"]
    model, length = make(), Dim("ids_1", 2, 20)
    context = context_for(model, samples()[0], {"ids": {0: BATCH, 1: length}, "mask": {0: BATCH, 1: length}})
    made, names = written(model, context, tmp_path)
    assert names is None
    assert axes(made.graph.input) == {"ids": ["b", "d1"], "mask": ["b", "d1"]}
    assert axes(made.graph.output) == {"output": ["b", 16]}


def test_an_output_called_like_an_input_is_renamed(tmp_path):
    def model(x):
        return {"x": jnp.tanh(x), "x.out1": x * 2}

    context = context_for(model, models.normal(2, 8), {"x": {0: BATCH}})
    made, names = written(model, context, tmp_path)
    assert names == Names(outputs={"x": "x.out2"})
    assert [value.name for value in made.graph.output] == ["x.out2", "x.out1"]


def test_what_jax2onnx_cannot_convert_is_a_sentence(tmp_path):
    def model(x):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    context = context_for(model, models.normal(2, 8), {})
    with pytest.raises(NavigatorError, match=r"^jax2onnx failed: .*"):
        written(model, context, tmp_path)


@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_of_the_table_reaches_onnx_runtime(name, tmp_path):
    make, samples = models.MODELS[name]
    report = nav.optimize(
        make(),
        samples(),
        runners=["jax-eager", "onnxruntime-cpu"],
        targets=["onnx"],
        batch_sizes=[1],
        objective=nav.Objective(minimize="memory"),
        workspace=tmp_path / "workspace",
    )
    found = {c.name: (c.status, c.reason) for c in report.candidates}
    assert found["jax->onnx @ onnxruntime-cpu"] == ("ok", None)
