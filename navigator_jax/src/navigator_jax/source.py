"""What the core asks of a live JAX model."""

from __future__ import annotations

from navigator_jax.copies import noise, truth
from navigator_jax.fingerprint import fingerprint
from navigator_jax.models import pack, parameters, prepare, state
from navigator_jax.pickling import reducers

__all__ = ["fingerprint", "noise", "pack", "parameters", "prepare", "reducers", "state", "truth"]
