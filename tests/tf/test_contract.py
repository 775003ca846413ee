"""navigator-tf keeps the contracts that every plugin keeps: declarations, tensors, runners."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import tensorflow as tf

from navigator_core import testing
from navigator_tf import litert, options, source, tflite

from . import models
from .conftest import BATCH, batch_of, context_for, reference, saved

MODULE = "navigator_tf.plugin"


class Mlp(tf.Module):
    """A dict of two outputs; ``unused`` reaches nothing, ``scale`` is passed by keyword."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(models.normal(4, 8))

    def __call__(self, x, unused, scale=1.0):
        hidden = tf.tanh(x @ self.weights)
        return {"logits": tf.reduce_sum(hidden, 1) * scale, "hidden": hidden}


def given():
    return {"x": models.normal(2, 4, seed=1), "unused": models.normal(2, seed=2), "scale": 0.5}


def mlp_context():
    return context_for(Mlp(), given(), {"x": {0: BATCH}, "unused": {0: BATCH}})


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("tensorflow", "keras", "tf_keras", "tf2onnx", "onnx", "ai_edge_litert")


class TestTensors(testing.TensorsContract):
    module = MODULE
    kind = "tensorflow"
    widened = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class TestEager(testing.RunnerContract):
    module = MODULE
    runner = "tf-eager"

    def case(self, folder):
        context = mlp_context()
        batches = [batch_of(context, rows) for rows in (1, 3, 8)]
        calls = [(inputs, reference(Mlp(), context, inputs)) for inputs in batches]
        return testing.RunnerCase(self.artifact(folder, context), context, calls)

    def artifact(self, folder, context):
        return source.prepare(Mlp())


class TestGraph(TestEager):
    runner = "tf-graph"


class TestXla(TestEager):
    runner = "tf-xla"


class TestSavedModel(TestEager):
    runner = "savedmodel"

    def artifact(self, folder, context):
        return saved(Mlp(), context, folder)


class TestLiteRt(TestSavedModel):
    runner = "litert"

    def artifact(self, folder, context):
        tflite.convert(super().artifact(folder, context), folder / "model.tflite", options.ToTfLite(), context)
        return folder / "model.tflite"


def size(options, folder: Path):
    context = mlp_context()
    tflite.convert(saved(Mlp(), context, folder), folder / "model.tflite", options, context)
    return (folder / "model.tflite").stat().st_size


def interpreter_threads(options, folder: Path):
    seen = []
    context = mlp_context()
    tflite.convert(saved(Mlp(), context, folder), folder / "model.tflite", TFLITE, context)
    inner, litert.interpreter = litert.interpreter, lambda path, threads: seen.append(threads) or inner(path, threads)
    try:
        litert.run(folder / "model.tflite", options, context)
    finally:
        litert.interpreter = inner
    return seen


TFLITE = options.ToTfLite()
FIXED = "TensorFlow has computed in this process already, and its threads are fixed: see test_threads.py"
THREADS: dict[str, str] = {"threads": FIXED, "inter_op_threads": FIXED}


class TestOptions(testing.OptionsContract):
    module = MODULE
    effects: ClassVar = {
        "@tf-eager": THREADS,
        "@tf-graph": THREADS,
        "@tf-xla": THREADS,
        "@savedmodel": THREADS,
        "@tf-trt": THREADS,
        "@litert": {"threads": testing.Effect(2, interpreter_threads)},
        "savedmodel->tflite": {"weights": testing.Effect("fp16", size)},
        "savedmodel->onnx": {"opset": "needs navigator-onnx: see test_onnx.py"},
        "savedmodel->tf-trt": dict.fromkeys(
            ("precision_mode", "minimum_segment_size", "max_workspace_size_bytes"),
            "TensorFlow is without TensorRT here: see test_trt.py",
        ),
    }
