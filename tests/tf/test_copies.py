"""The truth in float64, whatever types a model names, and the model with its weights nudged."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from attrs import evolve

from navigator_core import tensors
from navigator_core.errors import NavigatorError
from navigator_tf import run, savedmodel, source

from . import models
from .conftest import BATCH, as_tensors, context_for, reference, saved

X = models.normal(4, 8)
EXACT = X.astype(np.float64)
WIDE = models.WEIGHTS.numpy().astype(np.float64)


def wide_of(context):
    inputs = tuple(evolve(s, dtype="float64") if s.dtype == "float32" else s for s in context.signature.inputs)
    return evolve(context, signature=evolve(context.signature, inputs=inputs))


def widened(arrays):
    return {name: a.astype(np.float64) if a.dtype.kind == "f" else a for name, a in arrays.items()}


def in_double(function, *sample, threads):
    """Its outputs in float64, as the core asks for them."""
    context = context_for(function, sample, {})
    wide = wide_of(context)
    call = run.eager(source.truth(source.prepare(function)), threads, wide).call
    found = call(as_tensors(wide.signature, widened(context.samples[0])))
    assert {value.dtype.name for value in found.values()} == {"float64"}
    return [value.numpy() for value in found.values()]


@tf.function
def narrowing(x):
    half = tf.cast(x @ models.WEIGHTS, tf.float16)
    return tf.cast(half, tf.float32) * tf.constant(0.1)


def test_casts_and_constants_inside_are_double_as_well(threads):
    (found,) = in_double(narrowing, X, threads=threads)
    np.testing.assert_allclose(found, EXACT @ WIDE * np.float64(np.float32(0.1)), rtol=1e-14)


def test_loops_are_double_inside(threads):
    x, start = models.normal(2, 5, 8), models.normal(2, 8, seed=2)
    found, _ = in_double(models.recurrent, x, start, threads=threads)
    state = start.astype(np.float64)
    for step in range(5):
        state = np.tanh(state @ WIDE @ WIDE.T + x[:, step].astype(np.float64))
    np.testing.assert_allclose(found, state, rtol=1e-13)


def test_what_has_no_double_is_given_what_it_had(threads):
    @tf.function
    def resized(x):
        bits = tf.bitcast(tf.bitcast(x, tf.int32), tf.float32)
        return tf.image.resize(bits[:, :, None, None], (4, 1), method="bilinear")[..., 0, 0] * 2, bits * 2

    halved, doubled = in_double(resized, X, threads=threads)
    np.testing.assert_allclose(halved, EXACT[:, ::2] + EXACT[:, 1::2], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(doubled, EXACT * 2, rtol=1e-14)


def test_fused_batch_normalization_is_double(threads):
    mean, variance, scale, offset = (models.normal(3, seed=n) for n in range(4))
    x = models.normal(2, 4, 4, 3)

    @tf.function
    def normalized(x):
        y, _, _ = tf.compat.v1.nn.fused_batch_norm(
            x, scale, offset, mean, np.abs(variance), epsilon=1e-3, is_training=False
        )
        return y + 1.0

    (found,) = in_double(normalized, x, threads=threads)
    m, v, s, o = (a.astype(np.float64) for a in (mean, np.abs(variance), scale, offset))
    expected = (x.astype(np.float64) - m) / np.sqrt(v + np.float64(np.float32(1e-3))) * s + o + 1
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_has_its_truth_near_its_own_answer(name, threads):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    given = sample if isinstance(sample, tuple) else (sample,)
    context = context_for(model, sample, {})
    expected = reference(model, context, context.samples[0])
    for one, other in zip(in_double(model, *given, threads=threads), expected.values(), strict=True):
        off = np.abs(one - other).max()
        assert off < 1e-5 * np.abs(other).max()
    assert off > 0 or name == "tf.function: a loop"  # whose second output is one of the inputs


def test_a_model_in_double_precision_has_nothing_higher(threads):
    doubled = tf.function(lambda x: tf.cast(x, tf.float64) * 2)
    with pytest.raises(NavigatorError, match="there is no higher"):
        in_double(doubled, X, threads=threads)


def test_weights_are_nudged_by_one_unit_in_the_last_place_and_zeros_stay(threads):
    weights = tf.Variable([[1.0, 0.0], [-2.0, np.inf]])
    function = tf.function(lambda x: weights + 0 * x)
    context = context_for(function, np.zeros((2, 2), np.float32), {})
    call = run.eager(source.noise(function), threads, context).call
    moved = call(as_tensors(context.signature, context.samples[0]))["output"].numpy()
    assert moved[0, 1] == 0
    assert np.isinf(moved[1, 1])
    steps = np.abs(moved[:, 0] - weights.numpy()[:, 0]) / np.spacing(np.float32([1, 2]))
    assert ((steps == 0.5) | (steps == 1)).all()


def test_a_file_has_its_truth_and_its_noise_as_files(tmp_path, threads):
    model = models.conv_net()
    context = context_for(model, models.normal(2, 8, 8, 3), {"inputs": {0: BATCH}})
    path = saved(model, context, tmp_path)
    expected = reference(model, context, context.samples[0])
    wide = wide_of(context)
    for change, there in ((savedmodel.truth, wide), (savedmodel.noise, context)):
        change(path, tmp_path / change.__name__)
        call = savedmodel.run(tmp_path / change.__name__, threads, there).call
        given = widened(context.samples[0]) if there is wide else context.samples[0]
        for name, value in call(as_tensors(there.signature, given)).items():
            found = tensors.to_numpy(value)
            assert found.dtype == (np.float64 if there is wide else np.float32)
            assert 0 < np.abs(found - expected[name]).max() < 1e-5 * np.abs(expected[name]).max()


def test_a_file_in_double_precision_has_nothing_higher(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="float64")])
    context = context_for(model, models.normal(2, 4), {})
    with pytest.raises(NavigatorError, match="there is no higher"):
        savedmodel.truth(saved(model, context, tmp_path), tmp_path / "truth")
