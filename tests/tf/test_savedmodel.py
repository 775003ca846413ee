"""SavedModels: names and shapes kept, files as sources, and what is said of those that are none."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from navigator_core import Dim, Names
from navigator_core.errors import NavigatorError, RequestError
from navigator_tf import run, savedmodel, serving, source, tracing

from . import models
from .conftest import BATCH, as_tensors, batch_of, context_for, reference, saved


def test_names_that_tensorflow_does_not_take_are_changed_and_returned(tmp_path, threads):
    model = models.two_inputs()
    given = [models.normal(2, 4), models.normal(2, 4, seed=1)]
    context = context_for(model, tf_call(given), {"inputs.0": {0: BATCH}, "inputs.1": {0: BATCH}})
    names = savedmodel.export(model, tmp_path / "model.savedmodel", None, context)
    assert names == Names({"inputs.0": "inputs_0", "inputs.1": "inputs_1"})
    declared = serving.declared(tmp_path / "model.savedmodel")
    assert set(declared.inputs) == {"inputs_0", "inputs_1"}


def tf_call(given):
    from navigator_core import Call

    return Call((given,))


def test_words_are_of_letters_and_no_two_alike():
    assert tracing.words(["a.b", "a_b", "0", "_x", "größe"]) == {
        "a.b": "a_b", "a_b": "a_b_2", "0": "x_0", "_x": "x", "größe": "gr__e",
    }  # fmt: skip


def test_a_file_declares_what_was_exported(tmp_path):
    model = models.encoder()
    context = context_for(model, models.ids(2, 7), {"tokens": {}, "inputs": {0: BATCH, 1: Dim("length", 1, 9)}})
    found = savedmodel.signature(saved(model, context, tmp_path))
    (spec,) = found.inputs
    assert (spec.name, spec.dtype, spec.shape) == ("inputs", "int32", (Dim("batch"), Dim("inputs_1")))
    assert [one.name for one in found.outputs] == ["output"]


def test_what_keras_exports_itself_is_a_source(tmp_path, threads):
    model = models.plain_net()
    model.export(tmp_path / "model.savedmodel", verbose=False)
    found = savedmodel.signature(tmp_path / "model.savedmodel")
    assert found.inputs[0].shape == (Dim("batch"), 4)
    assert savedmodel.noise(tmp_path / "model.savedmodel", tmp_path / "noise") is None
    assert savedmodel.signature(tmp_path / "noise") == found


def test_a_folder_without_a_serving_signature_says_what_it_has(tmp_path):
    module = tf.Module()
    serve = tf.function(lambda x: {"y": x}).get_concrete_function(tf.TensorSpec([None, 2], name="x"))
    tf.saved_model.save(module, str(tmp_path / "other"), signatures={"encode": serve})
    with pytest.raises(RequestError, match=r"no signature 'serving_default' \(it has encode\)"):
        savedmodel.signature(tmp_path / "other")
    with pytest.raises(RequestError, match="cannot be read as a SavedModel"):
        savedmodel.signature(tmp_path / "none")


@pytest.mark.parametrize(
    ("spec", "said"),
    [(tf.TensorSpec([None], tf.string, "x"), "is of type string"), (tf.TensorSpec(None, name="x"), "no axes")],
)
def test_text_and_tensors_without_axes_are_refused(tmp_path, spec, said):
    module = tf.Module()
    module.serve = tf.function(lambda x: {"y": tf.identity(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "it"), signatures={"serving_default": module.serve})
    with pytest.raises(RequestError, match=said):
        savedmodel.signature(tmp_path / "it")


def test_a_model_that_cannot_be_traced_says_so(tmp_path):
    def looking(x):
        return x * float(np.asarray(x).sum())

    module = type("Looking", (tf.Module,), {"__call__": lambda self, x: looking(x)})()
    context = context_for(module, models.normal(2, 4), {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match="cannot write it as a SavedModel"):
        saved(module, context, tmp_path)


def test_variables_and_tables_of_a_module_are_kept(tmp_path, threads):
    class Looked(tf.Module):
        def __init__(self):
            super().__init__()
            pairs = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2]), tf.constant([10.0, 20.0]))
            self.table = tf.lookup.StaticHashTable(pairs, -1.0)
            self.scale = tf.Variable(2.0)

        def __call__(self, ids):
            return self.table.lookup(ids) * self.scale

    module = Looked()
    context = context_for(module, np.asarray([1, 2, 3], np.int32), {"ids": {0: BATCH}})
    path = saved(module, context, tmp_path)
    del module
    call = savedmodel.run(path, threads, context).call
    assert call(as_tensors(context.signature, context.samples[0]))["output"].numpy().tolist() == [20, 40, -2]


def test_a_model_that_needs_to_know_the_sizes_is_traced_for_each(threads):
    def folded(x):
        return tf.constant(np.zeros(x.shape[0], np.float32)) + tf.reduce_sum(x, 1)

    function = tf.function(folded)
    context = context_for(function, models.normal(2, 4), {"x": {0: BATCH}})
    for runner in (run.graph, run.xla):
        call = runner(source.prepare(function), threads, context).call
        for rows in (1, 3):
            arrays = batch_of(context, rows)
            found = call(as_tensors(context.signature, arrays))["output"].numpy()
            np.testing.assert_allclose(found, arrays["x"].sum(1), rtol=1e-5, atol=1e-6)


def test_a_graph_keeps_what_it_needs_of_its_model(threads):
    context = context_for(models.Attention(), models.normal(2, 5, 8), {"x": {0: BATCH}})
    call = run.graph(source.prepare(models.Attention()), threads, context).call
    found = call(as_tensors(context.signature, context.samples[0]))
    expected = reference(models.Attention(), context, context.samples[0])
    np.testing.assert_allclose(found["pooled"].numpy(), expected["pooled"], rtol=1e-5, atol=1e-6)


def test_of_parts_that_xla_compiles_a_converter_sees_plain_functions(tmp_path):
    model = models.conv_net()
    context = context_for(model, models.normal(2, 8, 8, 3), {"inputs": {0: BATCH}})
    path = saved(model, context, tmp_path)
    with serving.looked_into(path) as seen:
        assert seen != path
        assert b"_XlaMustCompile" not in (seen / "saved_model.pb").read_bytes()
    assert b"_XlaMustCompile" in (path / "saved_model.pb").read_bytes()
    plain = models.plain_net()
    other = saved(plain, context_for(plain, models.normal(2, 4), {"inputs": {0: BATCH}}), tmp_path / "plain")
    with serving.looked_into(other) as seen:
        assert seen == other


def test_a_layer_alone_is_exported_with_its_weights(tmp_path, threads):
    layer = keras.layers.Dense(3)
    layer.build((None, 4))
    context = context_for(layer, models.normal(2, 4), {"inputs": {0: BATCH}})
    call = savedmodel.run(saved(layer, context, tmp_path), threads, context).call
    found = call(as_tensors(context.signature, context.samples[0]))["output"].numpy()
    np.testing.assert_allclose(found, reference(layer, context, context.samples[0])["output"], rtol=1e-6)
