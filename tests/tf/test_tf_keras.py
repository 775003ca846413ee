"""Models of the older Keras, as those of Keras 3."""

import pickle

import numpy as np
import pytest
import tensorflow as tf

from navigator_tf import plugin, source

from . import models
from .conftest import BATCH, context_for, reference, saved
from .test_copies import in_double

tf_keras = pytest.importorskip("tf_keras", reason="tf-keras is not installed, which wants the large TensorFlow")


def net():
    layers = tf_keras.layers
    return tf_keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, activation="gelu"),
        ]
    )


def test_it_is_recognised_sent_exported_and_has_its_truth(tmp_path, threads):
    model, x = net(), models.normal(2, 8, 8, 3)
    assert plugin.identify_model(model) == "keras"
    assert source.fingerprint(model) == source.fingerprint(model)
    context = context_for(model, x, {"inputs": {0: BATCH}})
    expected = reference(model, context, context.samples[0])["output"]
    arrived = source.prepare(pickle.loads(pickle.dumps(source.pack(model))))
    np.testing.assert_array_equal(np.asarray(arrived(tf.constant(x))), expected)
    (exact,) = in_double(model, x, threads=threads)
    assert 0 < np.abs(exact - expected).max() < 1e-5
    assert saved(model, context, tmp_path).is_dir()
