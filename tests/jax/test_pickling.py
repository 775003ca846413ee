"""A model's way to a worker: structure by pickle, arrays out of band."""

import functools
import mmap
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from navigator_core import shipping
from navigator_jax import source

from . import models


def sent(model):
    buffers = []
    stream = shipping.dumps(source.pack(model), source.reducers(), buffer_callback=buffers.append)
    return stream, [buffer.raw() for buffer in buffers]


def mapped(buffers):
    """As the core maps them: 64 byte steps, private pages."""
    copies = []
    for raw in buffers:
        page = mmap.mmap(-1, max(raw.nbytes, 1))
        page[: raw.nbytes] = raw
        copies.append(memoryview(page)[: raw.nbytes])
    return copies


def test_arrays_travel_out_of_band():
    weights = jnp.ones((1000, 1000))
    stream, buffers = sent(lambda x: x @ weights)
    assert len(stream) < 10_000
    assert [b.nbytes for b in buffers] == [4_000_000]


def test_nothing_is_copied_on_arrival():
    stream, found = sent(functools.partial(jnp.matmul, jnp.ones((100, 100))))
    buffers = mapped(found)
    (arrived,) = pickle.loads(stream, buffers=buffers).model.args
    assert arrived.unsafe_buffer_pointer() == np.frombuffer(buffers[0], np.uint8).ctypes.data


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_arrives_and_answers_as_before(name):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    inputs = sample if isinstance(sample, tuple) else (sample,)
    stream, buffers = sent(model)
    arrived = source.prepare(pickle.loads(stream, buffers=mapped(buffers)))
    for one, other in zip(*(jax.tree.leaves(m(*inputs)) for m in (arrived, source.prepare(model))), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "array",
    [
        jnp.zeros((0, 3)),
        jnp.asarray(2.5),
        jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
        jnp.asarray([1, 0, 1], bool),
        jnp.asarray([0.5, 448], jnp.float8_e4m3fn),
    ],
    ids=["empty", "scalar", "bfloat16", "bool", "float8"],
)
def test_types_and_shapes_survive(array):
    stream, buffers = sent(lambda x, held=array: held)
    arrived = pickle.loads(stream, buffers=mapped(buffers)).model(0)
    assert arrived.dtype == array.dtype
    np.testing.assert_array_equal(np.asarray(arrived, np.float32), np.asarray(array, np.float32))


def test_an_array_of_64_bits_keeps_them_where_the_process_has_none():
    with jax.enable_x64(True):
        weights = jnp.asarray(np.full(3, 1 / 3))
        stream, buffers = sent(lambda x: x * weights)
    packed = pickle.loads(stream, buffers=mapped(buffers))
    found = source.prepare(packed)(1.0)
    assert found.dtype == np.float64
    assert float(found[0]) == 1 / 3


def test_typed_random_keys_travel():
    key = jax.random.key(3, impl="rbg")
    stream, buffers = sent(lambda x: jax.random.normal(key, x.shape))
    arrived = pickle.loads(stream, buffers=mapped(buffers)).model
    np.testing.assert_array_equal(arrived(jnp.ones(3)), jax.random.normal(key, (3,)))


def test_in_band_works_too():
    model = source.prepare(pickle.loads(shipping.dumps(source.pack(lambda x: x + models.WEIGHTS), source.reducers())))
    np.testing.assert_array_equal(model(jnp.zeros((8, 8))), models.WEIGHTS)
