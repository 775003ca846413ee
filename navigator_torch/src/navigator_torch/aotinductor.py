"""AOTInductor: exported programs compiled ahead of time to a library for this machine, and running it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from navigator_core import FP32, TF32, Context, LoadedModel
from navigator_core.errors import NavigatorError
from navigator_torch import exported, quiet
from navigator_torch.run import loaded_model, tf32

with quiet.exporting():  # once in a worker, not once in each of its steps
    import torch._inductor

if TYPE_CHECKING:
    from navigator_torch.options import ToAotInductor


def convert(source: Path, output: Path, options: ToAotInductor, context: Context) -> None:
    """Compile the program for the context's device."""
    program = exported.load(source, context.device)
    with torch.no_grad(), quiet.exporting(), ExitStack() as stack:
        if context.device.startswith("cuda") and context.precision in (FP32, TF32):
            stack.enter_context(tf32(context.precision == TF32))  # kernels of templates have it built in
        torch._inductor.aoti_compile_and_package(
            program,
            package_path=str(output),
            inductor_configs={"freezing": options.freezing, "max_autotune": options.max_autotune},
        )


def run(model: Path, options: None, context: Context) -> LoadedModel:
    """A compiled library, called with tensors in the signature's order.

    There is no choice of threads: how many there may be is part of what was compiled.
    """
    kind, _, index = context.device.partition(":")
    place = {"device_index": int(index)} if index not in ("", "0") else {}  # the first one is the default
    with quiet.exporting():
        package: Any = torch._inductor.aoti_load_package(str(model), **place)
    built = package.get_metadata().get("AOTI_DEVICE_KEY", kind)
    if built != kind:
        raise NavigatorError(f"the library was compiled for {built} and cannot run on {kind}; optimize on {kind}")
    compiled = package.loader.run  # the package's own call takes its inputs apart once more
    ordered = exported.in_order(context.signature)
    outputs = [spec.name for spec in context.signature.outputs]

    def call(tensors: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, compiled(ordered(tensors)), strict=True))

    return loaded_model(call, context)
