import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import linen, nnx

from navigator_jax import source

from . import models

SCRIPT = """
import sys
import equinox as eqx, jax, jax.numpy as jnp
from flax import nnx
import helper
from navigator_jax.source import fingerprint

FACTOR = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.settings = {"kinds": ("a", "b"), "names": {"x", "y", "z"}}
        self.activation = jax.nn.gelu

    def __call__(self, x):
        return helper.scaled(self.activation(self.linear(x))) * FACTOR

class Layer(eqx.Module):
    weight: jax.Array
    name: str = eqx.field(static=True)

    def __call__(self, x):
        return helper.scaled(x @ self.weight) * FACTOR

@jax.jit
def plain(x):
    return helper.scaled(x) * FACTOR

if __name__ == "__main__":
    for model in (Block(nnx.Rngs(0)), Layer(jnp.ones((3, 3)), "a"), plain, jax.vmap(Layer(jnp.ones((3, 3)), "a"))):
        print(fingerprint(model))
"""
HELPER = "def scaled(x):\n    return x * 2\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(SCRIPT)
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-W", "ignore", *(arguments or ("script.py",))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_finds_the_same_and_any_local_line_or_value_changes_it(project):
    first = run(project)
    assert [len(one) for one in first] == [64] * 4
    assert len(set(first)) == 4
    assert run(project) == first
    assert not set(run(project, "script.py", "2.0")) & set(first)
    (project / "helper.py").write_text(HELPER.replace("2", "3"))
    assert not set(run(project)) & set(first)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_has_one_and_made_again_the_same(name):
    make, _ = models.MODELS[name]
    found = source.fingerprint(make())
    assert found is not None
    assert source.fingerprint(make()) == found


def test_weights_static_attributes_and_settings_are_part_of_it(conv_net):
    first = source.fingerprint(conv_net)
    conv_net.head.bias[...] = jnp.ones(5)
    second = source.fingerprint(conv_net)
    conv_net.dropout.rate = 0.25
    third = source.fingerprint(conv_net)
    with jax.default_matmul_precision("bfloat16"):
        fourth = source.fingerprint(conv_net)
    with jax.enable_x64(True):
        fifth = source.fingerprint(conv_net)
    assert len({first, second, third, fourth, fifth}) == 5


def test_an_evaluation_leaves_it_as_it_was(conv_net):
    before = source.fingerprint(conv_net)
    source.prepare(source.pack(conv_net))(jnp.ones((2, 8, 8, 3)))
    assert source.fingerprint(conv_net) == before


def test_parameters_of_a_partial_and_of_a_bound_module_are_part_of_it():
    module, x = linen.Dense(3), jnp.ones((2, 4))
    one, other = (module.init(jax.random.key(seed), x) for seed in (0, 1))
    for bind in (lambda v: functools.partial(module.apply, v), module.bind):
        found = [source.fingerprint(bind(variables)) for variables in (one, other, one)]
        assert found[0] == found[2]
        assert found[0] != found[1]


def test_random_keys_are_told_by_their_values_and_kind():
    def of(key):
        return source.fingerprint(functools.partial(models.normal, key))

    found = {of(jax.random.key(0)), of(jax.random.key(1)), of(jax.random.key(0, impl="rbg"))}
    assert len(found) == 3
    assert None not in found


def test_what_cannot_be_told_has_none():
    stream = (number for number in range(3))
    assert source.fingerprint(jax.jit(lambda x: x + next(stream))) is None


def test_two_modules_of_one_class_with_other_random_weights_differ():
    assert source.fingerprint(nnx.Linear(3, 3, rngs=nnx.Rngs(0))) != source.fingerprint(
        nnx.Linear(3, 3, rngs=nnx.Rngs(1))
    )
