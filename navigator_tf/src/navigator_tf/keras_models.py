"""Models of Keras: how they are called, and their way to another process, by configuration and weights."""

from __future__ import annotations

import inspect
import pickle
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from attrs import frozen

from navigator_core.errors import RequestError
from navigator_tf.engine import tf

LIBRARIES = frozenset({"keras", "tf_keras", "tensorflow"})
"""Whose layers another process finds by itself."""

PLAIN = (bool, int, float, str)


def library(model: Any) -> types.ModuleType:
    """The Keras that the model is of."""
    ours = (base.__module__.partition(".")[0] for base in type(model).__mro__)
    return sys.modules[next(name for name in ours if name in ("keras", "tf_keras"))]


def is_functional(model: Any) -> bool:
    """A model made of named inputs and outputs, whose one argument holds all of them."""
    names = {base.__qualname__ for base in type(model).__mro__}
    return bool(names & {"Functional", "Sequential"})


def input_names(model: Any) -> list[str]:
    """The inputs of a functional model, as it calls them; none for any other."""
    if not is_functional(model):
        return []
    return [str(getattr(one, "name", "")) for one in getattr(model, "inputs", None) or ()]


def wrong_inputs(names: Sequence[str]) -> RequestError:
    """What to do instead of calling a model of several inputs with one tensor."""
    wanted = ", ".join(names)
    return RequestError(
        f"the model takes {len(names)} inputs ({wanted}) in one argument, and was given one tensor; a list of samples "
        f"is several of them: write nav.call([{wanted}]) for one, and [nav.call([...]), ...] for several"
    )


def parameters(model: Any) -> inspect.Signature:
    """How the model is called: a functional one by its inputs alone, any other as its ``call`` but for ``training``.

    Raises ValueError for one whose weights have yet to be made: each process would make others.
    """
    if not model.built:
        raise ValueError("it has no weights yet: call it once, or give it a keras.Input, before it is optimized")
    if is_functional(model):
        return inspect.Signature([inspect.Parameter("inputs", inspect.Parameter.POSITIONAL_OR_KEYWORD)])
    found = inspect.signature(model.call)
    return found.replace(parameters=[p for p in found.parameters.values() if p.name != "training"])


@frozen(eq=False)
class Configured:
    """A model as its configuration, its weights, and the classes and functions that Keras would not find."""

    library: str
    config: Mapping[str, Any]
    weights: Sequence[np.ndarray]
    objects: Mapping[str, Any]

    def build(self) -> Any:
        """A new model. Raises ValueError where it has other weights than the one that was taken apart."""
        keras = import_module(self.library)
        with keras.saving.custom_object_scope(dict(self.objects)):
            model = keras.saving.deserialize_keras_object(self.config, safe_mode=False)
        found = [tuple(variable.shape) for variable in model.weights]
        if found != [array.shape for array in self.weights]:
            raise ValueError(
                f"made again from its configuration it has {len(found)} weights instead of {len(self.weights)}, or "
                "others; give its class a get_config, and a build that makes its weights"
            )
        for variable, array in zip(model.weights, self.weights, strict=True):
            variable.assign(array)
        return model


def pack(model: Any) -> Configured:
    """Take it apart. Raises PicklingError for a model that Keras cannot make again."""
    keras = library(model)
    try:
        packed = Configured(keras.__name__, config(model), _weights(model), objects(model))
        if packed.objects and _settings(packed.build()) != _settings(model):  # of Keras' own layers one can be sure
            raise ValueError("attributes of it were set after it was made")
    except Exception as error:  # what a foreign get_config or __init__ raises
        said = next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]
        raise pickle.PicklingError(f"Keras cannot make it again from its configuration: {said}") from error
    return packed


def config(model: Any) -> dict[str, Any]:
    """What Keras makes a model of, without what it is trained with."""
    found: dict[str, Any] = library(model).saving.serialize_keras_object(model)
    return {key: value for key, value in found.items() if key != "compile_config"}


def _weights(model: Any) -> list[np.ndarray]:
    return [np.asarray(tf.convert_to_tensor(variable)) for variable in model.weights]


def objects(model: Any) -> dict[str, Any]:
    """Classes of layers and functions in them that are the user's own, by the names that Keras looks for."""
    name = library(model).saving.get_registered_name
    return {name(one): one for layer in layers(model) for one in _own(layer)}


def layers(model: Any) -> Iterator[Any]:
    """The model and every layer in it."""
    found: Iterator[Any] = model._flatten_layers()
    return found


def _settings(model: Any) -> list[dict[str, Any]]:
    """What layers of the user's own hold that is plain, to be compared."""
    own = [vars(layer) for layer in layers(model) if is_own(layer)]
    return [{name: held for name, held in one.items() if name[0] != "_" and isinstance(held, PLAIN)} for one in own]


def is_own(layer: Any) -> bool:
    """Whether its class is the user's."""
    return not _is_theirs(type(layer))


def _own(layer: Any) -> Iterator[Any]:
    if is_own(layer):
        yield type(layer)
    for value in vars(layer).values():
        if isinstance(value, types.FunctionType) and not _is_theirs(value) and not _is_method(value):
            yield value


def _is_method(function: types.FunctionType) -> bool:
    """Such as what Keras puts around the ``build`` of every layer."""
    return "." in function.__qualname__.rpartition("<locals>.")[2]


def _is_theirs(value: Any) -> bool:
    return value.__module__.partition(".")[0] in LIBRARIES
