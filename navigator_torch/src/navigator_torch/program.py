"""An exported program as a source: what it is called with, and a module that is called as the exported one was."""

from __future__ import annotations

import contextlib
import inspect
import io
import pickle
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

import torch

from navigator_core import type_names
from navigator_torch import quiet
from navigator_torch.tensors import is_on


def is_program(model: object) -> bool:
    """Whether it is a `torch.export.ExportedProgram`."""
    return "torch.export.exported_program.ExportedProgram" in type_names(model)


def parameters(program: Any) -> inspect.Signature:
    """The arguments that it was exported with; every one must be given, by position or by name."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Signature([inspect.Parameter(name, kind) for name in _arguments(program)[0]])


def _arguments(program: Any) -> tuple[Sequence[str], int]:
    """The names of the arguments, and how many of them are passed by position."""
    positional, keywords = program.call_spec.in_spec.children()
    named = getattr(program.module_call_graph[0].signature, "forward_arg_names", None)
    count = len(positional.children())
    return named or [*(f"arg{n}" for n in range(count)), *keywords.context], count


class Program(torch.nn.Module):  # type: ignore[misc]
    """The program's own module, which insists on what was passed by position and what by name, taking both."""

    def __init__(self, program: Any) -> None:
        super().__init__()
        self.module = program.module()
        self.names, self.count = _arguments(program)
        for module in self.modules():
            module.training = False  # what depends on it was decided when it was exported

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As `parameters` says."""
        given = {**dict(zip(self.names, args, strict=False)), **kwargs}
        by_position = [given[name] for name in self.names[: self.count]]
        by_name = {name: given[name] for name in self.names[self.count :]}
        return self.module(*by_position, **by_name)


def move(program: Any, device: str) -> Any:
    """The program with its weights and constants on ``device``: itself, where they are there, else changed in place."""
    held = [*program.state_dict.values(), *program.constants.values(), *(program.example_inputs or ((),))[0]]
    if all(is_on(value, device) for value in held if isinstance(value, torch.Tensor)):
        return program
    from torch.export.passes import move_to_device_pass

    return move_to_device_pass(program, device)


def reduce(program: Any) -> tuple[Any, ...]:
    """For pickle: the program's own archive, and the modules that know the containers it takes and returns."""
    file = io.BytesIO()
    with quiet.exporting():
        torch.export.save(program, file)
    homes = sorted({kind.__module__ for spec in program.call_spec if spec for kind in _kinds(spec)})
    return _load, (homes, pickle.PickleBuffer(file.getbuffer()))


def _kinds(spec: Any) -> Iterator[type]:
    if spec.type is not None:
        yield spec.type
    for child in spec.children():
        yield from _kinds(child)


def _load(homes: Sequence[str], archive: Any) -> Any:
    for home in homes:
        with contextlib.suppress(ImportError):  # then loading says which container it does not know
            import_module(home)
    with quiet.exporting():
        return torch.export.load(io.BytesIO(archive))
