"""What a model is, as one hash: equal in every process, different after any change that can reach its results."""

from __future__ import annotations

from typing import Any

import numpy as np

from navigator_core.fingerprint import Hasher
from navigator_core.objects import UnknownError
from navigator_tf import keras_models
from navigator_tf.engine import tf
from navigator_tf.recognise import is_function, is_keras

TOLD = (bool, int, float, str, np.ndarray, tf.Tensor)
"""Attributes of a layer of one's own that are part of it; layers and weights in it are anyhow."""
BOOKKEEPING = ("_self_", "_tf_", "_obj_reference_counts", "_name_scope")
"""How attributes begin that TensorFlow keeps for itself in a module."""


def fingerprint(model: Any) -> str | None:
    """SHA-256 over classes, code, attributes and every variable; None where something cannot be told."""
    hasher = Hasher(_special, named=(tf.DType, tf.TensorShape, tf.TensorSpec))
    try:
        hasher.say("tensorflow", tf.__version__, tf.config.experimental.tensor_float_32_execution_enabled())
        hasher.add(model)
    except (UnknownError, RecursionError):
        return None
    return hasher.digest()


def _special(hasher: Hasher, value: Any) -> bool:
    """Variables, tensors, functions, and modules without what belongs to one process."""
    if is_keras(value):
        _keras(hasher, value)
    elif isinstance(value, tf.Variable):
        hasher.say("variable", value.trainable)
        _array(hasher, value)
    elif tf.is_tensor(value):
        hasher.say("tensor")
        _array(hasher, value)
    elif is_function(value):
        hasher.say("function", value.input_signature, value._jit_compile, value._autograph, value._reduce_retracing)
        hasher.add(value.python_function)
    elif isinstance(value, tf.Module):
        hasher.add_class(type(value))
        held = {name: one for name, one in vars(value).items() if not name.startswith(BOOKKEEPING)}
        hasher.attributes(held)
    elif isinstance(value, list | tuple | dict) and type(value).__module__.startswith("tensorflow."):
        hasher.add({"list": list, "tuple": tuple, "dict": dict}[_plain(value)](value))
    else:
        return False
    return True


def _plain(value: Any) -> str:
    return next(base.__name__ for base in (list, tuple, dict) if isinstance(value, base))


def _array(hasher: Hasher, value: Any) -> None:
    host = np.ascontiguousarray(value.numpy())
    hasher.say(value.dtype.name, host.shape)
    hasher.update(host.reshape(-1).view(np.uint8).data)


def _keras(hasher: Hasher, model: Any) -> None:
    """Its configuration, the user's own classes and functions in it, and its weights. Raises UnknownError."""
    try:
        config = keras_models.config(model)
        objects = keras_models.objects(model)
    except Exception as error:  # what a foreign get_config raises
        raise UnknownError(str(error)) from error
    keras = keras_models.library(model)
    hasher.say("keras", keras.__name__, keras.__version__, keras.backend.floatx(), keras.backend.epsilon())
    hasher.add(config)
    hasher.add(objects)
    for layer in keras_models.layers(model):
        if keras_models.is_own(layer):  # what was set after it was made, its configuration does not tell
            hasher.attributes({name: held for name, held in vars(layer).items() if isinstance(held, TOLD)})
    for variable in model.weights:
        _array(hasher, tf.convert_to_tensor(variable))
