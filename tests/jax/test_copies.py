"""The truth in float64, whatever types a model names, and the model with its weights nudged."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen
from jax import lax

from navigator_core.errors import NavigatorError
from navigator_jax import source, tensors

from . import models

W = jax.random.normal(jax.random.key(5), (8, 8)) / 3
WIDE = np.asarray(W, np.float64)


def in_double(model, *inputs):
    wide = [tensors.from_numpy(np.asarray(x, np.float64), "cpu", "float64") for x in inputs]
    ready = source.truth(source.prepare(model))
    found = ready(*wide)
    assert found.dtype == np.float64
    return np.asarray(found)


X = models.normal(4, 8)
EXACT = np.asarray(X, np.float64)


def narrowing(x):
    return (x.astype(jnp.float32) @ W).astype(jnp.float16).astype(jnp.float32) * jnp.float32(0.1)


def test_casts_and_constants_inside_are_double_as_well():
    np.testing.assert_allclose(in_double(narrowing, X), EXACT @ WIDE * np.float64(np.float32(0.1)), rtol=1e-14)


def test_a_type_that_a_module_names_is_double_as_well():
    module = linen.Dense(3, dtype=jnp.float32)
    variables = module.init(jax.random.key(0), X)
    kernel = np.asarray(variables["params"]["kernel"], np.float64)
    np.testing.assert_allclose(in_double(module.bind(variables), X), EXACT @ kernel, rtol=1e-14)


def loops(x):
    y, sums = lax.scan(lambda c, _: (c @ W, (c * c).sum()), x, None, length=3)
    y = lax.fori_loop(0, 2, lambda i, c: c + i * jnp.float32(0.5), y)
    y = lax.cond(sums[0] > 0, lambda c: c * 2, lambda c: c, y)
    return y.at[jnp.array([0, 0])].add(sums[2])


def test_loops_branches_and_scatters_are_double_inside():
    y, sums = EXACT, []
    for _ in range(3):
        sums.append((y * y).sum())
        y = y @ WIDE
    y = (y + 0.5) * 2
    y[0] += 2 * sums[2]
    np.testing.assert_allclose(in_double(jax.jit(loops), X), y, rtol=1e-13)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, jnp.int32), jnp.float32) * 2,
        lambda x: lax.reduce_precision(x, 8, 23) * 2,
        lambda x: jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct(x.shape, x.dtype), x) * 2,
    ],
    ids=["bits", "reduced precision", "callback"],
)
def test_what_means_its_very_type_is_given_it(function):
    np.testing.assert_allclose(in_double(function, X), 2 * EXACT, rtol=1e-12)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_has_its_truth_near_its_own_answer(name):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    inputs = sample if isinstance(sample, tuple) else (sample,)
    ready = source.prepare(model)
    wide = [
        tensors.from_numpy(np.asarray(x, np.float64), "cpu", "float64") if x.dtype == jnp.float32 else x for x in inputs
    ]
    found, expected = (jax.tree.leaves(made) for made in (source.truth(ready)(*wide), ready(*inputs)))
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == np.float64
        scale = float(jnp.abs(other).max())
        off = float(np.abs(np.asarray(one) - np.asarray(other)).max())
        assert 0 < off < 1e-5 * scale


def test_a_model_that_looks_at_values_has_no_truth():
    with pytest.raises(NavigatorError, match="looks at values"):
        in_double(lambda x: x if float(x.sum()) > 0 else -x, X)


def test_in_a_process_of_64_bits_there_is_nothing_higher():
    with jax.enable_x64(True), pytest.raises(NavigatorError, match="no higher"):
        source.truth(lambda x: x)


def test_weights_are_nudged_by_one_unit_in_the_last_place_and_zeros_stay():
    weights = jnp.asarray([[1.0, 0.0], [-2.0, jnp.inf]])
    moved = source.noise(lambda x: weights + 0 * x)(jnp.zeros((2, 2)))
    assert moved[0, 1] == 0
    assert np.isinf(moved[1, 1])
    steps = np.abs(np.asarray(moved - weights)[:, 0]) / np.spacing(np.float32([1, 2]))
    assert ((steps == 0.5) | (steps == 1)).all()


def test_weights_inside_of_a_jitted_part_are_nudged_as_well():
    model = eqx.filter_jit(eqx.nn.Linear(8, 3, key=jax.random.key(0)))
    x = X[0]
    off = np.abs(np.asarray(source.noise(model)(x)) - np.asarray(model(x)))
    assert 0 < off.max() < 1e-5
