"""A live model's way into a worker: structure by cloudpickle, tensors out of band in a mapped file."""

from __future__ import annotations

import io
import json
import mmap
import pickle
import pickletools
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, FunctionType, MappingProxyType, ModuleType
from typing import Any, ClassVar

import cloudpickle

from navigator_core import code, structure
from navigator_core.loading import Source
from navigator_core.signature import Parameter

ALIGNMENT = 64

_here: dict[str, tuple[Any, tuple[Parameter, ...]]] = {}
"""Models that could not be shipped: steps on them run in the process that has them."""


class NotShippableError(Exception):
    """Neither pickle nor the framework can send this model to another process; the message says why."""


def ship(model: Any, parameters: tuple[Parameter, ...], module: ModuleType, folder: Path) -> None:
    """Write a model and how it is called into ``folder``. Raises `NotShippableError`."""
    try:
        write((model, *_call(parameters)), folder, _reducers(module))
    except Exception as error:  # what a foreign __reduce__ raises is not foreseeable
        send = getattr(module, "ship", None)
        if send is None:
            raise NotShippableError(f"{type(error).__name__}: {error}") from error
        try:
            (folder / "shipped").mkdir(exist_ok=True)
            send(model, folder / "shipped")
            write((None, *_call(parameters)), folder, {})
        except Exception as second:
            raise NotShippableError(f"{type(error).__name__}: {error}") from second


def keep(folder: Path, model: Any, parameters: tuple[Parameter, ...]) -> None:
    """Remember a model for steps that run in this process; ``folder`` is what its `Source` will name."""
    _here[str(folder)] = (model, parameters)


def forget(folder: Path) -> None:
    """Undo `keep`."""
    _here.pop(str(folder), None)


def receive(source: Source) -> tuple[Any, tuple[Parameter, ...] | None]:
    """The model, live or the path of its file, and how a live one is called, its constants included."""
    if source.framework is None:
        return source.path, None
    if str(source.path) in _here:
        return _here[str(source.path)]
    model, parameters, classes = read(source.path)
    structure.meet(classes)
    if (source.path / "shipped").is_dir():
        model = source.framework.resolve().receive(source.path / "shipped")
    return model, parameters


def open_source(source: Source, device: str) -> tuple[Any, tuple[Parameter, ...] | None]:
    """As `receive`, with a live model ready to be evaluated on ``device``.

    The parameters hold the constants of the call, which cannot always be written down as data: put them into the
    signature with `Signature.with_parameters`.
    """
    model, parameters = receive(source)
    if source.framework is not None:
        prepare = getattr(source.framework.resolve(), "prepare", None)
        model = prepare(model, device) if prepare else model
    return model, parameters


def _call(parameters: tuple[Parameter, ...]) -> tuple[tuple[Parameter, ...], dict[str, type]]:
    """How the model is called, and the classes of containers that it is called with."""
    return parameters, structure.classes(parameter.node for parameter in parameters)


def _reducers(module: ModuleType) -> Mapping[type, Callable[[Any], Any]]:
    make = getattr(module, "reducers", None)
    return make() if make else {}


def write(value: Any, folder: Path, reducers: Mapping[type, Callable[[Any], Any]]) -> None:
    """A value as files, its buffers not copied: ``model.bin`` has one after the other, ``model.json`` says where.

    ``model.pkl`` is the structure, ``modules.json`` what it may import.
    """
    where: list[tuple[int, int]] = []
    with (folder / "model.bin").open("wb") as data:

        def out_of_band(buffer: pickle.PickleBuffer) -> None:
            raw = buffer.raw()
            data.write(b"\0" * (-data.tell() % ALIGNMENT))
            where.append((data.tell(), raw.nbytes))
            data.write(raw)

        pickled = dumps(value, reducers, buffer_callback=out_of_band)
    (folder / "model.pkl").write_bytes(pickled)
    (folder / "model.json").write_text(json.dumps(where))
    (folder / "modules.json").write_text(json.dumps(_modules_in(pickled)))


def modules(source: Source) -> tuple[str, ...]:
    """The modules that a shipped model's classes come from: imported once by a worker, not once by every step."""
    listed = source.path / "modules.json"
    return tuple(json.loads(listed.read_text())) if source.framework is not None and listed.is_file() else ()


def _modules_in(pickled: bytes) -> list[str]:
    """Every text in a pickle that names a loaded module of a package; one that is no class's does no harm.

    The user's own modules are left to the steps: what they do when they are imported may start threads, and a worker
    that has some cannot be forked.
    """
    texts = {argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)}
    return sorted(name for name in texts & sys.modules.keys() - {"builtins"} if not code.is_local(name))


def dumps(value: Any, reducers: Mapping[type, Callable[[Any], Any]] = MappingProxyType({}), **options: Any) -> bytes:
    """Pickle for another process: what that one cannot import goes by value.

    A recursion limit hit by a deep structure is raised for the attempt.
    """
    carried: dict[str, bool] = {}

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # it is untyped
        # a class of its own: cloudpickle's table is the whole process's, and is read when a pickler is made
        dispatch_table: ClassVar[Any] = ChainMap(
            {**reducers, CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
        )

        def reducer_override(self, value: Any) -> Any:
            module = value.__module__ if isinstance(value, type | FunctionType) else None
            if module is not None and module not in carried:
                carried[module] = _carry(module)
            return super().reducer_override(value)

    stream = io.BytesIO()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        Pickler(stream, protocol=5, **options).dump(value)
    finally:
        sys.setrecursionlimit(limit)
        for module in [name for name, by_value in carried.items() if by_value]:
            cloudpickle.unregister_pickle_by_value(sys.modules[module])
    return stream.getvalue()


def _reduce_code(code: CodeType) -> tuple[Callable[..., CodeType], tuple[Any, ...]]:
    """As cloudpickle has it, with the name of the file, which it leaves out (3.1.3 does).

    Tracebacks show the user's lines by it, and `torch.jit.script` reads them.
    """
    return _made_of, (code.co_filename, *cloudpickle.Pickler.dispatch_table[CodeType](code))


def _made_of(filename: str, make: Callable[..., CodeType], arguments: tuple[Any, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=filename)


def _carry(name: str) -> bool:
    """Have a module's functions and classes pickled by value, if another process could not import it."""
    module = sys.modules.get(name)
    if module is None or name == "__main__" or name in cloudpickle.list_registry_pickle_by_value() or _findable(module):
        return False
    cloudpickle.register_pickle_by_value(module)
    return True


def _findable(module: ModuleType) -> bool:
    """Whether a search of ``sys.path`` finds this very module; True for one that comes from no Python file."""
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        return True
    spec, places, parts = None, None, module.__name__.split(".")
    for end in range(1, len(parts) + 1):
        spec = _find(".".join(parts[:end]), places)
        if spec is None:
            return False
        places = spec.submodule_search_locations
    # a frozen module of the standard library has no location
    return spec is not None and (not spec.has_location or Path(spec.origin or "") == Path(file))


def _find(name: str, places: Any) -> ModuleSpec | None:
    finders = (getattr(finder, "find_spec", None) for finder in sys.meta_path)
    return next((spec for find in finders if find and (spec := find(name, places)) is not None), None)


def read(folder: Path) -> Any:
    """The inverse of `write`; the buffers are mapped, not read."""
    where = json.loads((folder / "model.json").read_text())
    with (folder / "model.bin").open("rb") as data:
        # private pages: writable for frameworks that insist, never written back
        mapped = mmap.mmap(data.fileno(), 0, access=mmap.ACCESS_COPY) if where and _size(folder) else None
        view = memoryview(mapped) if mapped is not None else memoryview(b"")
    buffers = [view[start : start + length] for start, length in where]
    return pickle.loads((folder / "model.pkl").read_bytes(), buffers=buffers)


def _size(folder: Path) -> int:
    return (folder / "model.bin").stat().st_size
