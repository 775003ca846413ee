"""What a model is, as one hash: equal in every process, different after any change that can reach its results."""

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
import torch

from navigator_torch import code, pickling, program
from navigator_torch.objects import BUILT_IN, IRRELEVANT, UnknownError, demand_open, name_of, state_of

BOOKKEEPING = set(vars(torch.nn.Module())) | {"_is_hf_initialized", "__overloads__"}
"""Attributes of every module: its children are told one by one, and the rest does not reach results in eval mode."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
PLAIN = (bool, int, float, complex, str, bytes)
NAMED = (
    type(None),
    type(Ellipsis),
    type(NotImplemented),
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
    range,
    slice,
)


def fingerprint(model: torch.nn.Module) -> str | None:
    """SHA-256 over classes, code, attributes and every tensor; None where something cannot be told, such as a hook.

    Ask in the process where the model was made: elsewhere its source files may be out of reach. Local modules are
    covered as whole files, and the code and globals that run as they are in memory. Training mode does not matter.
    """
    if torch.nn.modules.module._global_forward_hooks or torch.nn.modules.module._global_forward_pre_hooks:
        return None
    hasher = _Hasher()
    try:
        (hasher.program if program.is_program(model) else hasher.add)(model)
    except (UnknownError, RecursionError):
        return None
    return hasher.digest()


class _Hasher:
    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._seen: dict[int, int] = {}
        self._kept: list[Any] = []  # an id is of use only while its object lives
        self._inside: set[int] = set()
        self._classes: set[type] = set()
        self._files: set[str] = set()

    def digest(self) -> str:
        return self._hash.hexdigest()

    def program(self, made: Any) -> None:
        """An exported program is its graph and what the graph reads. Raises UnknownError."""
        self._say("program", torch.__version__, made.call_spec, list(made.range_constraints.items()))
        self._say(made.graph_signature)
        for name, module in made.graph_module.named_modules():
            self._say(name, getattr(module, "code", type(module).__name__))
        self.add({**made.state_dict, **made.constants})

    def add(self, value: Any) -> None:
        """Dispatch on the kind of value. Raises UnknownError."""
        if isinstance(value, enum.Enum):
            self._say("enum", name_of(type(value)), value.name)
        elif isinstance(value, PLAIN):
            plain = next(cls for cls in PLAIN if isinstance(value, cls))
            self._say(name_of(type(value)), plain.__repr__(value))
        elif isinstance(value, NAMED):
            self._say(type(value).__name__, repr(value))
        elif isinstance(value, np.ndarray | np.generic):
            self._array(np.asarray(value))
        elif type(value) in (list, tuple):
            self._say(type(value).__name__, len(value))
            self._children(value)
        elif type(value) in (set, frozenset):
            self._say("set", *sorted(_alone(child) for child in value))
        elif isinstance(value, IRRELEVANT):
            self._say("irrelevant", type(value).__name__)
        elif id(value) in self._seen:
            self._say("again", self._seen[id(value)])
        else:
            self._seen[id(value)] = len(self._seen)
            self._kept.append(value)
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
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            self._scripted(value)
        elif isinstance(value, torch.nn.Module):
            self._module(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, types.MethodType):
            self._parts("method", value.__func__, value.__self__)
        elif isinstance(value, types.ModuleType):
            self._say("python module", value.__name__)
            self._local(value.__name__)
        elif isinstance(value, BUILT_IN):
            owner = getattr(value, "__self__", None) or getattr(value, "__objclass__", None)
            self._say("built-in", getattr(value, "__module__", None), value.__qualname__)
            if owner is not None and not isinstance(owner, type | types.ModuleType):
                self.add(owner)
        elif isinstance(value, functools.partial):
            self._parts("partial", value.func, value.args, value.keywords)
        elif isinstance(value, torch.Generator):
            self._parts("generator", value.get_state())
        elif isinstance(value, property):
            self._parts("property", value.fget, value.fset, value.fdel)
        elif hasattr(value, "__wrapped__") and not hasattr(value, "__self__"):
            self._parts(name_of(type(value)), value.__wrapped__)
        else:
            self._object(value)

    def _module(self, module: torch.nn.Module) -> None:
        state = vars(module)
        if any(state.get(hooks) for hooks in HOOKS):
            raise UnknownError("hooks")
        self._class(type(module))
        for kind in ("_parameters", "_buffers", "_modules"):
            self._say(kind)
            for name, child in state.get(kind, {}).items():
                self._say(name)
                self.add(child)
        self._attributes({name: value for name, value in state.items() if name not in BOOKKEEPING})

    def _object(self, value: Any) -> None:
        """Any other object: its class, what it contains, its attributes."""
        self._class(type(value))
        if isinstance(value, dict):
            self._say("dict", len(value))
            for key, child in value.items():
                self.add(key)
                self.add(child)
        elif isinstance(value, list | tuple | collections.deque):
            self._children(value)
        elif isinstance(value, set | frozenset):
            self._say(*sorted(_alone(child) for child in value))
        elif type(value) is not object:
            demand_open(value)
        self._attributes(state_of(value))

    def _attributes(self, state: Mapping[str, Any]) -> None:
        for name, value in sorted(state.items()):
            self._say("attribute", name)
            self.add(value)

    def _class(self, cls: type) -> None:
        for base in cls.__mro__:
            self._say("class", name_of(base))
            if not code.is_local(base.__module__):
                self._say(code.version(base.__module__))
            elif base not in self._classes:
                self._classes.add(base)
                self._local(base.__module__)
                for name, value in code.body(base):
                    self._say(name)
                    self.add(value)

    def _function(self, function: types.FunctionType) -> None:
        module = function.__globals__.get("__name__")  # a wrapper states the module of what it wraps
        self._say("function", module, function.__qualname__)
        self._closure(function)
        if not code.is_local(module):
            self._say(code.version(module))
            return
        self._local(str(module))
        self._code(function.__code__)
        self.add(function.__defaults__)
        self.add(function.__kwdefaults__)
        for name, value in code.globals_used(function):
            self._say("global", name)
            self.add(value)

    def _closure(self, function: types.FunctionType) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._say("closure", name)
            with contextlib.suppress(ValueError):  # an empty cell
                self.add(cell.cell_contents)

    def _code(self, body: types.CodeType) -> None:
        self._say("code", body.co_code.hex(), body.co_names, body.co_varnames, body.co_freevars, body.co_flags)
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
                self._say("source", hashlib.sha256(text).hexdigest())
        self._files.add(module)

    def _tensor(self, tensor: torch.Tensor) -> None:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_quantized:
            raise UnknownError(f"a tensor of {name_of(type(tensor))}")
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            raise UnknownError(f"a tensor of layout {tensor.layout} on {tensor.device}")
        self._say("tensor", tensor.dtype, tuple(tensor.shape))
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        self._hash.update(memoryview(flat.view(torch.uint8).numpy()))

    def _array(self, array: np.ndarray) -> None:
        if array.dtype.hasobject:
            raise UnknownError("an array of objects")
        self._say("array", array.dtype.str, array.shape)
        self._hash.update(np.ascontiguousarray(array).tobytes())

    def _scripted(self, module: Any) -> None:
        for name, content in pickling.entries(module):
            self._say("entry", name, hashlib.sha256(content).hexdigest())

    def _parts(self, kind: str, *values: Any) -> None:
        self._say(kind, len(values))
        for value in values:
            self.add(value)

    def _say(self, *words: object) -> None:
        text = "\0".join(map(str, words)).encode("utf-8", "surrogatepass")
        self._hash.update(len(text).to_bytes(8, "little") + text)


def _alone(value: Any) -> str:
    hasher = _Hasher()
    hasher.add(value)
    return hasher.digest()
