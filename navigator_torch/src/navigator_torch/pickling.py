"""A model's way to another process: structure by pickle, the bytes of its tensors out of band."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.nn.utils import parametrize

from navigator_core import shipping
from navigator_torch import program, quiet

Reduce = Callable[[Any], Any]

ALIGNMENT = 16
"""What vectorised kernels expect of a tensor's address; a buffer that lies elsewhere is copied."""


def reducers() -> dict[type, Reduce]:
    """How storages travel: as one `pickle.PickleBuffer` each, so views, ties, strides and any type survive.

    Tensors arrive on the CPU. Under a loader that maps the buffers privately nothing is copied. Scripted modules
    and exported programs travel as their own archives. A lock arrives as a new one: who holds the old one is not there.
    """
    return {
        type(threading.Lock()): lambda lock: (threading.Lock, ()),
        type(threading.RLock()): lambda lock: (threading.RLock, ()),
        torch.UntypedStorage: _reduce_storage,
        torch.storage.TypedStorage: _reduce_typed,
        torch.jit.RecursiveScriptModule: _reduce_script,
        torch.jit.ScriptFunction: _reduce_script,
        torch.jit.TopLevelTracedModule: _reduce_script,
        torch.jit.TracedModule: _reduce_script,
        ExportedProgram: program.reduce,
    }


def ship(model: torch.nn.Module, folder: Path) -> None:
    """Write what plain pickle refuses: modules with parametrizations (weight norm, spectral norm)."""
    kinds = {type(module): _reduce_parametrized for module in model.modules() if parametrize.is_parametrized(module)}
    shipping.write(model, folder, {**reducers(), **kinds})


def receive(folder: Path) -> torch.nn.Module:
    """The inverse of `ship`."""
    model: torch.nn.Module = shipping.read(folder)
    return model


def _reduce_parametrized(module: torch.nn.Module) -> tuple[Any, ...]:
    return _bare_parametrized, (type(module).__bases__[0],), module.__dict__, None, None, _set_parametrized


def _bare_parametrized(cls: type[torch.nn.Module]) -> torch.nn.Module:
    module: torch.nn.Module = torch.nn.Module.__new__(cls)
    return module


def _set_parametrized(module: torch.nn.Module, attributes: Mapping[str, Any]) -> None:
    module.__dict__.update(attributes)
    parametrize._inject_new_class(module)  # the class was made in the other process, for this one module
    for name in attributes["_modules"]["parametrizations"]:
        parametrize._inject_property(module, name)


def _reduce_typed(storage: Any) -> Any:
    return _typed, (storage._untyped_storage, storage.dtype)


def _typed(storage: torch.UntypedStorage, dtype: torch.dtype) -> Any:
    return torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)


def _reduce_storage(storage: torch.UntypedStorage) -> Any:
    if storage.device.type == "meta":
        raise pickle.PicklingError("a tensor on the meta device has no values to send")
    if storage.nbytes() == 0:
        return torch.UntypedStorage, (0,)
    host = storage.cpu()
    view = torch.empty(0, dtype=torch.uint8).set_(host).numpy()
    return _storage, (pickle.PickleBuffer(view),)


def _storage(buffer: Any) -> torch.UntypedStorage:
    view = memoryview(buffer)
    tensor = torch.frombuffer(bytearray(view) if view.readonly else view, dtype=torch.uint8)
    return (tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor).untyped_storage()


def _reduce_script(module: Any) -> Any:
    file = io.BytesIO()
    with quiet.deprecations():
        torch.jit.save(module, file)
    return _script, (pickle.PickleBuffer(file.getbuffer()),)


def _script(buffer: Any) -> Any:
    with quiet.deprecations():
        return torch.jit.load(io.BytesIO(buffer), map_location="cpu")


def entries(module: Any) -> Iterator[tuple[str, bytes]]:
    """What a scripted module or function would be saved as, in eval mode, without debugging records."""
    if isinstance(module, torch.jit.ScriptModule):
        module = copy.deepcopy(module)
        if getattr(module, "training", False):
            module.eval()
    file = io.BytesIO()
    with quiet.deprecations():
        torch.jit.save(module, file)
    with zipfile.ZipFile(file) as archive:
        for name in sorted(archive.namelist()):
            inner = name.partition("/")[2]
            if not inner.endswith(".debug_pkl") and not inner.startswith(".data/"):
                yield inner, archive.read(name)
