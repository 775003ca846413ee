"""Running live models: as they are, and compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import FP32, TF32, Context, Dim, LoadedModel, Signature
from navigator_torch import quiet

if TYPE_CHECKING:
    from navigator_torch.options import Compile, Eager

Call = Callable[[Mapping[str, Any]], dict[str, Any]]

RECOMPILES = 64
"""Above its limit `torch.compile` silently runs eager; its own, 8, is less than the batch sizes of one sweep."""


def eager(model: torch.nn.Module, options: Eager, context: Context) -> LoadedModel:
    """The model as it is, in inference mode."""
    call = functools.partial(context.signature.call, model)
    return LoadedModel(calling(call, context, options.threads), synchronize(context))


def compiled(model: torch.nn.Module, options: Compile, context: Context) -> LoadedModel:
    """`torch.compile`. The first call compiles, and so does the first of a batch of one, and of what cannot be dynamic.

    Unless ``dynamic`` says otherwise, the signature's dynamic axes are made known at the first call: torch alone would
    compile for its very shape, and all over again at the next one.
    """
    import torch._dynamo as dynamo

    with quiet.exporting():  # what the first call would import, with its deprecations
        import torch._inductor.compile_fx

    before = dynamo.config.recompile_limit if hasattr(dynamo.config, "recompile_limit") else None
    if before is not None:
        dynamo.config.recompile_limit = max(before, RECOMPILES)
    module: Any = torch.compile(model, mode=options.mode, dynamic=options.dynamic, fullgraph=options.fullgraph)
    call: Call = functools.partial(context.signature.call, module)
    if options.dynamic is None:
        call = _told_of_axes(call, context.signature)
    if options.mode in ("reduce-overhead", "max-autotune") and context.device.startswith("cuda"):
        call = _out_of_graph(call)

    def close() -> None:
        dynamo.reset()
        if before is not None:
            dynamo.config.recompile_limit = before

    return LoadedModel(calling(call, context, options.threads), synchronize(context), close)


def _told_of_axes(call: Call, signature: Signature) -> Call:
    """At its first call the axes that vary are marked, on views: the caller's own tensors stay as they are."""
    axes = {spec.name: [i for i, axis in enumerate(spec.shape) if isinstance(axis, Dim)] for spec in signature.inputs}
    first = True

    def telling(tensors: Mapping[str, Any]) -> dict[str, Any]:
        nonlocal first
        if not first:
            return call(tensors)
        views = {name: tensor.detach() for name, tensor in tensors.items()}
        for name, view in views.items():
            torch._dynamo.maybe_mark_dynamic(view, axes[name])
        found = call(views)
        first = False
        return found

    return telling


def _out_of_graph(call: Call) -> Call:
    """CUDA graphs write the next call's outputs over this one's, so they are copied; that is part of their price."""

    def copying(tensors: Mapping[str, Any]) -> dict[str, Any]:
        torch.compiler.cudagraph_mark_step_begin()
        return {name: tensor.clone() for name, tensor in call(tensors).items()}

    return copying


def calling(call: Call, context: Context, threads: int = 0) -> Call:
    """The call in inference mode, with the threads and the arithmetic that were promised.

    Both are the process' own settings: they are set around each call, and only where they differ from the default.
    """
    on_cuda = context.device.startswith("cuda") and context.precision in (FP32, TF32)
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
    """Calls on the CPU return when they are done."""
