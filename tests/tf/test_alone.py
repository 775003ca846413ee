"""Whole runs with navigator-tf and nothing else of ours beside the core."""

import subprocess
import sys

import importlib_metadata
import numpy as np
import pytest
import tensorflow as tf

import navigator as nav

from . import models
from .conftest import BATCH, context_for, saved

alone = pytest.mark.skipif(
    any(importlib_metadata.distributions(name="navigator-onnx")), reason="navigator-onnx is installed here"
)
RIGHT = {"batch_sizes": [1], "objective": nav.Objective(minimize="memory")}  # nobody asks who is the fastest


@alone
def test_it_brings_no_other_framework():
    for name in ("torch", "jax", "onnx", "onnxruntime", "tf2onnx"):
        assert not any(importlib_metadata.distributions(name=name)), name


@alone
def test_the_graph_shows_the_path_to_onnx_with_what_helps():
    conversion = next(c for c in nav.graph().conversions if c.name == "savedmodel->onnx")
    assert conversion.unavailable is not None
    assert conversion.unavailable.reason == "no installed plugin declares the format 'onnx'"
    assert "navigator-onnx" in conversion.unavailable.remedy


def test_asking_for_the_graph_imports_no_tensorflow():
    code = "import sys, navigator as nav; nav.graph(); sys.exit(bool({'tensorflow', 'keras'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=100).returncode == 0


def statuses(report):
    wanted = ("tf-eager", "tf-graph", "tf-xla", "savedmodel", "litert")
    return {c.name: (c.status, c.reason) for c in report.candidates if c.runner in wanted and "[" not in c.name}


def every(name):
    live = [f"{name} @ {runner}" for runner in ("tf-eager", "tf-graph", "tf-xla")]
    return [*live, f"{name}->savedmodel @ savedmodel", f"{name}->savedmodel->tflite @ litert"]


QUICK = ("keras: convolutions, one grouped, batch norm, two outputs", "tf.Module: attention")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in models.MODELS]
)
def test_a_model_of_the_table_goes_through_by_every_path(name, tmp_path):
    make, samples = models.MODELS[name]
    model, given = make(), samples()
    report = nav.optimize(model, given, workspace=tmp_path / "workspace", **RIGHT)
    kind = "keras" if name.startswith("keras") else "tensorflow"
    assert statuses(report) == dict.fromkeys(every(kind), ("ok", None)), report
    assert not any("no truth" in note or "cannot be sent" in note for note in report.notes)
    assert report.reference.truth == "the source in float64"
    first = given[0] if isinstance(given[0], tuple) else (given[0],)
    expected = tf.nest.flatten(model(*map(tf.convert_to_tensor, first)))
    stored = next(c for c in report.candidates if c.path is not None and c.status == "ok")
    with stored.load() as loaded:
        found = tf.nest.flatten(loaded(*first))
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, np.ndarray)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_savedmodel_is_a_source_by_itself(tmp_path):
    model = models.plain_net()
    path = saved(model, context_for(model, models.normal(2, 4), {"inputs": {0: BATCH}}), tmp_path)
    report = nav.optimize(path, workspace=tmp_path / "workspace", **RIGHT)
    found = {c.name: c.status for c in report.candidates if "tf-trt" not in c.name and "onnx" not in c.name}
    assert found["savedmodel @ savedmodel"] == found["savedmodel->tflite @ litert"] == "ok", report
    assert report.reference.truth == "the source in float64"
    with report.load() as loaded:
        assert set(loaded(inputs=models.normal(3, 4))) == {"output"}


def test_a_bare_list_for_a_model_of_two_inputs_says_how_to_give_them(tmp_path):
    a = np.ones((2, 4), np.float32)
    with pytest.raises(nav.RequestError, match=r"nav\.call\(\[a, b\]\)"):
        nav.optimize(models.two_inputs(), [a, a], format="keras", workspace=tmp_path, **RIGHT)


@pytest.mark.long
def test_a_model_of_two_inputs_in_one_argument_goes_through(tmp_path):
    a, b = (models.normal(2, 4, seed=seed) for seed in (0, 1))
    report = nav.optimize(models.two_inputs(), nav.call([a, b]), workspace=tmp_path, **RIGHT)
    assert statuses(report) == dict.fromkeys(every("keras"), ("ok", None)), report


@pytest.mark.long
@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0"])
def test_a_model_of_keras_applications_goes_through_by_every_path(name, tmp_path):
    import keras

    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(weights=None, input_shape=(96, 96, 3), classifier_activation=None)
    images = np.random.default_rng(0).random((2, 96, 96, 3), np.float32)
    report = nav.optimize(model, images, workspace=tmp_path, **RIGHT)
    assert statuses(report) == dict.fromkeys(every("keras"), ("ok", None)), report
    assert report.reference.truth == "the source in float64"
