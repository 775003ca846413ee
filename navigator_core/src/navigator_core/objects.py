"""Python objects: their names, the state they show, and whether that is all they have."""

from __future__ import annotations

import logging
import threading
import types
from typing import Any

BUILT_IN = (
    types.BuiltinFunctionType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)
IRRELEVANT = (logging.Logger, type(threading.Lock()), type(threading.RLock()))
"""Objects that never reach a result."""

_HEAP_TYPE = 1 << 9  # of types.__flags__: made by a class statement


class UnknownError(Exception):
    """A value cannot be told apart from another of its kind; the message says which."""


def name_of(cls: type) -> str:
    """Module and qualified name."""
    return f"{cls.__module__}.{cls.__qualname__}"


def state_of(value: Any) -> dict[str, Any]:
    """Attributes and slots by name."""
    state = dict(getattr(value, "__dict__", {}))
    for cls in type(value).__mro__:
        slots = vars(cls).get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__") and hasattr(value, slot):
                state[slot] = getattr(value, slot)
    return state


def demand_open(value: Any) -> None:
    """Raises UnknownError for an object that holds more than its attributes, by the rules of `copyreg` and `object`."""
    for base in type(value).__mro__:
        new = base.__new__
        if not base.__flags__ & _HEAP_TYPE or (isinstance(new, types.BuiltinMethodType) and new.__self__ is base):
            break
    if base is not object:
        raise UnknownError(name_of(type(value)))
    own: Any = type(value).__reduce__
    if own is object.__reduce__:
        try:
            object.__reduce_ex__(value, 2)
        except Exception as error:  # whatever a foreign __getstate__ raises
            raise UnknownError(name_of(type(value))) from error
