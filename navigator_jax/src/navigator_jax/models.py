"""Models of every library as functions, to be called as they are or to be traced, which leaves nothing in them."""

from __future__ import annotations

import functools
import inspect
import pickle
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from attrs import field, frozen

from navigator_jax.recognise import is_equinox, is_linen, is_nnx
from navigator_jax.settings import Settings, current

Function = Callable[..., Any]


@frozen(eq=False)
class Bound:
    """A bound module of ``flax.linen``, apart. It is bound anew for every call: a scope belongs to one trace."""

    module: Any
    variables: Mapping[str, Any]
    rngs: Mapping[str, Any] = field(factory=dict)
    mutable: Any = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As the bound module."""
        return self.module.bind(self.variables, rngs=dict(self.rngs) or None, mutable=self.mutable)(*args, **kwargs)


@frozen(eq=False)
class Packed:
    """A model as it goes to a worker: with the settings of the process that it comes from."""

    model: Any
    settings: Settings

    def __reduce__(self) -> Any:
        """Raises PicklingError for a class of ``equinox`` that is not in a module: it loses its fields on the way.

        What it tells JAX of its fields it tells when it is made, and pickle makes a class first and fills it then.
        """
        for cls in _classes_of_equinox(self.model):
            if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
                raise pickle.PicklingError(
                    f"the equinox module {cls.__qualname__} is not defined in a module of its own"
                )
        return Packed, (self.model, self.settings)


def _classes_of_equinox(value: Any) -> Iterator[type]:
    """The classes of the ``equinox`` modules in a model."""
    if isinstance(value, types.MethodType):
        yield from _classes_of_equinox(value.__self__)
    elif isinstance(value, functools.partial):
        yield from _classes_of_equinox((value.func, value.args, value.keywords))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _classes_of_equinox(one)
    elif isinstance(value, dict):
        yield from _classes_of_equinox(list(value.values()))
    elif is_equinox(value):
        yield type(value)
        yield from _classes_of_equinox(vars(value))


@frozen(eq=False)
class Ready:
    """A model ready to be evaluated.

    ``function`` is called as the model is; ``pure`` may be traced as well, whatever the model writes into itself.
    """

    function: Function
    pure: Function
    settings: Settings

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own call, under its settings."""
        with self.settings.active():
            return self.function(*args, **kwargs)


def pack(model: Any) -> Packed:
    """The model with this process' settings, as far as pickle takes it."""
    return Packed(apart(model), current())


def apart(model: Any) -> Any:
    """A bound ``linen`` module as a `Bound`, which pickle takes; any other model as it is."""
    if not is_linen(model) or model.scope is None:
        return model
    module, variables = model.unbind()
    rngs = {name: rng.as_jax_rng() for name, rng in model.scope.rngs.items()}
    return Bound(module, variables, rngs, model.scope.mutable)


def prepare(model: Any, device: str = "cpu") -> Ready:
    """A copy in evaluation mode, where the library knows one; parameters follow the inputs to their device."""
    if isinstance(model, Ready):
        return model
    settings = current()
    if isinstance(model, Packed):
        model, settings = model.model, model.settings
    model = apart(model)
    if isinstance(model, types.MethodType) and is_nnx(model.__self__):
        return _of_nnx(model.__self__, model.__func__, settings)
    if is_nnx(model):
        return _of_nnx(model, type(model).__call__, settings)
    if isinstance(model, types.MethodType) and is_equinox(model.__self__):
        function = functools.partial(model.__func__, _inference(model.__self__))
        return Ready(function, function, settings)
    if is_equinox(model):
        model = _inference(model)
    return Ready(model, model, settings)


def _of_nnx(model: Any, method: Function, settings: Settings) -> Ready:
    """Traced, the module is made anew inside: ``nnx`` refuses to write into one that was made outside of the trace."""
    from flax import nnx

    copy = nnx.clone(model)
    copy.eval()
    graph, state = nnx.split(copy)

    def pure(*args: Any, **kwargs: Any) -> Any:
        return method(nnx.merge(graph, state, copy=True), *args, **kwargs)

    return Ready(functools.partial(method, copy), pure, settings)


def _inference(model: Any) -> Any:
    from equinox import nn

    return nn.inference_mode(model)


def parameters(model: Any) -> inspect.Signature:
    """How the model is called. Raises ValueError for a ``linen`` module without its parameters."""
    if is_linen(model) and model.scope is None:
        raise ValueError(
            "it has no parameters; give model.bind(variables), or functools.partial(model.apply, variables)"
        )
    return _left_of_apply(model) or inspect.signature(model)


def _left_of_apply(model: Any) -> inspect.Signature | None:
    """For a partial of a ``linen`` module's ``apply``: the arguments of the module's own method that are left."""
    if not isinstance(model, functools.partial) or getattr(model.func, "__name__", "") != "apply":
        return None
    module = getattr(model.func, "__self__", None)
    if not is_linen(module):
        return None
    method: Any = model.keywords.get("method")
    if method is None:
        method = type(module).__call__
    elif isinstance(method, str):
        method = getattr(type(module), method)
    arguments = list(inspect.signature(method).parameters.values())[1:]
    left = [argument for argument in arguments if argument.name not in model.keywords]
    return inspect.Signature(left[max(0, len(model.args) - 1) :])


def state(model: Any) -> tuple[str, ...]:
    """What evaluation changes in its copy, one sentence each."""
    owner = model.__self__ if isinstance(model, types.MethodType) else model
    if not any(_in_training(owner)):
        return ()
    return ("the model was in training mode; it is evaluated in evaluation mode and was left as it is",)


def _in_training(model: Any) -> Iterator[bool]:
    if is_nnx(model):
        from flax import nnx

        for _, part in nnx.iter_graph(model):
            modes = vars(part) if is_nnx(part) else {}
            yield modes.get("deterministic") is False or modes.get("use_running_average") is False
    elif is_equinox(model):
        parts = jax.tree_util.tree_leaves(model, is_leaf=lambda part: hasattr(part, "inference"))
        yield any(getattr(part, "inference", None) is False for part in parts)
