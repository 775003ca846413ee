"""TensorFlow as the rest of this plugin uses it: it grows into a GPU's memory instead of taking all of it at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # read when a device is first used; asking now would use it

import tensorflow as tf

__all__ = ["on", "place", "said", "tf", "without_tf32"]


@cache
def place(device: str) -> str:
    """TensorFlow's own name of a device; "cuda" is "cuda:0"."""
    kind, _, index = device.partition(":")
    return f"/{'GPU' if kind == 'cuda' else kind.upper()}:{index or 0}"


def on(device: str) -> AbstractContextManager[Any]:
    """Within it, tensors and variables are made there, and what is called computes there."""
    found: AbstractContextManager[Any] = tf.device(place(device))
    return found


@contextmanager
def without_tf32() -> Iterator[None]:
    """Within it float32 is computed as such, also on a GPU that would round it. The setting is the whole process's."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def said(error: BaseException) -> str:
    """The first lines of what TensorFlow says, which may go on for pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (" ".join(lines[:2]) or type(error).__name__)[:300]
