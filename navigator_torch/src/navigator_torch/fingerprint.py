"""What a model is, as one hash: equal in every process, different after any change that can reach its results."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

from navigator_core import fingerprint as general
from navigator_core.objects import UnknownError, name_of
from navigator_torch import pickling, program

BOOKKEEPING = set(vars(torch.nn.Module())) | {"_is_hf_initialized", "__overloads__"}
"""Attributes of every module: its children are told one by one, and the rest does not reach results in eval mode."""
HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def fingerprint(model: torch.nn.Module) -> str | None:
    """SHA-256 over classes, code, attributes and every tensor; None where something cannot be told, such as a hook.

    Training mode does not matter.
    """
    if torch.nn.modules.module._global_forward_hooks or torch.nn.modules.module._global_forward_pre_hooks:
        return None
    hasher = _Hasher()
    try:
        (hasher.program if program.is_program(model) else hasher.add)(model)
    except (UnknownError, RecursionError):
        return None
    return hasher.digest()


class _Hasher(general.Hasher):
    named = (*general.NAMED, torch.dtype, torch.device, torch.layout, torch.memory_format, torch.Size)

    def program(self, made: Any) -> None:
        """An exported program is its graph and what the graph reads. Raises UnknownError."""
        self.say("program", torch.__version__, made.call_spec, list(made.range_constraints.items()))
        self.say(made.graph_signature)
        for name, module in made.graph_module.named_modules():
            self.say(name, getattr(module, "code", type(module).__name__))
        self.add({**made.state_dict, **made.constants})

    def special(self, value: Any) -> bool:
        """Tensors, modules, scripted ones and generators."""
        if isinstance(value, torch.Tensor):
            self._tensor(value)
        elif isinstance(value, torch.jit.ScriptModule | torch.jit.ScriptFunction):
            self._scripted(value)
        elif isinstance(value, torch.nn.Module):
            self._module(value)
        elif isinstance(value, torch.Generator):
            self.parts("generator", value.get_state())
        else:
            return False
        return True

    def _module(self, module: torch.nn.Module) -> None:
        state = vars(module)
        if any(state.get(hooks) for hooks in HOOKS):
            raise UnknownError("hooks")
        self.add_class(type(module))
        for kind in ("_parameters", "_buffers", "_modules"):
            self.say(kind)
            for name, child in state.get(kind, {}).items():
                self.say(name)
                self.add(child)
        self.attributes({name: value for name, value in state.items() if name not in BOOKKEEPING})

    def _tensor(self, tensor: torch.Tensor) -> None:
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter) or tensor.is_quantized:
            raise UnknownError(f"a tensor of {name_of(type(tensor))}")
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            raise UnknownError(f"a tensor of layout {tensor.layout} on {tensor.device}")
        self.say("tensor", tensor.dtype, tuple(tensor.shape))
        flat = tensor.detach().cpu().resolve_conj().resolve_neg().contiguous().reshape(-1)
        self.data(flat.view(torch.uint8).numpy())

    def _scripted(self, module: Any) -> None:
        for name, content in pickling.entries(module):
            self.say("entry", name, hashlib.sha256(content).hexdigest())
