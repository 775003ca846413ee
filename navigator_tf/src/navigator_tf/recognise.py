"""What is a model of TensorFlow, told by names alone: a plugin is asked about every model, and nothing is imported."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from navigator_core import type_names

KERAS = frozenset({"keras.src.backend.tensorflow.layer.TFLayer", "tf_keras.src.engine.base_layer.Layer"})
"""Bases of layers and models: of Keras 3 where it computes by TensorFlow, and of the older Keras."""
MODULE = "tensorflow.python.module.module.Module"
FUNCTION = "tensorflow.python.eager.polymorphic_function.polymorphic_function.Function"
PROGRAMS = ("saved_model.pb", "saved_model.pbtxt")
"""One of these lies in the folder of a SavedModel."""


def kind_of(model: Any) -> str | None:
    """The framework of a live model or the format of a file; None for what belongs to somebody else."""
    if is_keras(model):
        return "keras"
    if {MODULE, FUNCTION} & type_names(model):
        return "tensorflow"
    return "savedmodel" if is_savedmodel(model) else None


def is_keras(model: Any) -> bool:
    """A layer or model of either Keras."""
    return bool(type_names(model) & KERAS)


def is_function(model: Any) -> bool:
    """What ``tf.function`` makes."""
    return FUNCTION in type_names(model)


def is_savedmodel(model: Any) -> bool:
    """A folder that holds such a program."""
    if not isinstance(model, str | os.PathLike):
        return False
    folder = Path(model).expanduser()
    return any((folder / name).is_file() for name in PROGRAMS)
