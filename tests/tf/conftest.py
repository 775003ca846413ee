"""Small real models, and the context that the core would make for them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[2]))  # workers find `tests.tf.models` there

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of libraries, as they are imported
    import keras  # noqa: F401
    import tensorflow  # noqa: F401

import attrs
import importlib_metadata
import pytest

from navigator_core import Context, Dim, tensors, testing
from navigator_tf import options, plugin, savedmodel, source

BATCH = Dim("batch", 1, 64)
HAS_ONNX = all(any(importlib_metadata.distributions(name=name)) for name in ("navigator-onnx", "tf2onnx"))
NO_ONNX = "navigator-onnx or tf2onnx is not installed"

tensors.register(plugin.declare_tensors())


LIVE = testing.Live(source, "tensorflow")
as_tensors, reference, batch_of = LIVE.tensors, LIVE.answer, testing.batch_of


def context_for(model: Any, given: Any, axes: Mapping[str, Mapping[int, Dim]], **asked: Any) -> Context:
    """As the core would make it for a model of which every output has a row for each of the batch."""
    context = LIVE.context(model, given, axes, **asked)
    outputs = tuple(attrs.evolve(spec, shape=(BATCH, *spec.shape[1:])) for spec in context.signature.outputs)
    return attrs.evolve(context, signature=attrs.evolve(context.signature, outputs=outputs))


def saved(model: Any, context: Context, folder: Path) -> Path:
    """The model as a SavedModel in a folder."""
    savedmodel.export(model, folder / "model.savedmodel", None, context)
    return folder / "model.savedmodel"


@pytest.fixture
def threads() -> options.Threads:
    return options.Threads()
