"""Modules and functions on their way to another process: structure by pickle, their arrays out of band."""

from __future__ import annotations

import pickle
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from attrs import frozen

from navigator_core import shipping
from navigator_tf.engine import tf

Reduce = Callable[[Any], Any]


@frozen(eq=False)
class Pickled:
    """A model as a stream and the buffers that belong to it, to be read where its variables are to be."""

    stream: bytes
    buffers: Sequence[Any]

    def __reduce__(self) -> Any:
        """The buffers go out of band, as those of arrays do."""
        return Pickled, (self.stream, [pickle.PickleBuffer(buffer) for buffer in self.buffers])

    def build(self) -> Any:
        """A new model, its variables where TensorFlow now makes them."""
        return pickle.loads(self.stream, buffers=self.buffers)


def pack(model: Any, more: Mapping[type, Reduce] = MappingProxyType({})) -> Pickled:
    """Take it apart, what is of other types by ``more``. Raises what pickle raises for what cannot be sent."""
    buffers: list[pickle.PickleBuffer] = []
    stream = shipping.dumps(model, {**reducers(), **more}, buffer_callback=buffers.append)
    return Pickled(stream, [buffer.raw() for buffer in buffers])


def reducers() -> dict[type, Reduce]:
    """How variables, tensors, functions and what TensorFlow keeps beside them travel."""
    lists, dicts, tuples = _tracked()
    return {
        type(tf.Variable(0.0)): _reduce_variable,
        type(tf.constant(0.0)): _reduce_tensor,
        type(tf.function(len)): _reduce_function,
        tf.DType: lambda dtype: (tf.as_dtype, (dtype.name,)),
        lists: lambda value: (list, (list(value),)),
        dicts: lambda value: (dict, (dict(value),)),
        tuples: lambda value: (tuple, (list(value),)),
        weakref.WeakKeyDictionary: lambda value: (weakref.WeakKeyDictionary, ()),
        type(threading.Lock()): lambda lock: (threading.Lock, ()),
        type(threading.RLock()): lambda lock: (threading.RLock, ()),
    }


def _tracked() -> tuple[type, type, type]:
    """What a module makes of the containers that are put into it."""
    module = tf.Module()
    module.list, module.dict, module.tuple = [], {}, (1,)
    return type(module.list), type(module.dict), type(module.tuple)


def _reduce_variable(variable: Any) -> Any:
    host = np.ascontiguousarray(variable.numpy())
    told = {"trainable": variable.trainable, "name": variable.name.partition(":")[0], "shape": variable.shape.as_list()}
    return _variable, (_out_of_band(host), host.shape, variable.dtype.name, told)


def _variable(buffer: Any, shape: tuple[int, ...], dtype: str, told: dict[str, Any]) -> Any:
    return tf.Variable(_array(buffer, shape, dtype), dtype=dtype, **told)


def _reduce_tensor(tensor: Any) -> Any:
    host = np.ascontiguousarray(tensor.numpy())
    return _tensor, (_out_of_band(host), host.shape, tensor.dtype.name)


def _tensor(buffer: Any, shape: tuple[int, ...], dtype: str) -> Any:
    return tf.constant(_array(buffer, shape, dtype), dtype=dtype)


def _out_of_band(host: np.ndarray) -> Any:
    return pickle.PickleBuffer(host.reshape(-1).view(np.uint8).data) if host.nbytes else b""


def _array(buffer: Any, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    array: np.ndarray = np.frombuffer(buffer, np.uint8).view(tf.as_dtype(dtype).as_numpy_dtype).reshape(shape)
    return array


def _reduce_function(function: Any) -> Any:
    """What was decorated, and how; traces belong to one process."""
    how = {"input_signature": function.input_signature, "jit_compile": function._jit_compile}
    how |= {"autograph": function._autograph, "reduce_retracing": function._reduce_retracing}
    return _function, (function.python_function, how)


def _function(python_function: Any, how: dict[str, Any]) -> Any:
    return tf.function(python_function, **how)
