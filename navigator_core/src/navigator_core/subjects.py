"""The model and its samples, identified and put where workers find them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from attrs import field, frozen

from navigator_core import arrays, session, shipping, structure, tensors
from navigator_core import samples as reading
from navigator_core.declarations import Format, Framework, Ref, Runner
from navigator_core.errors import NavigatorError, PluginError, RequestError, unknown
from navigator_core.execution import Done, Failed, Job
from navigator_core.loading import Source
from navigator_core.made_up import MadeUp
from navigator_core.plugins import Plugins
from navigator_core.request import Request
from navigator_core.samples import Samples
from navigator_core.session import Session
from navigator_core.signature import Call, Signature
from navigator_core.worker import Emit

NO_MODELS = (type(None), bool, int, float, bytes, list, tuple, set, dict, OrderedDict)
"""What holds no code, of whatever framework; not among them is what a plugin that is missing would recognise."""


@frozen(kw_only=True)
class Identified:
    """What the model is. ``calls`` are the samples as read; None where they are to be made up."""

    model: Any
    format: str
    declared: Format | Framework
    runner: Runner
    calls: tuple[Call, ...] | None
    made_up: MadeUp = field(factory=MadeUp)
    notes: tuple[str, ...] = ()

    @property
    def module(self) -> ModuleType | None:
        """The framework's source module; None for a file."""
        module: ModuleType | None = None
        if isinstance(self.declared, Framework):
            module = self.declared.source.resolve()
        return module


@frozen(kw_only=True)
class Subject:
    """The model as workers find it, with its samples as files. ``here``: it cannot leave this process."""

    identified: Identified
    source: Source
    samples: Samples
    sample_paths: tuple[Path, ...]
    signature: Signature | None = None
    here: bool = False
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class FileQuestion:
    """What a worker is asked about a file that is the source."""

    path: Path
    signature: Ref
    companions: Ref | None = None


@frozen(kw_only=True)
class FileAnswer:
    """The file's inputs and outputs as it declares them, and the files that belong to it, relative to its folder."""

    signature: Signature
    companions: tuple[str, ...] = ()


def identify(model: Any, samples: Any, request: Request, plugins: Plugins) -> Identified:
    """Which format or framework the model is of.

    Raises RequestError if that cannot be told, or nothing installed runs it; it names the plugins set aside, of which
    one may be what is missing.
    """
    try:
        return _identified(model, samples, request, plugins)
    except RequestError as error:
        if not plugins.broken and not plugins.lost:
            raise
        raise RequestError("\n".join([str(error), *map(str, plugins.broken), *map(str, plugins.lost)])) from error


def _identified(model: Any, samples: Any, request: Request, plugins: Plugins) -> Identified:
    tensors.register(plugins.tensors.values())
    calls: tuple[Call, ...] | None = None
    notes: tuple[str, ...] = ()
    if samples is not None and not isinstance(samples, MadeUp):
        read, notes = reading.read(samples)
        calls = tuple(read)
    name, more = request.format, notes[:0]
    if name is None:
        name, more = plugins.identify(model, _first(calls))
    if name is None and isinstance(model, str | os.PathLike) and not Path(model).expanduser().exists():
        raise RequestError(f"there is no file {os.fspath(model)}")
    if name is None and type(model) in NO_MODELS:
        hint = "; if it holds weights, make the model and load them into it" if isinstance(model, dict) else ""
        raise RequestError(f"{_describe(model)} is no model{hint}")
    if name is None:
        known = ", ".join(sorted(plugins.formats)) or "nothing"
        raise RequestError(
            f"no installed plugin recognises {_describe(model)}; installed plugins know {known}. "
            "Install the plugin for it (`navigator plugins` lists what is here), or say what it is with format="
        )
    declared = plugins.formats.get(name)
    if declared is None:
        raise unknown("format", name, plugins.formats)
    if isinstance(model, str | os.PathLike) and isinstance(declared, Framework):
        raise RequestError(f"{os.fspath(model)!r} is a path, but {name!r} is a kind of live model: load it first")
    if isinstance(declared, Format) and not isinstance(model, str | os.PathLike):
        raise RequestError(f"{name!r} is a format of files, and the model is {_describe(model)}: give the file's path")
    if isinstance(declared, Format) and (declared.signature is None or declared.reference is None):
        why = declared.instead or "its plugin does not say what such a file means"
        raise RequestError(f"a file of the format {name!r} cannot be a source: {why}")
    if samples is None and isinstance(declared, Framework):
        raise RequestError("a live model needs samples: what it is called with, such as one batch of real inputs")
    runner = plugins.runners.get(declared.reference or "")
    if runner is None:
        raise PluginError(f"{name!r} names the runner {declared.reference!r}, which no plugin declares")
    return Identified(
        model=model,
        format=name,
        declared=declared,
        runner=runner,
        calls=calls,
        made_up=samples if isinstance(samples, MadeUp) else MadeUp(),
        notes=(*notes, *more),
    )


def ship(found: Identified, request: Request, plugins: Plugins, session: Session) -> Subject:
    """Put model and samples into the workspace. Raises RequestError for samples that do not fit."""
    if isinstance(found.declared, Format):
        return _ship_file(found, found.declared, request, plugins, session)
    module = found.module
    assert module is not None
    try:
        parameters, rest = reading.parameters_of(module.parameters(found.model))
    except (AttributeError, TypeError, ValueError) as error:
        raise RequestError(f"{_describe(found.model)} cannot be called as a {found.format} model: {error}") from error
    calls = found.made_up.calls(None) if found.calls is None else found.calls
    _demand_plain(calls, module)
    samples = reading.gather(calls, parameters, rest, request.input_names, found.made_up.ranges)
    if samples.made_up and isinstance(found.declared, Framework) and found.declared.tensors:
        samples = samples.of_kind(found.declared.tensors)
    say = getattr(module, "state", None)
    notes = tuple(say(found.model)) if say else ()
    folder, here, more = _ship_live(found, samples, module, session)
    source = Source(format=found.format, path=folder, framework=found.declared.source)
    return Subject(
        identified=found,
        source=source,
        samples=samples,
        sample_paths=_store_samples(samples, session),
        here=here,
        notes=(*found.notes, *samples.notes, *notes, *more),
    )


def _demand_plain(calls: Sequence[Call], module: ModuleType) -> None:
    """Raises RequestError for an argument that is no constant from call to call, as far as the framework knows."""
    advice = getattr(module, "advice", None)
    if advice is None:
        return
    for number, call in enumerate(calls):
        for name, argument in (*enumerate(call.args), *call.kwargs.items()):
            for value in structure.loose(argument):
                text = advice(value)
                if text is not None:
                    where = repr(name) if isinstance(name, str) else f"number {name}"
                    raise RequestError(f"argument {where} of sample {number} is a {structure.type_name(value)}; {text}")


def _ship_live(
    found: Identified, samples: Samples, module: ModuleType, session: Session
) -> tuple[Path, bool, tuple[str, ...]]:
    """The folder of the shipped model, by its fingerprint where it has one; whether it must stay here instead."""
    fingerprint = module.fingerprint(found.model)
    pack = getattr(module, "pack", None)
    model = pack(found.model) if pack else found.model
    try:
        if fingerprint is None:
            folder = session.run.folder / "source"
            folder.mkdir()
            shipping.ship(model, samples.parameters, module, folder)
        else:
            key = session_key("source", found.format, fingerprint, repr(samples.parameters))
            folder = session.store(key, lambda output: shipping.ship(model, samples.parameters, module, output))
    except shipping.NotShippableError as error:
        folder = session.run.folder / "source"
        folder.mkdir(exist_ok=True)
        shipping.keep(folder, model, samples.parameters)
        session.at_end.append(partial(shipping.forget, folder))
        return folder, True, (f"the model cannot be sent to a worker ({error}); steps on it run in this process",)
    return folder, False, ()


def session_key(*parts: str) -> str:
    """A key for the workspace from texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _ship_file(found: Identified, declared: Format, request: Request, plugins: Plugins, session: Session) -> Subject:
    path = Path(os.fspath(found.model)).expanduser().absolute()
    if not path.exists():
        raise RequestError(f"there is no file {path}")
    assert declared.signature is not None
    question = FileQuestion(path=path, signature=declared.signature, companions=declared.companions)
    module = declared.signature.target.partition(":")[0]
    job = Job(
        function=Ref("navigator_core.subjects:describe_file"),
        argument=question,
        result=FileAnswer,
        preload=(module,),
        interpreter=plugins.interpreter(declared.signature),
    )
    outcome, _ = session.perform(f"read {path.name}", "prepare", job, None)
    answer = required(outcome)
    parameters = reading.file_parameters(answer.signature)
    calls = found.made_up.calls(answer.signature) if found.calls is None else found.calls
    samples = reading.gather(calls, parameters, False, request.input_names, found.made_up.ranges)
    reading.check_fit(samples, answer.signature)
    key = "file-" + _file_digest([path, *(path.parent / name for name in answer.companions)])
    folder = session.store(key, lambda output: _copy(path, declared.file, answer.companions, output))
    allowed = reading.dynamic_axes(answer.signature)
    return Subject(
        identified=found,
        source=Source(format=found.format, path=folder / declared.file),
        samples=samples.restricted(allowed),
        sample_paths=_store_samples(samples, session),
        signature=answer.signature,
        notes=(*found.notes, *samples.notes),
    )


def describe_file(question: FileQuestion, folder: Path, emit: Emit) -> FileAnswer:
    """What the file's own plugin says of it. Runs in a worker."""
    signature = question.signature.resolve()(question.path)
    companions = question.companions.resolve()(question.path) if question.companions else ()
    return FileAnswer(signature=signature, companions=tuple(str(path) for path in companions))


def _copy(path: Path, name: str, companions: Sequence[str], output: Path) -> None:
    if path.is_dir():
        shutil.copytree(path, output / name)
    else:
        shutil.copyfile(path, output / name)
    for companion in companions:
        (output / companion).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path.parent / companion, output / companion)


def _file_digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                digest.update(str(file.relative_to(paths[0].parent) if path.is_dir() else file.name).encode())
                with file.open("rb") as stream:
                    digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _store_samples(samples: Samples, active: session.Session) -> tuple[Path, ...]:
    digest = hashlib.sha256()
    for sample in samples.arrays:
        for name, array in sample.items():
            digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
            digest.update(array.tobytes())

    def build(output: Path) -> None:
        for number, sample in enumerate(samples.arrays):
            arrays.save(output / f"{number:03}.npz", sample)

    folder = active.store(f"samples-{digest.hexdigest()}", build)
    return tuple(folder / f"{number:03}.npz" for number in range(len(samples.arrays)))


def required(outcome: Done[Any] | Failed) -> Any:
    """The value; raises what the user should see of a step without which nothing can be done."""
    if isinstance(outcome, Done):
        return outcome.value
    if outcome.raised is not None:
        raise outcome.raised
    kind, _, message = outcome.reason.partition(": ")
    raise RequestError(message) if kind == "RequestError" else NavigatorError(outcome.reason)


def _first(calls: Sequence[Call] | None) -> Any:
    if not calls:
        return None
    first = calls[0]
    if len(first.args) == 1 and not first.kwargs:
        return first.args[0]
    return first.args or first.kwargs


def _describe(model: Any) -> str:
    if isinstance(model, str | os.PathLike):
        return f"the path {os.fspath(model)!r}"
    if isinstance(model, type):
        return f"the class {model.__module__}.{model.__qualname__} itself (give an instance)"
    return f"a {type(model).__module__}.{type(model).__qualname__}"
