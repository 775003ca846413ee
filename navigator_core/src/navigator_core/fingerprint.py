"""What a Python object is, as one hash: equal in every process, different after any change that can reach its results.

A framework's plugin derives a `Hasher` that knows its tensors and models, and gives what it is asked by the core's
``fingerprint(model)`` with it.
"""

from __future__ import annotations

import collections
import contextlib
import enum
import functools
import hashlib
import types
from collections.abc import Mapping
from typing import Any

import numpy as np

from navigator_core import code
from navigator_core.objects import BUILT_IN, IRRELEVANT, UnknownError, demand_open, name_of, state_of

PLAIN = (bool, int, float, complex, str, bytes)
NAMED = (type(None), type(Ellipsis), type(NotImplemented), np.dtype, range, slice)


class Hasher:
    """SHA-256 over classes, code, attributes and arrays. Raises UnknownError for what cannot be told.

    Ask in the process where the object was made: elsewhere its source files may be out of reach. Local modules are
    covered as whole files, and the code and globals that run as they are in memory.
    """

    named: tuple[type, ...] = NAMED
    """Types whose values are told by their ``repr``."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is of use only while its object lives
        self._inside: set[int] = set()
        self._classes: set[type] = set()
        self._files: set[str] = set()

    def digest(self) -> str:
        """The hash of all that was added."""
        return self._hash.hexdigest()

    def special(self, value: Any) -> bool:
        """Add what the framework knows better, and say whether it was such. Asked once for each object."""
        return False

    def add(self, value: Any) -> None:
        """Dispatch on the kind of value. Raises UnknownError."""
        if isinstance(value, enum.Enum):
            self.say("enum", name_of(type(value)), value.name)
        elif isinstance(value, PLAIN):
            plain = next(cls for cls in PLAIN if isinstance(value, cls))
            self.say(name_of(type(value)), plain.__repr__(value))
        elif isinstance(value, self.named):
            self.say(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray | np.generic):
            self.array(np.asarray(value))
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
            if not self.special(value):
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
        """Values by name, in order of name."""
        for name, value in sorted(state.items()):
            self.say("attribute", name)
            self.add(value)

    def add_class(self, cls: type) -> None:
        """A class with its bases; of the user's own, all that their bodies define."""
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

    def array(self, array: np.ndarray) -> None:
        """An array's type, shape and bytes."""
        if array.dtype.hasobject:
            raise UnknownError("an array of objects")
        self.say("array", array.dtype.str, array.shape)
        self.data(np.ascontiguousarray(array))

    def data(self, array: np.ndarray) -> None:
        """The bytes of an array that lies in one piece."""
        self._hash.update(array.reshape(-1).view(np.uint8).data)

    def parts(self, kind: str, *values: Any) -> None:
        """Something that is made of these."""
        self.say(kind, len(values))
        for value in values:
            self.add(value)

    def say(self, *words: object) -> None:
        """Words, with where they begin and end."""
        text = "\0".join(map(str, words)).encode("utf-8", "surrogatepass")
        self._hash.update(len(text).to_bytes(8, "little") + text)

    def _alone(self, value: Any) -> str:
        hasher = type(self)()
        hasher.add(value)
        return hasher.digest()
