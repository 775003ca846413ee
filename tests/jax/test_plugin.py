"""What is a JAX model, told without importing JAX."""

import functools
import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from navigator_core import Requirement
from navigator_jax import options, plugin

from . import models

X = jnp.zeros((2, 8))
DENSE = linen.Dense(3)
VARIABLES = DENSE.init(jax.random.key(0), X)


class Encoding(nnx.Module):
    """Has a method beside its call."""

    def encode(self, x):
        return x


def plain(x):
    return x


@pytest.mark.parametrize(
    "model",
    [
        nnx.Linear(8, 3, rngs=nnx.Rngs(0)),
        nnx.jit(nnx.Linear(8, 3, rngs=nnx.Rngs(0))),
        Encoding().encode,
        DENSE.bind(VARIABLES),
        DENSE,
        functools.partial(DENSE.apply, VARIABLES),
        eqx.nn.MLP(8, 3, 4, 1, key=jax.random.key(0)),
        eqx.filter_jit(plain),
        jax.jit(plain),
        jax.vmap(plain),
        jax.grad(plain),
        functools.partial(jax.jit(plain)),
        functools.partial(plain, {"params": [VARIABLES]}),
        functools.partial(plain, model=eqx.nn.Identity()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_models_of_every_library_are_recognised_by_themselves(model):
    assert plugin.identify_model(model, None) == "jax"


@pytest.mark.parametrize("sample", [X, (X, 3), {"x": [X]}], ids=["array", "tuple", "mapping"])
def test_a_bare_function_is_recognised_by_its_samples(sample):
    assert plugin.identify_model(plain, sample) == "jax"
    assert plugin.identify_model(plain, np.zeros(3)) is None


class Foreign:
    """An object of another library, called with JAX's arrays all the same."""

    def __call__(self, x):
        return x


@pytest.mark.parametrize("model", [Foreign(), X, nnx.Linear, "model.onnx", 3, None])
def test_what_is_no_model_of_jax_is_left_to_others(model):
    assert plugin.identify_model(model, X) is None


def test_a_tokenized_text_of_numpy_arrays_is_no_sign_of_jax():
    assert plugin.identify_model(plain, {"ids": np.zeros((1, 3), np.int32)}) is None


def test_declaring_and_asking_imports_no_jax():
    code = "import sys, navigator_jax.plugin as p, navigator_jax.devices, navigator_jax.tensors\n"
    code += "[f() for n, f in vars(p).items() if n.startswith('declare_')]\n"
    code += "p.identify_model(3, None), p.identify_model(len, [1]), navigator_jax.tensors.is_tensor(3)\n"
    code += "sys.exit(bool({'jax', 'jaxlib', 'flax', 'equinox'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_without_a_driver_there_are_no_devices_and_jax_is_not_imported(tmp_path):
    code = "import sys, pathlib, navigator_jax.devices as d\n"
    code += f"d.DRIVER_SIGNS = (pathlib.Path({str(tmp_path / 'none')!r}),)\n"
    code += "sys.exit(d.cuda() != [] or 'jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_onnx_names_navigator_onnx_first_as_what_is_missing():
    exporter = next(e for e in plugin.declare_exporters() if e.target == "onnx")
    assert exporter.requirements[0] == Requirement("navigator-onnx")


@pytest.mark.parametrize("wrong", [{"platforms": ()}, {"platforms": ("cpu", "gpu")}, {"platforms": "cpu"}])
def test_platforms_that_do_not_exist_are_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        options.ToStableHlo(**wrong)


@pytest.mark.parametrize("name", models.MODELS)
def test_the_models_of_the_table_are_recognised(name):
    make, samples = models.MODELS[name]
    assert plugin.identify_model(make(), samples()[0]) == "jax"
