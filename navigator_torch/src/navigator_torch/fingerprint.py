"""What a model is, as one hash: equal in every process, different after any change that can reach its results."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from navigator_core.fingerprint import Hasher
from navigator_core.objects import UnknownError, name_of
from navigator_torch import pickling, program

BOOKKEEPING = set(vars(torch.nn.Module())) | {"_is_hf_initialized", "__overloads__"}
"""Attributes of every module: its children are told one by one, and the rest does not reach results in eval mode."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")
NAMED = (
    torch.dtype,
    torch.device,
    torch.layout,
    torch.memory_format,
    torch.Size,
)


def fingerprint(model: torch.nn.Module) -> str | None:
    """SHA-256 over classes, code, attributes and every tensor; None where something cannot be told, such as a hook.

    Ask in the process where the model was made: elsewhere its source files may be out of reach. Local modules are
    covered as whole files, and the code and globals that run as they are in memory. Training mode does not matter.
    """
    if torch.nn.modules.module._global_forward_hooks or torch.nn.modules.module._global_forward_pre_hooks:
        return None
    hasher = Hasher(special=_special, named=NAMED)
    try:
        if program.is_program(model):
            _program(hasher, model)
        else:
            hasher.add(model)
    except (UnknownError, RecursionError):
        return None
    return hasher.digest()


def _special(hasher: Hasher, value: Any) -> bool:
    """What torch's own values say of themselves."""
    if isinstance(value, torch.Tensor):
        _tensor(hasher, value)
    elif isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
        for name, content in pickling.entries(value):
            hasher.say("entry", name, hashlib.sha256(content).hexdigest())
    elif isinstance(value, torch.nn.Module):
        _module(hasher, value)
    elif isinstance(value, torch.Generator):
        hasher.parts("generator", value.get_state())
    else:
        return False
    return True


def _program(hasher: Hasher, made: Any) -> None:
    """An exported program is its graph and what the graph reads. Raises UnknownError."""
    hasher.say("program", torch.__version__, made.call_spec, list(made.range_constraints.items()))
    hasher.say(made.graph_signature)
    for name, module in made.graph_module.named_modules():
        hasher.say(name, getattr(module, "code", type(module).__name__))
    hasher.add({**made.state_dict, **made.constants})


def _module(hasher: Hasher, module: torch.nn.Module) -> None:
    state = vars(module)
    if any(state.get(hooks) for hooks in HOOKS):
        raise UnknownError("hooks")
    hasher.add_class(type(module))
    for kind in ("_parameters", "_buffers", "_modules"):
        hasher.say(kind)
        for name, child in state.get(kind, {}).items():
            hasher.say(name)
            hasher.add(child)
    hasher.attributes({name: value for name, value in state.items() if name not in BOOKKEEPING})


def _tensor(hasher: Hasher, tensor: torch.Tensor) -> None:
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_quantized:
        raise UnknownError(f"a tensor of {name_of(type(tensor))}")
    if tensor.layout is not torch.strided or tensor.device.type == "meta":
        raise UnknownError(f"a tensor of layout {tensor.layout} on {tensor.device}")
    hasher.say("tensor", tensor.dtype, tuple(tensor.shape))
    flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
    hasher.update(memoryview(flat.view(torch.uint8).numpy()))
