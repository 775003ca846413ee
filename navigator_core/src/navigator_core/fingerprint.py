"""What a Python value is, as one hash: equal in every process, different after any change that can reach a result.

Functions are told by their code, defaults, closure, the globals they use and the source of every local module that
these come from; objects by their class and what they hold. What cannot be told is an error, never a guess.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

from navigator_core import code
from navigator_core.objects import BUILT_IN, IRRELEVANT, UnknownError, demand_open, name_of, state_of

PLAIN = (bool, int, float, complex, str, bytes)
NAMED = (type(None), type(Ellipsis), type(NotImplemented), np.dtype, range, slice)


class Hasher:
    """Takes values one after the other. ``names`` are those that the code it has met refers to.

    ``special`` is asked about every value with an identity and says whether it has dealt with it, ``named`` are further
    types whose ``repr`` says all, and ``met`` hears of every text and path.
    """

    def __init__(
        self,
        special: Callable[[Hasher, Any], bool] = lambda hasher, value: False,
        named: tuple[type, ...] = (),
        met: Callable[[Hasher, str | PurePath], None] = lambda hasher, text: None,
    ) -> None:
        self.names: set[str] = set()
        self._special, self._named, self._met = special, (*NAMED, *named), met
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is of use only while its object lives
        self._inside: set[int] = set()
        self._classes: set[type] = set()
        self._files: set[str] = set()

    def digest(self) -> str:
        """SHA-256, in hexadecimal."""
        return self._hash.hexdigest()

    def say(self, *words: object) -> None:
        """Texts, and where each of these calls ends."""
        text = "\0".join(map(str, words)).encode("utf-8", "surrogatepass")
        self._hash.update(len(text).to_bytes(8, "little") + text)

    def update(self, data: Any) -> None:
        """Bytes; say their number before."""
        self._hash.update(data)

    def add(self, value: Any) -> None:
        """Dispatch on the kind of value. Raises UnknownError."""
        if isinstance(value, enum.Enum):
            self.say("enum", name_of(type(value)), value.name)
        elif isinstance(value, PLAIN):
            plain = next(cls for cls in PLAIN if isinstance(value, cls))
            self.say(name_of(type(value)), plain.__repr__(value))
            if isinstance(value, str):
                self._met(self, value)
        elif isinstance(value, PurePath):
            self.say(name_of(type(value)), value)
            self._met(self, value)
        elif isinstance(value, self._named):
            self.say(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif type(value) in (list, tuple):
            self.say(type(value).__name__, len(value))
            self._children(value)
        elif type(value) in (set, frozenset):
            self.say("set", *sorted(self._alone(child) for child in value))
        elif isinstance(value, IRRELEVANT):
            self.say("irrelevant", type(value).__name__)
        elif id(value) in self._seen:
            self.say("again", self._seen[id(value)])
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
            if not self._special(self, value):
                self._thing(value)

    def _children(self, value: Any) -> None:
        """By value: two equal tuples say the same as one tuple twice."""
        if id(value) in self._inside:
            raise UnknownError("a container inside itself")
        self._inside.add(id(value))
        for child in value:
            self.add(child)
        self._inside.remove(id(value))

    def _thing(self, value: Any) -> None:
        """What has an identity: seen again, it is a reference."""
        if isinstance(value, type):
            self.add_class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self.parts("method", value.__func__, value.__self__)
        elif isinstance(value, types.ModuleType):
            self.say("python module", value.__name__)
            self._local(value.__name__)
        elif isinstance(value, BUILT_IN):
            owner = getattr(value, "__self__", None) or getattr(value, "__objclass__", None)
            self.say("built-in", getattr(value, "__module__", None), value.__qualname__)
            if owner is not None and not isinstance(owner, type | types.ModuleType):
                self.add(owner)
        elif isinstance(value, functools.partial):
            self.parts("partial", value.func, value.args, value.keywords)
        elif isinstance(value, property):
            self.parts("property", value.fget, value.fset, value.fdel)
        elif hasattr(value, "__wrapped__") and not hasattr(value, "__self__"):
            self.parts(name_of(type(value)), value.__wrapped__)
        else:
            self._object(value)

    def _object(self, value: Any) -> None:
        """Any other object: its class, what it contains, its attributes."""
        self.add_class(type(value))
        if isinstance(value, dict):
            self.say("dict", len(value))
            for key, child in value.items():
                self.add(key)
                self.add(child)
        elif isinstance(value, list | tuple | collections.deque):
            self._children(value)
        elif isinstance(value, set | frozenset):
            self.say(*sorted(self._alone(child) for child in value))
        elif type(value) is not object:
            demand_open(value)
        self.attributes(state_of(value))

    def attributes(self, state: Mapping[str, Any]) -> None:
        """Attributes by name."""
        for name, value in sorted(state.items()):
            self.say("attribute", name)
            self.add(value)

    def add_class(self, cls: type) -> None:
        """A class with its bases: local ones by all that they define, others by their package's version."""
        for base in cls.__mro__:
            self.say("class", name_of(base))
            if not code.is_local(base.__module__):
                self.say(code.version(base.__module__))
            elif base not in self._classes:
                self._classes.add(base)
                self._local(base.__module__)
                for name, value in code.body(base):
                    self.say(name)
                    self.add(value)

    def _function(self, function: types.FunctionType) -> None:
        module = function.__globals__.get("__name__")  # a wrapper states the module of what it wraps
        self.say("function", module, function.__qualname__)
        self._closure(function)
        if not code.is_local(module):
            self.say(code.version(module))
            return
        self._local(str(module))
        self._code(function.__code__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for name, value in code.globals_used(function):
            self.say("global", name)
            self.add(value)

    def _closure(self, function: types.FunctionType) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self.say("closure", name)
            with contextlib.suppress(ValueError):  # an empty cell
                self.add(cell.cell_contents)

    def _code(self, body: types.CodeType) -> None:
        self.names.update(body.co_names)
        self.say("code", body.co_code.hex(), body.co_names, body.co_varnames, body.co_freevars, body.co_flags)
        for constant in body.co_consts:
            if isinstance(constant, types.CodeType):
                self._code(constant)
            else:
                self.add(constant)

    def _local(self, module: str) -> None:
        if module in self._files or not code.is_local(module):
            return
        for name, text in sorted(code.sources(module)):
            if name not in self._files:
                self._files.add(name)
                self.say("source", hashlib.sha256(text).hexdigest())
        self._files.add(module)

    def _array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            raise UnknownError("an array of objects")
        self.say("array", array.dtype.str, array.shape)
        self._hash.update(np.ascontiguousarray(array).tobytes())

    def parts(self, kind: str, *values: Any) -> None:
        """The kind of a value, and what it is made of."""
        self.say(kind, len(values))
        for value in values:
            self.add(value)

    def _alone(self, value: Any) -> str:
        hasher = Hasher(self._special, self._named, self._met)
        hasher.add(value)
        self.names |= hasher.names
        return hasher.digest()
