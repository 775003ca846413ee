"""A live model in another arithmetic or memory layout, as a runner or an exporter wants it; the model itself stays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn

from navigator_core import Context, Signature
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_torch.copies import copied

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
CAST = (
    nn.Linear,
    nn.Conv1d,
    nn.Conv2d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
)
"""Layers that compute in half precision under autocast, by their exact types: a subclass may do anything."""


class Autocast(nn.Module):  # type: ignore[misc]
    """A model called under autocast. The weights of its linear and convolution layers are cast once, not in each call.

    Those that something else holds as well (an embedding tied to the output layer) stay as they are.
    """

    def __init__(self, model: nn.Module, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self.model = _cast_once(model, dtype)
        self.dtype = dtype
        self.kind = device.partition(":")[0]
        self.training = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """As the model's own."""
        with torch.autocast(self.kind, self.dtype):
            return self.model(*args, **kwargs)


def adapted(
    model: nn.Module, context: Context, *, autocast: str | None = None, channels_last: bool = False
) -> nn.Module:
    """The model, or a copy in which only what differs takes memory.

    Raises NavigatorError where ``autocast`` is not the precision that the candidate promises, NothingToDoError where
    there is nothing to lay out by channel last.
    """
    if channels_last:
        model = _channels_last(model)
    if autocast is None:
        return model
    if context.precision.name != autocast:
        raise NavigatorError(
            f"autocast={autocast!r} does not compute in {context.precision.name}, which this candidate promises; take "
            f"the variant for it: precisions={[autocast]!r} lets it win"
        )
    return Autocast(model, DTYPES[autocast], context.device)


def as_declared(outputs: Mapping[str, torch.Tensor], signature: Signature) -> dict[str, torch.Tensor]:
    """Outputs in the types that the source gives them: under autocast they come in half precision."""
    return {spec.name: outputs[spec.name].to(getattr(torch, spec.dtype)) for spec in signature.outputs}


def _cast_once(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    elsewhere = {id(t) for module in model.modules() if type(module) not in CAST for t in _own(module)}
    inside = {id(t) for module in model.modules() if type(module) in CAST for t in _own(module)} - elsewhere

    def cast(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in inside or tensor.dtype != torch.float32:
            return tensor
        return nn.Parameter(tensor.detach().to(dtype), requires_grad=False)

    return copied(model, cast)


def _own(module: nn.Module) -> Iterator[torch.Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def _channels_last(model: nn.Module) -> nn.Module:
    convolutions = {id(m.weight) for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)}
    if not convolutions:
        raise NothingToDoError("the model has no 2-D convolution whose weights could be laid out by channel last")

    def lay_out(tensor: torch.Tensor) -> torch.Tensor:
        if id(tensor) not in convolutions:
            return tensor
        laid = tensor.detach().contiguous(memory_format=torch.channels_last)
        return nn.Parameter(laid, requires_grad=False) if isinstance(tensor, nn.Parameter) else laid

    return copied(model, lay_out)
