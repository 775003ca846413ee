"""What the core asks of a live torch model."""

from __future__ import annotations

import inspect
from typing import Any

from navigator_torch import program
from navigator_torch.copies import noise, prepare, truth
from navigator_torch.fingerprint import fingerprint
from navigator_torch.pickling import receive, reducers, ship

__all__ = ["advice", "fingerprint", "noise", "parameters", "prepare", "receive", "reducers", "ship", "state", "truth"]


def parameters(model: Any) -> inspect.Signature:
    """How ``forward`` is called, without ``self``."""
    if program.is_program(model):
        return program.parameters(model)
    schema = getattr(model.forward, "schema", None)  # a scripted one is described by its schema alone
    if schema is None:
        return inspect.signature(model.forward)
    kinds = inspect.Parameter
    return inspect.Signature(
        [
            inspect.Parameter(
                argument.name,
                kinds.KEYWORD_ONLY if argument.kwarg_only else kinds.POSITIONAL_OR_KEYWORD,
                default=argument.default_value if argument.has_default_value() else kinds.empty,
            )
            for argument in schema.arguments
            if argument.name != "self"
        ]
    )


def state(model: Any) -> tuple[str, ...]:
    """What evaluation changes in its copy, one sentence each."""
    if program.is_program(model):
        return ()
    training = [name for name, module in model.named_modules() if getattr(module, "training", False)]
    if not training:
        return ()
    if getattr(model, "training", False):
        return ("the model was in training mode; it is evaluated in eval mode and was left as it is",)
    some = ", ".join(training[:3]) + (f" and {len(training) - 3} more" if len(training) > 3 else "")
    return (f"parts of the model were in training mode ({some}); they are evaluated in eval mode and were left so",)


def advice(value: object) -> str | None:
    """The way out for a cache of keys and values, which a decoder takes and returns; None for anything else."""
    if not any(cls.__name__.endswith("Cache") for cls in type(value).__mro__):
        return None
    return (
        "a cache belongs to a generation loop, which is outside the scope: pass use_cache=False in the samples, set "
        "model.config.use_cache = False, or wrap the model: tensors in, tensors out"
    )
