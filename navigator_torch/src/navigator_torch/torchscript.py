"""TorchScript: live models to ``model.pt`` by tracing or scripting, and running such files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import Context, LoadedModel, Signature
from navigator_core.errors import NavigatorError
from navigator_core.structure import Constant, Container, Leaf, Node
from navigator_torch import quiet
from navigator_torch.copies import copied
from navigator_torch.export import Flat, example
from navigator_torch.program import Program
from navigator_torch.run import loaded_model

if TYPE_CHECKING:
    from navigator_torch.options import TorchScript, ToTorchScript


def export(model: torch.nn.Module, output: Path, options: ToTorchScript, context: Context) -> None:
    """Write the model with flat tensors in and a tuple of tensors out; no source is needed to load it."""
    with torch.no_grad(), quiet.exporting():
        make = traced if options.method == "trace" else scripted
        torch.jit.save(make(model, context), str(output))


def traced(model: torch.nn.Module, context: Context) -> Any:
    """One run, recorded. Whether it also holds elsewhere is for verification to say."""
    return torch.jit.trace(Flat(model, context.signature), example(context), check_trace=False)


def scripted(model: torch.nn.Module, context: Context) -> Any:
    """The user's module compiled, inside a compiled shell that binds and flattens as the signature does."""
    if isinstance(model, Program):
        raise NavigatorError("an exported program has no source that could be scripted; it can be traced")
    inner = model if isinstance(model, torch.jit.ScriptModule) else _compiled(model)
    for argument in inner.forward.schema.arguments:
        if argument.has_default_value() and argument.default_value is None and str(argument.type) == "Tensor":
            raise NavigatorError(
                f"TorchScript takes the argument {argument.name!r} for a Tensor, which cannot be None as its default "
                f"is; annotate it: {argument.name}: torch.Tensor | None = None"
            )
    return _inside(inner, shell(context.signature)).eval()


def _compiled(model: torch.nn.Module) -> Any:
    """The compiler leaves attributes of its own on what it compiles, so it gets a copy that shares the weights."""
    try:
        return torch.jit.script(copied(model, lambda t: t))
    except Exception as error:  # it raises whatever it trips over in the source of a model and of its configuration
        first = next(filter(None, map(str.strip, str(error).splitlines())), "")
        why = f"{type(error).__name__}: {re.sub(' at 0x[0-9a-f]+', '', first)}"  # the same words in every process
        raise NavigatorError(
            f"TorchScript's compiler does not take this model's source; a trace may do ({why})"
        ) from error


def _inside(model: Any, source: str) -> Any:
    """A compiled module that holds ``model`` and has this ``forward``."""

    class Shell(torch.jit.ScriptModule):  # type: ignore[misc]
        # a class for each: the second object of a class would get the code of another one that holds the like
        def __init__(self) -> None:
            with quiet.deprecations():
                super().__init__()
                self.model = model
                self.define(source)

    return Shell()


def shell(signature: Signature) -> str:
    """TorchScript source of a ``forward`` from flat tensors to the model's own call and back.

    Raises NavigatorError for arguments that TorchScript has no literal for.
    """
    names = {spec.name: f"t{number}" for number, spec in enumerate(signature.inputs)}
    arguments = []
    for parameter in signature.parameters:
        if parameter.node is None:
            continue
        if parameter.kind == "variadic":
            raise NavigatorError(f"TorchScript has no *{parameter.name}; give the model's forward named parameters")
        literal = _literal(parameter.node, names)
        arguments.append(literal if parameter.given == "positional" else f"{parameter.name}={literal}")
    tree = signature.structure.output if signature.structure else None
    places = dict(_places(tree or Leaf("output"), "out"))
    outputs = ", ".join(f"torch.jit._unwrap_optional({places[spec.name]})" for spec in signature.outputs)
    return (
        f"def forward(self, {', '.join(f'{name}: Tensor' for name in names.values())}):\n"
        f"    out = self.model({', '.join(arguments)})\n"
        f"    return ({outputs},)\n"
    )


def _literal(node: Node, names: Mapping[str, str]) -> str:
    if isinstance(node, Leaf):
        return names[node.name]
    if isinstance(node, Constant):
        if not isinstance(node.value, type(None) | bool | int | float | str):
            raise NavigatorError(f"TorchScript has no literal for the argument {node.value!r}")
        return repr(node.value)
    children = [_literal(child, names) for child in node.children]
    if node.kind == "list":
        return f"[{', '.join(children)}]"
    if node.kind == "tuple":
        return f"({', '.join(children)},)"
    if node.kind == "mapping":
        return "{" + ", ".join(f"{key!r}: {child}" for key, child in zip(node.keys, children, strict=True)) + "}"
    raise NavigatorError(f"TorchScript cannot build a {node.type} for the call")


def _places(node: Node, place: str) -> list[tuple[str, str]]:
    """Where each tensor stands in what the model returned, as an expression."""
    if isinstance(node, Leaf):
        return [(node.name, place)]
    if not isinstance(node, Container):
        return []
    found = []
    for key, child in zip(node.keys, node.children, strict=True):
        found += _places(child, f"{place}.{key}" if node.kind == "record" else f"{place}[{key!r}]")
    return found


def run(model: Path, options: TorchScript, context: Context) -> LoadedModel:
    """A TorchScript file on the context's device, called with tensors in the signature's order."""
    with quiet.deprecations():
        loaded = torch.jit.load(str(model), map_location=context.device).eval()
        if options.optimize_for_inference:
            loaded = torch.jit.optimize_for_inference(loaded)
        elif options.freeze:
            loaded = torch.jit.freeze(loaded)
    inputs = [spec.name for spec in context.signature.inputs]
    outputs = [spec.name for spec in context.signature.outputs]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        found = loaded(*[tensors[name] for name in inputs])
        return dict(zip(outputs, found if isinstance(found, tuple) else (found,), strict=True))

    return loaded_model(call, context, options.threads)
