"""What the core asks of a live model: how it is called, and its way to another process."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from navigator_core import shipping
from navigator_core.errors import RequestError
from navigator_tf import source

from . import models


def names(model):
    return list(source.parameters(model).parameters)


def leaves(outputs):
    return [np.asarray(one) for one in tf.nest.flatten(outputs)]


def called(model, sample):
    given = sample if isinstance(sample, tuple) else (sample,)
    return leaves(model(*map(tf.convert_to_tensor, given)))


def test_a_model_is_called_as_its_call_says():
    assert names(models.conv_net()) == ["inputs"]
    assert names(models.subclassed()) == ["x"]
    assert names(models.Attention()) == ["x"]
    assert names(models.recurrent) == ["x", "start"]


def test_of_a_method_self_is_left_out():
    class Serving(tf.Module):
        @tf.function
        def serve(self, x, *, scale=1.0):
            return x * scale

        @tf.function
        def __call__(self, y):
            return y

    assert names(Serving().serve) == ["x", "scale"]
    assert names(Serving()) == ["y"]


def test_a_module_without_a_call_says_what_to_give():
    class Serving(tf.Module):
        def serve(self, x):
            return x

    with pytest.raises(ValueError, match="give one of its functions"):
        source.parameters(Serving())


def test_a_model_whose_weights_have_yet_to_be_made_is_refused():
    with pytest.raises(ValueError, match="it has no weights yet: call it once"):
        source.parameters(keras.Sequential([keras.layers.Dense(3)]))


def test_one_tensor_for_a_model_of_two_says_how_to_give_them():
    ready = source.prepare(models.two_inputs())
    with pytest.raises(RequestError, match=r"nav\.call\(\[a, b\]\)"):
        ready(tf.ones((2, 4)))
    one = tf.ones((2, 4))
    assert ready([one, one]).shape == (2, 3)


def sent(model):
    """In band would do as well; the buffers come as another process gets them."""
    buffers = []
    stream = shipping.dumps(source.pack(model), {}, buffer_callback=buffers.append)
    return stream, [bytearray(buffer.raw()) for buffer in buffers]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_arrives_and_answers_as_before(name):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    stream, buffers = sent(model)
    arrived = source.prepare(pickle.loads(stream, buffers=buffers))
    for one, other in zip(called(arrived, sample), called(model, sample), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_travel_out_of_band():
    stream, buffers = sent(keras.Sequential([keras.Input((300,)), keras.layers.Dense(300)]))
    assert len(stream) < 20_000
    assert sorted(map(len, buffers)) == [1200, 360_000]
    module = tf.Module()
    module.held = [tf.Variable(tf.ones((300, 300)))]
    stream, buffers = sent(tf.function(lambda x: x @ module.held[0]))
    assert len(stream) < 20_000
    assert sum(map(len, buffers)) == 360_000


def test_types_of_variables_survive():
    module = tf.Module()
    kinds = ("bfloat16", "float16", "int64", "bool")
    module.held = {kind: tf.Variable(tf.cast([[1, 0]], kind)) for kind in kinds}
    module.empty = tf.constant(np.zeros((0, 3), np.float32))
    stream, buffers = sent(tf.function(lambda: (dict(module.held), module.empty)))
    found, empty = source.prepare(pickle.loads(stream, buffers=buffers)).function()
    assert {name: value.dtype.name for name, value in found.items()} == {kind: kind for kind in kinds}
    assert empty.shape == (0, 3)


class NoConfiguration(keras.Model):
    """Keras cannot tell what it was made with."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x)


def test_a_model_that_keras_cannot_make_again_is_no_pickle_and_says_why():
    model = NoConfiguration(number for number in range(3))
    with pytest.raises(pickle.PicklingError, match="Keras cannot make it again from its configuration"):
        sent(model)
    assert source.prepare(source.pack(model)).model is model


class Nested(keras.Model):
    """A functional model, a list and a dict of layers, and an object in a model that takes no configuration."""

    def __init__(self, inner, kept):
        super().__init__()
        self.inner, self.kept = inner, kept
        self.listed = [keras.layers.Dense(4) for _ in range(2)]
        self.named = {"norm": keras.layers.LayerNormalization(), "attend": keras.layers.MultiHeadAttention(2, 2)}

    def call(self, x):
        for layer in self.listed:
            x = layer(x)
        return self.inner(self.named["norm"](self.named["attend"](x, x))) * self.kept.scale


class Kept:
    scale = 3.0


def test_a_model_that_takes_no_configuration_goes_object_by_object():
    inner = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(8), keras.layers.Dense(3)])
    model = Nested(inner, Kept())
    x = models.normal(2, 5, 4)
    expected = called(model, x)
    stream, buffers = sent(model)
    arrived = source.prepare(pickle.loads(stream, buffers=buffers))
    np.testing.assert_array_equal(called(arrived, x)[0], expected[0])
    for one, other in zip(arrived.model.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_what_was_set_after_a_model_was_made_arrives_as_well():
    model = models.subclassed()
    model.note = 1.0
    stream, buffers = sent(model)
    assert pickle.loads(stream, buffers=buffers).live("cpu").note == 1.0


def test_evaluation_is_as_the_model_is_called_without_training():
    model = models.plain_net()
    x = models.normal(2, 4)
    ready = source.prepare(model)
    np.testing.assert_array_equal(called(ready, x)[0], called(ready, x)[0])
    np.testing.assert_allclose(called(ready, x)[0], model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
