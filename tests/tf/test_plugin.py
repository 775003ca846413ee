"""What is a model of TensorFlow, told without importing it; what is declared of what is missing."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from navigator_core import Requirement
from navigator_tf import options, plugin

from . import models


@pytest.mark.parametrize("name", models.MODELS)
def test_the_models_of_the_table_are_recognised(name):
    make, _ = models.MODELS[name]
    assert plugin.identify_model(make()) == ("keras" if name.startswith("keras") else "tensorflow")


@pytest.mark.parametrize("model", [keras.layers.Dense(3), models.two_inputs()])
def test_layers_are_models_of_keras(model):
    assert plugin.identify_model(model) == "keras"


def test_a_method_that_is_a_tf_function_is_a_model():
    class Serving(tf.Module):
        @tf.function
        def serve(self, x):
            return x

    assert plugin.identify_model(Serving().serve) == "tensorflow"


def test_a_folder_is_a_savedmodel_if_it_holds_one(tmp_path):
    assert plugin.identify_model(tmp_path) is None
    (tmp_path / "saved_model.pb").touch()
    assert plugin.identify_model(tmp_path) == "savedmodel"
    assert plugin.identify_model(str(tmp_path)) == "savedmodel"


@pytest.mark.parametrize("model", [tf.constant(1.0), np.zeros(3), keras.Model, len, "model.onnx", 3, None])
def test_what_is_no_model_of_tensorflow_is_left_to_others(model):
    assert plugin.identify_model(model) is None


def test_declaring_and_asking_imports_no_tensorflow(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    code = "import sys, navigator_tf.plugin as p, navigator_tf.devices, navigator_tf.tensors\n"
    code += "[f() for n, f in vars(p).items() if n.startswith('declare_')]\n"
    code += f"p.identify_model(3), p.identify_model({str(tmp_path)!r}), navigator_tf.tensors.is_tensor(3)\n"
    code += "sys.exit(bool({'tensorflow', 'keras', 'tf_keras', 'tf2onnx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


def test_without_a_driver_there_are_no_devices_and_tensorflow_is_not_imported(tmp_path):
    code = "import sys, pathlib, navigator_tf.devices as d\n"
    code += f"d.DRIVER_SIGNS = (pathlib.Path({str(tmp_path / 'none')!r}),)\n"
    code += "sys.exit(d.cuda() != [] or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


def test_onnx_names_navigator_onnx_first_as_what_is_missing():
    converter = next(c for c in plugin.declare_converters() if c.target == "onnx")
    assert converter.requirements[0] == Requirement("navigator-onnx")


def test_either_tensorflow_will_do():
    for one in (*plugin.declare_runners(), *plugin.declare_exporters()):
        (asked,) = [r for r in one.requirements if isinstance(r, Requirement)]
        assert any(text.startswith("tensorflow-cpu") for text in asked.any_of)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (options.ToOnnx, {"opset": 19}),
        (options.ToTfLite, {"weights": "int4"}),
        (options.ToTfTrt, {"precision_mode": "INT8"}),
        (options.Threads, {"threads": -1}),
    ],
)
def test_options_that_no_tool_takes_are_refused(kind, wrong):
    with pytest.raises((ValueError, TypeError)):
        kind(**wrong)
