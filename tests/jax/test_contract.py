"""navigator-jax keeps the contracts that every plugin keeps."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest

from navigator_core import testing
from navigator_jax import options, source, stablehlo

from .conftest import BATCH, HAS_ONNX, HAS_TENSORFLOW, NO_ONNX, NO_TENSORFLOW, batch_of, context_for, reference

MODULE = "navigator_jax.plugin"
WEIGHTS = jax.random.normal(jax.random.key(0), (4, 8))
ONNX = pytest.mark.skipif(not HAS_ONNX, reason=NO_ONNX)


@jax.jit
def mlp(x, unused, scale=1.0):
    """A dict of two outputs; ``unused`` reaches nothing, ``scale`` is passed by keyword."""
    hidden = jnp.tanh(x @ WEIGHTS)
    return {"logits": hidden.sum(axis=1) * scale, "hidden": hidden}


def given():
    return {"x": jax.random.normal(jax.random.key(1), (2, 4)), "unused": jnp.zeros(2), "scale": 0.5}


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("jax", "jaxlib", "flax", "equinox", "jax2onnx")


class TestTensors(testing.TensorsContract):
    module = MODULE
    kind = "jax"
    widened = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class TestEager(testing.RunnerContract):
    module = MODULE
    runner = "jax-eager"

    def case(self, folder):
        context = context_for(mlp, given(), {"x": {0: BATCH}})
        batches = [batch_of(context, rows) for rows in (1, 3, 8)]
        model = self.artifact(folder, context)
        return testing.RunnerCase(model, context, [(inputs, reference(mlp, context, inputs)) for inputs in batches])

    def artifact(self, folder, context):
        return source.prepare(mlp)


class TestJit(TestEager):
    runner = "jax-jit"


class TestAot(TestEager):
    runner = "jax-aot"


class TestStableHlo(TestEager):
    runner = "stablehlo"

    def artifact(self, folder, context):
        stablehlo.export(mlp, folder / "model.stablehlo", options.ToStableHlo(), context)
        return folder / "model.stablehlo"


class Conversion(testing.ConversionContract):
    module = MODULE

    def source(self, folder):
        return mlp, given()


class TestExport(Conversion):
    conversion = "jax->stablehlo"


@pytest.mark.together
@ONNX
class TestOnnx(Conversion):
    conversion = "jax->onnx"


def platforms(options, folder: Path):
    context = context_for(mlp, given(), {"x": {0: BATCH}})
    stablehlo.export(mlp, folder / "model.stablehlo", options, context)
    return jax.export.deserialize(bytearray((folder / "model.stablehlo").read_bytes())).platforms


def saved_platforms(options, folder: Path):
    from tensorflow.core.protobuf import saved_model_pb2

    from navigator_jax import savedmodel

    savedmodel.export(mlp, folder / "saved", options, context_for(mlp, given(), {"x": {0: BATCH}}))
    held = saved_model_pb2.SavedModel()
    held.ParseFromString((folder / "saved" / "saved_model.pb").read_bytes())
    functions = held.meta_graphs[0].graph_def.library.function
    (call,) = {
        tuple(node.attr["platforms"].list.s) for one in functions for node in one.node_def if node.op == "XlaCallModule"
    }
    return call


def opset(options, folder: Path):
    import onnx

    from navigator_jax import onnx as exporter

    exporter.export(mlp, folder / "model.onnx", options, context_for(mlp, given(), {"x": {0: BATCH}}))
    return onnx.load(folder / "model.onnx").opset_import[0].version


class TestOptions(testing.OptionsContract):
    module = MODULE
    effects: ClassVar = {
        "jax->stablehlo": {"platforms": testing.Effect(("cpu",), platforms)},
        "jax->savedmodel": {
            "platforms": testing.Effect(("cpu",), saved_platforms) if HAS_TENSORFLOW else NO_TENSORFLOW
        },
        "jax->onnx": {"opset": testing.Effect(22, opset) if HAS_ONNX else NO_ONNX},
    }


@pytest.mark.together
@ONNX
class TestOptionsBesideOnnx(TestOptions):
    """Once more where the way to ONNX is there."""


@pytest.mark.gpu
@pytest.mark.skipif(jax.default_backend() != "gpu", reason="no CUDA device")
class TestExportOnCuda(TestExport):
    device = "cuda"
