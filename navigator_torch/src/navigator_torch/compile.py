"""`torch.compile`: live models turned into kernels at their first call."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch._dynamo as dynamo

from navigator_core import Context, Dim, LoadedModel, Signature
from navigator_core.errors import NavigatorError
from navigator_torch import quiet
from navigator_torch.adapted import adapted
from navigator_torch.run import Call, as_declared, loaded_model

with quiet.exporting():  # what the first call would import, with its deprecations: once in a worker
    import torch._inductor.compile_fx
    import torch._inductor.cpu_vec_isa

if TYPE_CHECKING:
    from navigator_torch.options import Compile

RECOMPILES = 64
"""Above its limit `torch.compile` silently runs eager; its own, 8, is less than the batch sizes of one sweep."""

with contextlib.suppress(Exception):  # torch's own question to the compiler, two seconds long; else the first call asks
    torch._inductor.cpu_vec_isa.pick_vec_isa()


def run(model: torch.nn.Module, options: Compile, context: Context) -> LoadedModel:
    """`torch.compile`. The first call compiles, and so does the first of a batch of one, and of what cannot be dynamic.

    Unless ``dynamic`` says otherwise, the signature's dynamic axes are made known at the first call: torch alone would
    compile for its very shape, and all over again at the next one.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise NavigatorError("torch.compile does not compile a scripted module; give the module that was scripted")
    before = dynamo.config.recompile_limit if hasattr(dynamo.config, "recompile_limit") else None
    if before is not None:
        dynamo.config.recompile_limit = max(before, RECOMPILES)
    ready = adapted(model, context, autocast=options.autocast, channels_last=options.channels_last)
    module: Any = torch.compile(ready, dynamic=options.dynamic, fullgraph=options.fullgraph, **_settings(options))
    call: Call = functools.partial(context.signature.call, module)
    if options.autocast:
        call = as_declared(call, context.signature)
    if options.dynamic is None:
        call = _told_of_axes(call, context.signature)
    if options.mode in ("reduce-overhead", "max-autotune") and context.device.startswith("cuda"):
        call = _out_of_graph(call)

    def close() -> None:
        dynamo.reset()
        if before is not None:
            dynamo.config.recompile_limit = before

    return loaded_model(call, context, options.threads, close, thread_safe=False)  # any call may have to compile


def _settings(options: Compile) -> dict[str, Any]:
    """torch takes a mode or settings of inductor's own, not both: with freezing, the mode is spelt out."""
    if not options.freezing:
        return {"mode": options.mode}
    return {"options": {**torch._inductor.list_mode_options(options.mode, options.dynamic), "freezing": True}}


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
