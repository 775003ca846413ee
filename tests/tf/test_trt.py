"""TF-TRT: written against its API; what a TensorFlow without TensorRT says, and what is asked of one with it."""

import inspect
import types

import numpy as np
import pytest
import tensorflow as tf

import navigator as nav
from navigator_core import Probe
from navigator_core.errors import NavigatorError
from navigator_tf import options, plugin, probes, trt

from . import models
from .conftest import BATCH, context_for, saved

BUILT = tf.sysconfig.get_build_info().get("is_tensorrt_build")


@pytest.mark.skipif(bool(BUILT), reason="this TensorFlow was built with TensorRT")
def test_a_tensorflow_without_it_is_known_before_anything_of_it_is_imported():
    assert probes.tensorrt() == f"TensorFlow {tf.__version__} was built without TensorRT"


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(tf.sysconfig, "get_build_info", lambda: {"is_tensorrt_build": True})
    linked = types.SimpleNamespace(get_linked_tensorrt_version=lambda: (987, 6, 1))
    monkeypatch.setitem(__import__("sys").modules, "tensorflow.python.compiler.tf2tensorrt._pywrap_py_utils", linked)
    assert "needs TensorRT 987.6.1: libnvinfer.so.987" in probes.tensorrt()


def test_the_path_says_what_to_do_without_it():
    (converter,) = [c for c in plugin.declare_converters() if c.target == "tf-trt"]
    (probe,) = [one for one in converter.requirements if isinstance(one, Probe)]
    assert probe.check.resolve() is probes.tensorrt
    assert "an environment of its own" in probe.remedy
    assert any(c.name == "savedmodel->tf-trt" for c in nav.graph().conversions)


def test_the_converter_is_asked_as_its_documentation_says(monkeypatch, tmp_path):
    asked, built = {}, []

    class Converter:
        def __init__(self, **settings):
            asked.update(settings)

        def convert(self):
            asked["converted"] = True

        def build(self, input_fn):
            built.extend(input_fn())

        def save(self, output_saved_model_dir):
            asked["saved"] = output_saved_model_dir

    real = pytest.importorskip("tensorflow.python.compiler.tensorrt.trt_convert")
    known = set(inspect.signature(real.TrtGraphConverterV2.__init__).parameters)
    monkeypatch.setattr(real, "TrtGraphConverterV2", Converter)
    model = models.plain_net()
    context = context_for(model, models.normal(2, 4), {"inputs": {0: BATCH}})
    chosen = options.ToTfTrt(precision_mode="FP16", minimum_segment_size=2, max_workspace_size_bytes=1 << 28)
    trt.convert(saved(model, context, tmp_path), tmp_path / "out", chosen, context)
    assert asked.pop("converted")
    assert asked.pop("saved") == str(tmp_path / "out")
    assert set(asked) <= known
    assert (asked["precision_mode"], asked["minimum_segment_size"]) == ("FP16", 2)
    assert asked["max_workspace_size_bytes"] == 1 << 28
    assert [np.shape(one["inputs"]) for one in built] == [(1, 4), (64, 4)]


@pytest.mark.skipif(bool(BUILT), reason="this TensorFlow was built with TensorRT")
def test_what_it_raises_is_a_reason(tmp_path):
    model = models.plain_net()
    context = context_for(model, models.normal(2, 4), {"inputs": {0: BATCH}})
    with pytest.raises(NavigatorError, match=r"TF-TRT failed: RuntimeError: .*TensorRT"):
        trt.convert(saved(model, context, tmp_path), tmp_path / "out", options.ToTfTrt(), context)


@pytest.mark.gpu
@pytest.mark.tensorrt
@pytest.mark.skipif(probes.tensorrt() is not None, reason="no TensorFlow with TensorRT")
def test_engines_answer_as_the_model(tmp_path):
    report = nav.optimize(models.conv_net(), models.normal(2, 64, 64, 3), targets=["tf-trt"], workspace=tmp_path)
    assert {c.status for c in report.candidates if c.runner == "tf-trt"} == {"ok"}
