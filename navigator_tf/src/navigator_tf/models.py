"""Models of every kind as functions: to be called as they are, or to be traced."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from attrs import field, frozen

from navigator_tf import keras_models, keras_objects, pickling
from navigator_tf.engine import on, tf
from navigator_tf.recognise import is_function, is_keras

Function = Callable[..., Any]


@frozen(eq=False)
class Ready:
    """A model ready to be evaluated.

    ``function`` is called as the model is; ``traceable`` may be called within a ``tf.function`` as well. ``model`` is
    kept, because a traced function holds its variables by weak references only.
    """

    function: Function
    traceable: Function
    model: Any

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own call."""
        return self.function(*args, **kwargs)


@frozen(eq=False)
class Packed:
    """A model as it goes to a worker, where it is made again once its device is known.

    In another process ``model`` is missing, and ``made`` makes it.
    """

    model: Any = None
    made: Any = field(default=None)

    def __reduce__(self) -> Any:
        """Raises what pickle raises for a model that cannot be sent."""
        pack = keras_objects.pack if is_keras(self.model) else pickling.pack
        return Packed, (None, self.made or pack(self.model))

    def live(self, device: str) -> Any:
        """The model: itself where it was never sent, else a new one whose variables are on ``device``."""
        if self.made is None:
            return self.model
        with on(device):
            return self.made.build()


def prepare(model: Any, device: str = "cpu") -> Ready:
    """The model to be called and to be traced, with its variables on ``device`` where it was sent here."""
    if isinstance(model, Ready):
        return model
    if isinstance(model, Packed):
        model = model.live(device)
    if is_keras(model):
        return Ready(_keras(model), _keras(model), model)
    call = model if is_function(model) else model.__call__
    return Ready(model, call if is_function(call) else tf.function(call), model)  # which makes graphs of Python's "if"


def _keras(model: Any) -> Function:
    names = keras_models.input_names(model)
    if len(names) < 2:
        plain: Function = model
        return plain

    def call(*args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("inputs")
        if tf.is_tensor(given):
            raise keras_models.wrong_inputs(names)
        return model(*args, **kwargs)

    return call


def parameters(model: Any) -> inspect.Signature:
    """How the model is called. Raises ValueError for a module that has no call of its own."""
    if is_keras(model):
        return keras_models.parameters(model)
    if is_function(model):
        return _of_function(model)
    if not callable(model):
        raise ValueError(
            "it has no __call__: give one of its functions, such as model.serve, or tf.function(model.method)"
        )
    return _of_function(model.__call__) if is_function(model.__call__) else inspect.signature(model.__call__)


def _of_function(function: Any) -> inspect.Signature:
    """Of what was decorated; of a method, what comes after ``self``."""
    found = inspect.signature(function.python_function)
    named: Sequence[inspect.Parameter] = list(found.parameters.values())
    if named and named[0].name == "self":
        named = named[1:]
    return found.replace(parameters=named)


def pack(model: Any) -> Packed:
    """What goes to the workers in the model's place."""
    return Packed(model)
