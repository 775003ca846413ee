"""Copies of a model that leave it untouched: ready to be evaluated, in higher precision, with its weights nudged."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from navigator_core.errors import NavigatorError
from navigator_torch import program
from navigator_torch.tensors import is_on

Change = Callable[[torch.Tensor], torch.Tensor]

PLAIN = (torch.Tensor, torch.nn.Parameter)
SEED = 20260101
_BITS = {8: torch.int64, 4: torch.int32, 2: torch.int16}
_WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS = (torch.Tensor.float, torch.Tensor.half, torch.Tensor.bfloat16)


def prepare(model: Any, device: str = "cpu") -> torch.nn.Module:
    """The model in eval mode on ``device``: the very model where it is so already, else a copy.

    A copy on the same device shares every tensor with the model, so it costs no memory. An exported program becomes a
    module.
    """
    if program.is_program(model):
        model = program.Program(model)
    weights = [*model.parameters(), *model.buffers()] or list(tensors(model))
    moved = not all(is_on(tensor, device) for tensor in weights)
    if not moved and not any(getattr(module, "training", False) for module in model.modules()):
        return model
    ready = copied(model, (lambda t: _like(t, t.detach().to(device))) if moved else (lambda t: t))
    if moved:
        ready.to(device)  # nothing is left to move, but recurrent layers lay their weights out anew
    return ready.eval()


def truth(model: torch.nn.Module) -> torch.nn.Module:
    """A copy that computes in float64, casts and constants inside its ``forward`` included.

    Raises NavigatorError for a model that is in float64 already, or holds weights that cannot be widened. What is
    compiled (TorchScript) keeps its own casts, so calling the copy may still fail.
    """
    kinds = {t.dtype for t in tensors(model) if t.is_floating_point() or t.is_complex()}
    if kinds and not kinds & set(_WIDE):
        raise NavigatorError("the model is in double precision already; torch has nothing higher")
    wide = copied(model, _widened).eval()
    if not isinstance(wide, torch.jit.ScriptModule):
        wide.forward = _in_double(wide.forward)
    return wide


def noise(model: torch.nn.Module) -> torch.nn.Module:
    """A copy whose floating weights are each moved by one unit in the last place, up or down by a seeded coin.

    Zeros, infinities and NaN stay: they are masks and padding more often than weights.
    """
    coin = torch.Generator().manual_seed(SEED)
    weights = {id(t) for t in (*model.parameters(), *model.buffers())}
    return copied(model, lambda t: _like(t, _nudged(t.detach(), coin)) if id(t) in weights else t).eval()


def copied(model: torch.nn.Module, change: Change) -> torch.nn.Module:
    """A deep copy in which every tensor is ``change(tensor)``, once for each, so ties stay tied.

    Scripted modules change their own copies in place. What an attribute holds that Python cannot copy (a lock, a
    generator) is shared with the copy. Raises NavigatorError for a model that cannot be copied even so.
    """
    memo: dict[int, Any] = {}
    if not isinstance(model, torch.jit.ScriptModule):
        memo.update((id(t), change(t)) for t in tensors(model))
    try:
        made = copy.deepcopy(model, dict(memo))
    except Exception:  # whatever a foreign attribute raises
        try:
            made = copy.deepcopy(model, memo | _shared(model, memo))
        except Exception as error:
            raise NavigatorError(
                f"{type(model).__name__} cannot be copied ({error}); it is copied so that yours stays as it is: keep "
                "what cannot be copied outside the model, or give the model a __deepcopy__"
            ) from error
    for module in made.modules():
        if isinstance(module, torch.jit.ScriptModule):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                tensor.data = change(tensor.data).detach()
    return made


def _shared(model: torch.nn.Module, memo: Mapping[int, Any]) -> dict[int, Any]:
    """Attributes that cannot be copied, by identity, each standing for itself."""
    found = {}
    for module in model.modules():
        for name, value in vars(module).items():
            if name not in ("_parameters", "_buffers", "_modules"):
                try:
                    copy.deepcopy(value, dict(memo))
                except Exception:
                    found[id(value)] = value
    return found


def tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Every tensor of a model once: parameters, buffers, and what lies in plain attributes and their containers."""
    seen: set[int] = set()
    for module in model.modules():
        values = (*module.parameters(recurse=False), *module.buffers(recurse=False))
        yield from _tensors(list(values), seen)
        if not isinstance(module, torch.jit.ScriptModule):
            yield from _tensors(vars(module), seen)


def _tensors(value: Any, seen: set[int]) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.nn.Module) or id(value) in seen:
        return
    if isinstance(value, torch.Tensor):
        seen.add(id(value))
        yield value
    elif isinstance(value, Mapping | list | tuple | set):
        seen.add(id(value))
        for child in list(value.values()) if isinstance(value, Mapping) else list(value):
            yield from _tensors(child, seen)


def _like(model: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    return torch.nn.Parameter(data, model.requires_grad) if isinstance(model, torch.nn.Parameter) else data


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point() and not tensor.is_complex() and not tensor.is_quantized:
        return tensor.detach().clone()
    if type(tensor) not in PLAIN or tensor.is_quantized or tensor.dtype not in {*_WIDE, *_WIDE.values()}:
        raise NavigatorError(f"a weight of {type(tensor).__name__}, {tensor.dtype}, cannot be widened to float64")
    return _like(tensor, tensor.detach().to(_WIDE.get(tensor.dtype, tensor.dtype), copy=True))


def _nudged(tensor: torch.Tensor, coin: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point() or tensor.itemsize not in _BITS or tensor.layout is not torch.strided:
        return tensor.clone()
    up = torch.randint(0, 2, tensor.shape, generator=coin, dtype=torch.bool).to(tensor.device)
    bits = tensor.contiguous().view(_BITS[tensor.itemsize])
    # the bits of a float count up with its magnitude, in every IEEE format alike
    moved = torch.where(up, bits + 1, bits - 1).view(tensor.dtype)
    return torch.where(tensor.isfinite() & (tensor != 0) & moved.isfinite(), moved, tensor)


class _Double(TorchFunctionMode):  # type: ignore[misc]
    """Whatever asks for a narrower floating type gets double: ``x.float()``, ``dtype=torch.float32``."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.view:  # with a dtype it reads bits
            return func(*args, **(kwargs or {}))
        wide = {name: _wide(value) for name, value in (kwargs or {}).items()}
        return (torch.Tensor.double if func in _CASTS else func)(*map(_wide, args), **wide)


def _wide(value: Any) -> Any:
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def _in_double(forward: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.float64)
        try:
            with _Double():
                return forward(*args, **kwargs)
        finally:
            torch.set_default_dtype(before)

    return call
