"""What the core asks of a live model: how it is called, what mode it is in, and that it stays as it was."""

import functools
import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from navigator_core import samples
from navigator_core.errors import RequestError
from navigator_jax import source

from . import models

X = jnp.ones((2, 8, 8, 3))


def names(model):
    return list(source.parameters(model).parameters)


def test_a_module_is_called_as_its_call_says():
    assert names(models.ConvNet(nnx.Rngs(0))) == ["x"]
    assert names(models.bound(models.LinenNet(), X)) == ["x", "scale"]
    assert names(jax.vmap(eqx.nn.MLP(8, 3, 4, 1, key=jax.random.key(0)))) == ["x", "key"]


def test_what_is_left_of_apply_is_named_as_in_the_modules_own_method():
    partial = models.applied(models.LinenNet(), X)
    assert names(partial) == ["x", "scale"]
    assert names(functools.partial(partial, scale=2.0)) == ["x"]
    assert names(functools.partial(partial, X)) == ["scale"]


class Twice(linen.Module):
    def setup(self):
        self.dense = linen.Dense(3)

    def __call__(self, x):
        return self.dense(x)

    def other(self, y, z):
        return self.dense(y) + z


@pytest.mark.parametrize("method", ["other", Twice.other])
def test_another_method_of_a_module_may_be_applied(method):
    module = Twice()
    variables = module.init(jax.random.key(0), jnp.ones((2, 4)))
    partial = functools.partial(module.apply, variables, method=method)
    assert names(partial) == ["y", "z"]
    found = source.prepare(partial)(jnp.ones((2, 4)), 1.0)
    np.testing.assert_allclose(found, module.apply(variables, jnp.ones((2, 4))) + 1)


def test_a_linen_module_without_its_parameters_says_what_to_give():
    with pytest.raises(ValueError, match=r"model\.bind\(variables\)"):
        source.parameters(models.LinenNet())


def test_an_nnx_module_in_training_mode_is_evaluated_in_a_copy(conv_net):
    (said,) = source.state(conv_net)
    assert "training mode" in said
    ready = source.prepare(conv_net)
    first, again = ready(X), ready(X)
    np.testing.assert_array_equal(first["logits"], again["logits"])
    assert not conv_net.dropout.deterministic
    assert not conv_net.norm.use_running_average
    conv_net.eval()
    assert source.state(conv_net) == ()
    np.testing.assert_allclose(conv_net(X)["logits"], first["logits"], rtol=1e-5)


def test_an_equinox_module_is_evaluated_as_for_inference():
    model = models.Batched(models.Attention(16, jax.random.key(0)))
    assert len(source.state(model)) == 1
    found = source.prepare(model)(jnp.ones((2, 6, 16)))
    assert found.shape == (2, 6, 16)
    assert not model.block.dropout.inference
    assert source.state(eqx.nn.inference_mode(model)) == ()


def test_methods_of_modules_are_evaluated_in_the_modules_copy(conv_net):
    ready = source.prepare(conv_net.__call__)
    np.testing.assert_allclose(ready(X)["logits"], source.prepare(conv_net)(X)["logits"])
    assert len(source.state(conv_net.__call__)) == 1


class Counter(nnx.Module):
    """Writes into itself at every call, which ``nnx`` refuses inside of a trace that the module is older than."""

    def __init__(self):
        self.count = nnx.Variable(jnp.zeros(()))

    def __call__(self, x):
        self.count.value += 1
        return x + self.count.value


@pytest.mark.filterwarnings("ignore:.*value.*:DeprecationWarning")
def test_what_writes_into_itself_can_be_traced_and_begins_anew_each_time():
    model = Counter()
    ready = source.prepare(model)
    traced = jax.jit(ready.pure)
    assert traced(jnp.zeros(2)).tolist() == [1, 1]
    assert traced(jnp.zeros(3)).tolist() == [1, 1, 1]
    assert float(model.count.get_value()) == 0


def test_a_bound_module_can_be_traced():
    model = models.bound(models.LinenNet(), X)
    np.testing.assert_allclose(jax.jit(source.prepare(model).pure)(X), model(X), rtol=1e-5, atol=1e-6)


class Noisy(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dropout(0.5, deterministic=False)(x)


def test_a_bound_module_keeps_its_random_keys():
    model = Noisy().bind({}, rngs={"dropout": jax.random.key(3)})
    np.testing.assert_array_equal(source.prepare(source.pack(model))(X), Noisy().bind({}, rngs=model.scope.rngs)(X))


def test_packing_takes_the_settings_along():
    with jax.enable_x64(True), jax.default_matmul_precision("float32"):
        packed = source.pack(jnp.arange)
    ready = source.prepare(packed)
    assert ready(3).dtype == jnp.int64
    assert ready.settings.matmul_precision == "float32"
    assert jnp.arange(3).dtype == jnp.int32
    assert source.prepare(ready) is ready


def test_samples_bind_to_these_parameters():
    parameters, rest = samples.parameters_of(source.parameters(models.Encoder(nnx.Rngs(0))))
    calls, _ = samples.read((models.ids(2, 5), models.mask(2, 5)))
    assert samples.gather(calls, parameters, rest, None).names == ("ids", "mask")
    with pytest.raises(RequestError, match="does not give 'mask'"):
        samples.gather(samples.read((models.ids(2, 5),))[0], parameters, rest, None)


def test_functions_without_parameters_of_their_own_are_asked_by_python():
    assert source.parameters(jax.jit(lambda x, *, flag=True: x)) == inspect.signature(lambda x, *, flag=True: x)
