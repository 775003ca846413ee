"""What the core asks of a live model of Keras or TensorFlow."""

from __future__ import annotations

from navigator_tf.copies import noise, truth
from navigator_tf.fingerprint import fingerprint
from navigator_tf.models import pack, parameters, prepare

__all__ = ["fingerprint", "noise", "pack", "parameters", "prepare", "truth"]
