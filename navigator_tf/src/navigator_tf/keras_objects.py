"""Models of Keras that it cannot make again from a configuration: object by object, as any other Python object goes."""

from __future__ import annotations

import copyreg
import pickle
from collections.abc import Callable
from typing import Any

from navigator_tf import keras_models, pickling
from navigator_tf.pickling import Pickled

Reduce = Callable[[Any], Any]


def pack(model: Any) -> keras_models.Configured | Pickled:
    """By its configuration where Keras can, else whole. Raises PicklingError where neither goes."""
    try:
        return keras_models.pack(model)
    except pickle.PicklingError as error:
        try:
            packed = pickling.pack(model, reducers(model))
            packed.build()
        except Exception as second:  # the first says more
            raise error from second
        return packed


def reducers(model: Any) -> dict[type, Reduce]:
    """How its layers, their variables and the containers that keep track of them travel.

    A functional model inside of it goes by its configuration: it knows its tensors by where they lie in memory.
    """
    from keras.src.utils import tracking

    layers = {type(one): _by_configuration if keras_models.is_functional(one) else _whole for one in _layers(model)}
    variables = {type(one): _whole for one in model.weights}
    kept = (tracking.TrackedList, tracking.TrackedDict, tracking.TrackedSet)
    return {**layers, **variables, **dict.fromkeys(kept, _tracked)}


def _layers(model: Any) -> list[Any]:
    return list(keras_models.layers(model))


def _whole(value: Any) -> Any:
    """Its class and attributes; Keras itself would look for a configuration."""
    return copyreg.__newobj__, (type(value),), value.__dict__, None, None, _update  # type: ignore[attr-defined]


def _update(value: Any, attributes: dict[str, Any]) -> None:
    value.__dict__.update(attributes)


def _by_configuration(model: Any) -> Any:
    return _built, (keras_models.pack(model),)


def _built(configured: keras_models.Configured) -> Any:
    return configured.build()


def _tracked(container: Any) -> Any:
    """Filled without telling its tracker, which travels with what it has been told."""
    plain = next(base for base in (list, dict, set) if isinstance(container, base))
    return type(container), (), (plain(container), container.tracker), None, None, _fill


def _fill(container: Any, held: tuple[Any, Any]) -> None:
    values, container.tracker = held
    plain: Any = type(values)
    (plain.extend if plain is list else plain.update)(container, values)
