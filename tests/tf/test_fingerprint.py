import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from navigator_tf import source

from . import models

SCRIPT = """
import sys
import keras, numpy as np, tensorflow as tf
import helper
from navigator_tf.source import fingerprint

FACTOR = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
keras.utils.set_random_seed(0)

class Layer(keras.layers.Layer):
    def call(self, x):
        return helper.scaled(x) * FACTOR

class Block(tf.Module):
    def __init__(self):
        super().__init__()
        self.weights = [tf.Variable(np.ones((3, 3), np.float32))]
        self.settings = {"kinds": ("a", "b")}

    def __call__(self, x):
        return helper.scaled(x @ self.weights[0]) * FACTOR

@tf.function
def plain(x):
    return helper.scaled(x) * FACTOR

if __name__ == "__main__":
    for model in (keras.Sequential([keras.Input((3,)), Layer(), keras.layers.Dense(2)]), Block(), plain):
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
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_another_process_finds_the_same_and_any_local_line_or_value_changes_it(project):
    first = run(project)
    assert [len(one) for one in first] == [64] * 3
    assert len(set(first)) == 3
    assert run(project) == first
    assert not set(run(project, "script.py", "2.0")) & set(first)
    (project / "helper.py").write_text(HELPER.replace("2", "3"))
    assert not set(run(project)) & set(first)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_of_the_table_has_one_that_stays(name):
    make, samples = models.MODELS[name]
    model, sample = make(), samples()[0]
    found = source.fingerprint(model)
    assert found is not None
    model(*map(tf.convert_to_tensor, sample if isinstance(sample, tuple) else (sample,)))
    assert source.fingerprint(model) == found


def test_weights_and_settings_are_part_of_it():
    model = models.custom()
    first = source.fingerprint(model)
    model.layers[0].factor = 2.0
    second = source.fingerprint(model)
    model.layers[1].bias.assign(np.ones(3))
    third = source.fingerprint(model)
    assert len({first, second, third}) == 3
    module = models.Attention()
    first = source.fingerprint(module)
    module.weights[0].assign(module.weights[1])
    assert source.fingerprint(module) != first


def test_how_a_function_is_compiled_is_part_of_it():
    def plain(x):
        return x

    found = {source.fingerprint(tf.function(plain, **how)) for how in ({}, {"jit_compile": True}, {"autograph": False})}
    assert len(found) == 3


def test_what_cannot_be_told_has_none():
    stream = (number for number in range(3))
    assert source.fingerprint(tf.function(lambda x: x + next(stream))) is None


def test_training_leaves_its_traces_only_in_weights():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    before = source.fingerprint(model)
    model.compile("sgd", "mse")
    assert source.fingerprint(model) == before
