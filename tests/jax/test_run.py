"""Running live models: outputs are ready, inputs are left alone, types are never made narrower in silence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from navigator_core import Context, Dim, Signature, TensorSpec
from navigator_core.errors import RequestError
from navigator_jax import run, source

from . import models
from .conftest import BATCH, as_jax, batch_of, context_for

RUNNERS = [run.eager, run.jit, run.aot]
X = {"x": {0: BATCH}}


@pytest.mark.parametrize("runner", RUNNERS)
def test_outputs_are_ready_when_the_runner_returns(runner):
    def slow(x):
        return jax.lax.fori_loop(0, 200, lambda i, c: jnp.tanh(c @ c), x)

    context = context_for(slow, models.normal(300, 300), {})
    loaded = runner(source.prepare(slow), None, context)
    inputs = as_jax(context.signature, context.samples[0])
    loaded.call(inputs)
    assert loaded.call(inputs)["output"].is_ready()


@pytest.mark.parametrize("runner", RUNNERS)
@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
def test_a_function_that_is_given_its_buffers_for_good_leaves_ours_alone(runner):
    donating = jax.jit(lambda x: x + 1, donate_argnums=0)
    context = context_for(lambda x: x + 1, models.normal(2, 8), X)
    loaded = runner(source.prepare(donating), None, context)
    inputs = as_jax(context.signature, context.samples[0])
    for _ in range(3):
        found = loaded.call(inputs)["output"]
        assert not inputs["x"].is_deleted()
        np.testing.assert_allclose(found, context.samples[0]["x"] + 1, rtol=1e-6)


@pytest.mark.parametrize("runner", RUNNERS)
def test_a_type_that_jax_would_make_narrower_is_refused_and_taken_where_it_would_not(runner):
    signature = Signature((TensorSpec("x", "int64", (3,)),), (TensorSpec("y", "int64", (3,)),))
    with pytest.raises(RequestError, match="takes as int32 unless jax_enable_x64 is set"):
        runner(source.prepare(lambda x: x), None, Context(signature=signature))
    with jax.enable_x64(True):
        packed = source.pack(lambda x: x * 2)
        context = context_for(lambda x: x * 2, np.asarray([2**40]), {})
    loaded = runner(source.prepare(packed), None, context)
    assert loaded.call(as_jax(context.signature, context.samples[0]))["output"].tolist() == [2**41]


@pytest.mark.parametrize("runner", [run.jit, run.aot])
def test_each_shape_is_compiled_once(runner):
    traced = []

    def counting(x):
        traced.append(x.shape)
        return x * 2

    context = context_for(counting, models.normal(2, 8), X)
    loaded = runner(source.prepare(counting), None, context)
    traced.clear()
    for rows in (2, 3, 2, 3):
        loaded.call(as_jax(context.signature, batch_of(context, rows)))
    assert traced == [(2, 8), (3, 8)]


def test_what_cannot_be_traced_runs_as_it_is_and_fails_under_jit():
    def deciding(x):
        return x if float(x.sum()) > 0 else -x

    context = context_for(deciding, -jnp.ones((2, 3)), X)
    inputs = as_jax(context.signature, context.samples[0])
    assert run.eager(source.prepare(deciding), None, context).call(inputs)["output"].tolist() == [[1.0] * 3] * 2
    with pytest.raises(jax.errors.ConcretizationTypeError):
        run.jit(source.prepare(deciding), None, context).call(inputs)


def test_arrays_of_numpy_that_a_function_returns_become_its_own_kind():
    def mixed(x):
        return {"doubled": x * 2, "table": np.arange(3, dtype=np.float32)}

    context = context_for(mixed, models.normal(2, 8), X)
    found = run.eager(source.prepare(mixed), None, context).call(as_jax(context.signature, context.samples[0]))
    assert isinstance(found["table"], jax.Array)


@pytest.mark.parametrize("runner", RUNNERS)
def test_constants_of_the_call_stay_constants(runner):
    @jax.jit
    def scaled(x, *, kind="plain", factors=(1.0, 2.0)):
        return {"plain": x * factors[1]}[kind]

    static = jax.jit(scaled.__wrapped__, static_argnames=("kind",))
    context = context_for(static, {"x": models.normal(2, 8), "kind": "plain"}, X)
    found = runner(source.prepare(static), None, context).call(as_jax(context.signature, context.samples[0]))
    np.testing.assert_allclose(found["output"], context.samples[0]["x"] * 2, rtol=1e-6)


def test_settings_hold_while_a_candidate_is_called_and_not_after():
    with jax.enable_x64(True):
        packed = source.pack(lambda x: x + jnp.arange(3).astype(float))
    signature = Signature(
        (TensorSpec("x", "float32", (Dim("batch"), 3)),), (TensorSpec("output", "float64", (Dim("batch"), 3)),)
    )
    context = Context(signature=context_for(lambda x: x, jnp.zeros((2, 3)), X).signature)
    context = Context(signature=Signature(signature.inputs, signature.outputs, context.signature.structure))
    for runner in RUNNERS:
        found = runner(source.prepare(packed), None, context).call({"x": jnp.zeros((2, 3))})["output"]
        assert found.dtype == np.float64
    assert jnp.arange(3).dtype == jnp.int32


def test_a_module_of_equinox_is_jitted_with_its_parameters_inside():
    model = eqx.nn.Linear(8, 3, key=jax.random.key(0))
    context = context_for(model, models.normal(8), {})
    found = run.jit(source.prepare(model), None, context).call(as_jax(context.signature, context.samples[0]))
    np.testing.assert_allclose(found["output"], model(context.samples[0]["x"]), rtol=1e-5, atol=1e-6)
