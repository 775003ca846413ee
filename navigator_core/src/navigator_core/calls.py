"""A loaded model, called as its source is: same arguments, same containers, the kind of tensor that was passed in.

Between two calls the weights of a large model go through the processor's caches and leave nothing of ours there, so
that every function of ours on the way costs microseconds. What the types of the arguments decide is therefore worked
out once, and a call with the types of one before it goes straight from the caller's tensors to the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from attrs import frozen
from numpy import ndarray

from navigator_core import tensors
from navigator_core.declarations import nothing
from navigator_core.loading import Running
from navigator_core.signature import Signature
from navigator_core.tensors import NUMPY, Kind

Take = Callable[[Any], Any]
Give = Callable[[Any, Any], Any]


@frozen
class _Route:
    """For arguments that are a tensor each: which input each is, and how it becomes what the runner takes.

    ``takes`` holds (name, function); no function where the tensor passes as it is. ``gives`` are functions of an array
    and of the caller's first tensor, in whose kind and on whose device the outputs are returned; ``same`` is that of a
    tensor of this kind.
    """

    takes: Sequence[tuple[str, Take | None]]
    gives: Mapping[str, Give]
    same: Give
    kind: Kind


def like_the_source(run: Running, signature: Signature) -> Callable[..., Any]:
    """The model as a function that is called as the source is. Raises RequestError for other arguments."""
    model, rebuild = run.model, signature.rebuild
    ask, wait = model.call, None if model.synchronize is nothing else model.synchronize
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    routes: dict[tuple[Any, ...], _Route | None] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        try:
            route = routes[len(args), *kwargs, *map(type, values)]
        except KeyError:
            route = routes[len(args), *kwargs, *map(type, values)] = _route(run, signature, args, kwargs)
        if route is None:
            return general(args, kwargs)
        feed = {}
        for (name, take), value in zip(route.takes, values):  # noqa: B905  as many, by the key of the route
            feed[name] = value if take is None else take(value)
        found = ask(feed)
        if wait is not None:
            wait()
        first, gives = values[0], route.gives
        made = {}
        for name, value in found.items():
            kind = type(value)
            if kind is ndarray and name in gives:
                made[name] = gives[name](value, first)
            elif kind is type(first):
                made[name] = route.same(value, first)
            else:
                made[name] = tensors.hand_over(value, route.kind, tensors.device_of(first), dtypes.get(name))
        return rebuild(made)

    def general(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        inputs = signature.unbind(args, kwargs)
        outputs = ask(run.bring_in(inputs))
        model.synchronize()
        first = next(iter(inputs.values()))
        kind = tensors.kind_of(first)
        passed = kind.name if kind else run.kind_passed
        return rebuild(tensors.convert(outputs, passed, tensors.device_of(first), dtypes, adopt=True))

    return call


def _route(run: Running, signature: Signature, args: Sequence[Any], kwargs: Mapping[str, Any]) -> _Route | None:
    """None where an argument is not one tensor, or the call is wrong: the long way knows what to do and to say."""
    names = signature.straight(len(args), tuple(kwargs))
    kinds = [tensors.kind_of(value) for value in (*args, *kwargs.values())]
    first = kinds[0] if kinds else None
    if names is None or first is None:
        return None
    takes = []
    for name, kind in zip(names, kinds, strict=True):
        if kind is None:
            return None
        takes.append((name, _taking(kind, run, name)))
    gives = {spec.name: _giving(first, spec.dtype) for spec in signature.outputs}
    return _Route(takes, gives, _moving(first), first)


def _taking(kind: Kind, run: Running, name: str) -> Take | None:
    """How a tensor of a kind becomes what the runner takes; see `tensors.convert`."""
    target = tensors.kind(run.kind)
    if kind is target:
        move, device = kind.move, run.device
        return None if move is None else lambda value: move(value, device)
    if target.name == NUMPY:
        to_numpy: Take = kind.module.to_numpy
        return to_numpy
    return lambda value: tensors.converted(value, target, run.device, run.dtypes.get(name))


def _giving(kind: Kind, declared: str) -> Give:
    """How an array becomes a tensor beside the caller's own; see `tensors.hand_over`."""
    if kind.beside is not None and tensors.is_native(declared):
        return kind.beside
    return lambda array, first: tensors.hand_over(array, kind, tensors.device_of(first), declared)


def _moving(kind: Kind) -> Give:
    """How a tensor gets where the caller's own is."""
    move, tell = kind.move, kind.tell_device
    if move is None or tell is None:
        return lambda value, first: value
    return lambda value, first: move(value, tell(first))
