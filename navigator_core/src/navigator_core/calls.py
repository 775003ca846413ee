"""A loaded model, called as its source is: same arguments, same containers, the kind of tensor that was passed in.

Between two calls the weights of a large model go through the processor's caches and leave nothing of ours there, so
that every function of ours on the way costs microseconds. What the types of the arguments decide is therefore worked
out once, and a call with the types of one before it goes straight from the caller's tensors to the runner's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from navigator_core import tensors
from navigator_core.loading import Running
from navigator_core.signature import Signature
from navigator_core.tensors import NUMPY, Kind


@frozen
class _Route:
    """For arguments that are a tensor each: which input each is, and how it becomes what the runner takes.

    ``takes`` holds (name, function, further arguments of the function); no function where the tensor passes as it is.
    ``kind`` is the first one's, in which the outputs are returned, on its device.
    """

    takes: Sequence[tuple[str, Callable[..., Any] | None, tuple[Any, ...]]]
    kind: Kind


def like_the_source(run: Running, signature: Signature) -> Callable[..., Any]:
    """The model as a function that is called as the source is. Raises RequestError for other arguments."""
    model, rebuild = run.model, signature.rebuild
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    routes: dict[tuple[Any, ...], _Route | None] = {}

    def call(*args: Any, **kwargs: Any) -> Any:
        values = (*args, *kwargs.values())
        types = (len(args), *kwargs, *map(type, values))
        if types not in routes:
            routes[types] = _route(run, signature, args, kwargs)
        route = routes[types]
        if route is None:
            return general(args, kwargs)
        feed = {}
        for (name, take, more), value in zip(route.takes, values, strict=True):
            feed[name] = value if take is None else take(value, *more)
        outputs = model.call(feed)
        model.synchronize()
        first, kind = values[0], route.kind
        device = "cpu" if kind.tell_device is None else kind.tell_device(first)
        found = {}
        for name, value in outputs.items():
            if type(value) is type(first):
                found[name] = value if kind.move is None else kind.move(value, device)
            elif type(value) is np.ndarray:
                found[name] = kind.adopt(value, device, tensors.wanted(value.dtype, dtypes.get(name)))
            else:
                found[name] = tensors.hand_over(value, kind, device, dtypes.get(name))
        return rebuild(found)

    def general(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        inputs = signature.unbind(args, kwargs)
        outputs = model.call(run.bring_in(inputs))
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
        takes.append((name, *_taking(kind, run, name)))
    return _Route(takes, first)


def _taking(kind: Kind, run: Running, name: str) -> tuple[Callable[..., Any] | None, tuple[Any, ...]]:
    """How a tensor of a kind becomes what the runner takes; see `tensors.convert`."""
    target = tensors.kind(run.kind)
    if kind is target:
        return kind.move, (run.device,)
    if target.name == NUMPY:
        return kind.module.to_numpy, ()
    return tensors.converted, (target, run.device, run.dtypes.get(name))
