"""Small real models, and the context that the core would make for them."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))  # workers find `tests.jax.models` there

import importlib_metadata
import pytest

from navigator_core import Dim, tensors, testing
from navigator_jax import plugin, source

from . import models

BATCH = Dim("batch", 1, 64)
HAS_ONNX = all(any(importlib_metadata.distributions(name=name)) for name in ("navigator-onnx", "jax2onnx"))
NO_ONNX = "navigator-onnx or jax2onnx is not installed"
HAS_TENSORFLOW = any(importlib_metadata.distributions(name="navigator-tf")) and any(
    any(importlib_metadata.distributions(name=name)) for name in ("tensorflow", "tensorflow-cpu")
)
NO_TENSORFLOW = "navigator-tf or TensorFlow is not installed"

tensors.register(plugin.declare_tensors())


LIVE = testing.Live(source, "jax")
context_for, as_jax, reference, batch_of = LIVE.context, LIVE.tensors, LIVE.answer, testing.batch_of


@pytest.fixture
def conv_net() -> models.ConvNet:
    return models.MODELS["flax nnx: convolutions, batch norm, dropout"][0]()
