"""Running live models as they are, and what every call in this process needs: inference mode, threads, arithmetic."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import FP32, TF32, Context, LoadedModel, Signature
from navigator_torch import adapted

if TYPE_CHECKING:
    from navigator_torch.options import Eager

Call = Callable[[Mapping[str, Any]], dict[str, Any]]


def eager(model: torch.nn.Module, options: Eager, context: Context) -> LoadedModel:
    """The model as it is, or under autocast, or with its convolutions laid out by channel last; in inference mode."""
    ready = adapted.adapted(model, context, autocast=options.autocast, channels_last=options.channels_last)
    call: Call = functools.partial(context.signature.call, ready)
    if options.autocast:
        call = as_declared(call, context.signature)
    return loaded_model(call, context, options.threads)


def loaded_model(
    call: Call,
    context: Context,
    threads: int = 0,
    close: Callable[[], None] | None = None,
    *,
    thread_safe: bool = True,
) -> LoadedModel:
    """The call as `calling` makes it, with what waits for the device.

    Where the process' arithmetic is set around each call, another thread's end of a call would set it back in this one.
    """
    safe = thread_safe and not _sets_arithmetic(context)
    return LoadedModel(calling(call, context, threads), synchronize(context), close or _nothing, safe)


def as_declared(call: Call, signature: Signature) -> Call:
    """The call with its outputs in the source's types."""
    return lambda tensors: adapted.as_declared(call(tensors), signature)


def calling(call: Call, context: Context, threads: int = 0) -> Call:
    """The call in inference mode, with the threads and the arithmetic that were promised.

    Both are the process' own settings: they are set around each call, and only where they differ from the default.
    """
    on_cuda = _sets_arithmetic(context)
    if not on_cuda and not threads:

        def plain(tensors: Mapping[str, Any]) -> dict[str, Any]:
            with torch.inference_mode():
                return call(tensors)

        return plain

    def careful(tensors: Mapping[str, Any]) -> dict[str, Any]:
        with ExitStack() as stack:
            if threads:
                stack.enter_context(_threads(threads))
            if on_cuda:
                stack.enter_context(tf32(context.precision == TF32))
            stack.enter_context(torch.inference_mode())
            return call(tensors)

    return careful


def _sets_arithmetic(context: Context) -> bool:
    return context.device.startswith("cuda") and context.precision in (FP32, TF32)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Matrix products, convolutions and recurrent layers on CUDA with or without TF32; put back afterwards.

    Since torch 2.9 there are two sets of switches, and torch raises when it reads an older one that contradicts a
    newer one. Writing an older one sets both; what was there before is put back in each.
    """
    newer = _newer()
    older = _asked(torch.get_float32_matmul_precision), _asked(torch._C._get_cudnn_allow_tf32)
    before = [torch._C._get_fp32_precision_getter(*switch) for switch in newer]
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch._C._set_cudnn_allow_tf32(allowed)
    for switch in newer:
        torch._C._set_fp32_precision_setter(*switch, "tf32" if allowed else "ieee")
    try:
        yield
    finally:
        products, others = older
        if products is not None:
            torch.set_float32_matmul_precision(products)
        if others is not None:
            torch._C._set_cudnn_allow_tf32(others)
        for switch, value in zip(newer, before, strict=True):
            torch._C._set_fp32_precision_setter(*switch, value)


@functools.cache
def _newer() -> tuple[tuple[str, str], ...]:
    """By operator; the CPU's is there because the older switch turns it along with CUDA's.

    They are set below torch.backends, whose properties take ten times as long as this call may.
    """
    known = hasattr(torch._C, "_set_fp32_precision_setter") and hasattr(torch._C, "_get_fp32_precision_getter")
    return (("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn"), ("mkldnn", "matmul")) if known else ()


def _asked(switch: Callable[[], Any]) -> Any:
    """What an older switch says; None where the user has set newer ones that contradict it."""
    try:
        return switch()
    except RuntimeError:
        return None


def synchronize(context: Context) -> Callable[[], None]:
    """Wait for the context's device; nothing to do on the CPU."""
    if context.device.startswith("cuda"):
        return functools.partial(torch.cuda.synchronize, context.device)
    return _nothing


def _nothing() -> None:
    """Calls on the CPU return when they are done; most models are freed with the last that refers to them."""
