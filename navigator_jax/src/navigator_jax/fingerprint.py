"""What a model is, as one hash: equal in every process, different after any change that can reach its results."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from navigator_core.fingerprint import Hasher
from navigator_core.objects import UnknownError
from navigator_jax.models import apart
from navigator_jax.recognise import is_linen, is_variable, keeps_track
from navigator_jax.settings import current


def fingerprint(model: Any) -> str | None:
    """SHA-256 over classes, code, attributes, every array, and JAX's settings; None where something cannot be told.

    Whether an ``nnx`` or ``equinox`` module is in training mode does matter; evaluation copies it all the same.
    """
    hasher = Hasher(_special, named=(np.dtype,))
    try:
        hasher.say("settings", current(), jax.__version__)
        hasher.add(apart(model))
    except (UnknownError, RecursionError):
        return None
    return hasher.digest()


def _special(hasher: Hasher, value: Any) -> bool:
    """Arrays, random keys, and modules whose bookkeeping belongs to one process."""
    if isinstance(value, jax.Array):
        if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
            hasher.say("key", jax.random.key_impl(value))
            value = jax.random.key_data(value)
        host = np.ascontiguousarray(np.asarray(value))
        hasher.say("jax array", host.dtype, host.shape)
        hasher.update(host.reshape(-1).view(np.uint8).data)
    elif keeps_track(value):
        hasher.add_class(type(value))
        hasher.attributes({name: held for name, held in vars(value).items() if not name.startswith("_pytree__")})
    elif is_linen(value):  # besides its fields it holds a number that is new for each instance
        hasher.add_class(type(value))
        fields = [field.name for field in dataclasses.fields(value) if field.name != "parent"]
        hasher.attributes({name: getattr(value, name) for name in fields})
    elif is_variable(value):
        hasher.add_class(type(value))
        hasher.parts("variable", value.get_raw_value(), value.get_metadata())
    else:
        return False
    return True
