"""The way to TensorFlow, where it and navigator-tf are installed: in the session of the long tests."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import navigator as nav
from navigator_core import Dim, Names, testing
from navigator_core.errors import NavigatorError
from navigator_jax import options, source

from . import models
from .conftest import BATCH, HAS_TENSORFLOW, NO_TENSORFLOW, context_for

pytestmark = [pytest.mark.together, pytest.mark.skipif(not HAS_TENSORFLOW, reason=NO_TENSORFLOW)]


def written(model, context, folder):
    from navigator_jax import savedmodel

    path = folder / "model.savedmodel"
    return path, savedmodel.export(source.prepare(model), path, options.ToSavedModel(), context)


def test_it_answers_for_every_size_that_the_signature_allows(tmp_path):
    import tensorflow as tf

    make, samples = models.MODELS["flax nnx: encoder of token ids with a mask"]
    model, length = make(), Dim("ids_1", 2, 20)
    context = context_for(model, samples()[0], {"ids": {0: BATCH, 1: length}, "mask": {0: BATCH, 1: length}})
    path, names = written(model, context, tmp_path)
    assert names is None
    run = tf.saved_model.load(str(path)).signatures["serving_default"]
    for rows, size in ((1, 2), (5, 9)):
        ids = np.arange(rows * size, dtype=np.int32).reshape(rows, size) % 50
        mask = np.ones_like(ids)
        found = run(ids=tf.constant(ids), mask=tf.constant(mask))["output"]
        np.testing.assert_allclose(found, model(jnp.asarray(ids), jnp.asarray(mask)), rtol=1e-4, atol=1e-5)


def test_names_that_tensorflow_refuses_are_changed_and_returned(tmp_path):
    def model(levels):
        return {"the sum": levels[0] + levels[1]}

    context = context_for(model, nav.call([models.normal(2, 4), models.normal(2, 4)]), {})
    _, names = written(model, context, tmp_path)
    assert isinstance(names, Names)
    assert names.outputs == {"the sum": "the_sum"}
    assert sorted(names.inputs.values()) == ["levels_0", "levels_1"]


def test_a_model_that_needs_a_size_as_a_number_is_a_sentence(tmp_path):
    context = context_for(lambda x: x * int(x.shape[0]), models.normal(2, 8), {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match=r"^jax2tf failed: .*b is 'batch'"):
        written(lambda x: x * int(x.shape[0]), context, tmp_path)


class TestJaxToSavedModel(testing.ConversionContract):
    module = "navigator_jax.plugin"
    conversion = "jax->savedmodel"

    def source(self, folder):
        return models.MODELS["flax nnx: convolutions, batch norm, dropout"][0](), models.normal(2, 8, 8, 3)


def test_the_plan_says_where_it_does_not_lead(tmp_path):
    plan = nav.plan(jax.jit(lambda x: jnp.tanh(x)), models.normal(2, 8), workspace=tmp_path)
    assert "jax->savedmodel" in plan.steps
    assert not [name for name in (*plan.steps, *plan.candidates) if name.startswith("jax->savedmodel->tflite")]
    reason, _ = plan.unavailable["jax->savedmodel->tflite"]
    assert "XlaCallModule" in reason
