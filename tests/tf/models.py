"""Real models of every kind, small, with random weights: what the tests and the table of what was seen go by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def ids(batch: int, length: int) -> np.ndarray:
    return np.random.default_rng(length).integers(1, 50, (batch, length)).astype(np.int32)


def conv_net() -> keras.Model:
    """Convolutions, one of them in groups, with batch norm and dropout; two outputs by name."""
    keras.utils.set_random_seed(0)
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.Conv2D(8, 3, activation="relu")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Conv2D(8, 3, groups=2, activation="relu")(x)
    hidden = keras.layers.GlobalAveragePooling2D()(x)
    logits = keras.layers.Dense(5)(keras.layers.Dropout(0.5)(hidden))
    return keras.Model(image, {"logits": logits, "hidden": hidden})


def plain_net() -> keras.Model:
    """What every tool can convert."""
    keras.utils.set_random_seed(0)
    layers = keras.layers.Dense(8, activation="tanh"), keras.layers.Dropout(0.5), keras.layers.Dense(3)
    return keras.Sequential([keras.Input((4,)), *layers])


def two_inputs() -> keras.Model:
    """Two tensors in its one argument."""
    keras.utils.set_random_seed(0)
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    return keras.Model([a, b], keras.layers.Dense(3)(keras.layers.subtract([a, 2 * b])))


def encoder(features: int = 16, heads: int = 2, blocks: int = 2) -> keras.Model:
    """A transformer with the exact GELU; ids of 0 are padding."""
    keras.utils.set_random_seed(0)
    tokens = keras.Input((None,), dtype="int32", name="ids")
    x = keras.layers.Embedding(50, features)(tokens)
    seen = keras.ops.expand_dims(keras.ops.not_equal(tokens, 0), 1)
    for _ in range(blocks):
        normed = keras.layers.LayerNormalization()(x)
        x = x + keras.layers.MultiHeadAttention(heads, features // heads)(normed, normed, attention_mask=seen)
        inner = keras.layers.Dense(2 * features)(keras.layers.LayerNormalization()(x))
        x = x + keras.layers.Dense(features)(keras.ops.gelu(inner, approximate=False))
    return keras.Model(tokens, keras.layers.GlobalAveragePooling1D()(x))


@keras.saving.register_keras_serializable("tests")
class Scaled(keras.layers.Layer):
    """A layer of one's own, with a weight and a setting."""

    def __init__(self, factor: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, shape: Any) -> None:
        self.scale = self.add_weight(shape=(shape[-1],), initializer="random_normal", name="scale")

    def call(self, x: Any) -> Any:
        return x * self.scale * self.factor

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "factor": self.factor}


def custom() -> keras.Model:
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((4,)), Scaled(3.0), keras.layers.Dense(3)])


class Subclassed(keras.Model):
    """Made by ``__init__`` and ``call``; Keras knows its configuration from the arguments."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = keras.layers.Dense(width, activation="relu")
        self.second = keras.layers.Dense(3)

    def call(self, x: Any, training: bool = False) -> Any:
        return self.second(self.first(x))


def subclassed() -> keras.Model:
    keras.utils.set_random_seed(0)
    model = Subclassed(8)
    model(np.zeros((1, 4), np.float32))
    return model


class Attention(tf.Module):
    """A module of TensorFlow alone: lists of variables, a decision by a tensor, two outputs by name."""

    def __init__(self, features: int = 8) -> None:
        super().__init__()
        draw = tf.random.Generator.from_seed(0).normal
        self.weights = [tf.Variable(draw((features, features)) / 3, name=f"weight_{n}") for n in range(3)]
        self.scales = {"out": tf.Variable(tf.ones(features)), "in": tf.constant(0.5)}

    def __call__(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        query, key, value = (x @ weight for weight in self.weights)
        if tf.reduce_sum(tf.abs(x)) > 1e6:
            query = query * 0.0
        attended = tf.nn.softmax(query @ tf.transpose(key, [0, 2, 1]) * self.scales["in"]) @ value
        return {"attended": attended * self.scales["out"], "pooled": tf.reduce_mean(attended, 1)}


WEIGHTS = tf.constant(normal(8, 3, seed=7) / 3)


@tf.function(input_signature=[tf.TensorSpec([None, 8])])
def head(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(x @ WEIGHTS)


@tf.function
def recurrent(x: tf.Tensor, start: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A loop over time, as autograph makes one."""
    state = start
    for step in tf.range(tf.shape(x)[1]):
        state = tf.tanh(state @ WEIGHTS @ tf.transpose(WEIGHTS) + x[:, step])
    return state, tf.reduce_max(x, 1)


MODELS: dict[str, tuple[Callable[[], Any], Callable[[], list[Any]]]] = {
    "keras: convolutions, one grouped, batch norm, two outputs": (
        conv_net,
        lambda: [normal(2, 8, 8, 3), normal(3, 8, 8, 3, seed=1)],
    ),
    "keras: transformer with the exact GELU": (encoder, lambda: [ids(2, 7), ids(3, 9)]),
    "keras: with a layer of one's own": (custom, lambda: [normal(2, 4), normal(3, 4, seed=1)]),
    "keras: a subclass of Model": (subclassed, lambda: [normal(2, 4), normal(3, 4, seed=1)]),
    "tf.Module: attention": (Attention, lambda: [normal(2, 5, 8), normal(3, 6, 8, seed=1)]),
    "tf.function: a head": (lambda: head, lambda: [normal(2, 8), normal(3, 8, seed=1)]),
    "tf.function: a loop": (
        lambda: recurrent,
        lambda: [(normal(2, 5, 8), normal(2, 8, seed=2)), (normal(3, 5, 8, seed=1), normal(3, 8, seed=3))],
    ),
}
