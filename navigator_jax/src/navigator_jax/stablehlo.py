"""StableHLO: live models to ``model.stablehlo`` by `jax.export`, and running such files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
from attrs import evolve
from jax import export as exporting

from navigator_core import FP32, Context, Dim, LoadedModel, Signature
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.signature import BATCH
from navigator_jax import tensors
from navigator_jax.models import prepare
from navigator_jax.run import loaded
from navigator_jax.settings import Settings

if TYPE_CHECKING:
    from navigator_jax.options import ToStableHlo


def export(model: Any, output: Path, options: ToStableHlo, context: Context) -> None:
    """Write the program with tensors by the signature's names, its dynamic axes as symbols, its parameters inside.

    Raises NavigatorError where the model needs to know a size that the signature says is dynamic.
    """
    ready, signature = prepare(model, context.device), context.signature
    settings = ready.settings
    if settings.matmul_precision is None and context.precision == FP32:
        settings = evolve(settings, matmul_precision="highest")  # the file may be run where TF32 is the default
    inputs = {
        spec.name: jax.ShapeDtypeStruct(shape, jax.numpy.dtype(spec.dtype))
        for spec, shape in zip(signature.inputs, symbolic(signature), strict=True)
    }

    def by_name(given: Mapping[str, Any]) -> dict[str, Any]:
        found = signature.call(ready.pure, given)
        return {spec.name: jax.numpy.asarray(found[spec.name]) for spec in signature.outputs}

    with settings.active():
        try:
            made = exporting.export(jax.jit(by_name), platforms=options.platforms)(inputs)
            output.write_bytes(made.serialize())
        except Exception as error:
            raise NavigatorError(explain(error, signature)) from error


def symbolic(signature: Signature) -> list[tuple[Any, ...]]:
    """The shapes of the inputs, dynamic axes as symbols of one scope that knows their ranges; a batch has no end."""
    names = symbols(signature)
    limits = [f"{names[n.name]} >= {n.min}" for n in signature.dims().values()]
    limits += [f"{names[n.name]} <= {n.max}" for n in signature.dims().values() if n.max and n.name != BATCH]
    scope = exporting.SymbolicScope(limits)
    written = [
        ", ".join(names[n.name] if isinstance(n, Dim) else str(n) for n in spec.shape) for spec in signature.inputs
    ]
    return [tuple(exporting.symbolic_shape(text, scope=scope)) if text else () for text in written]


def symbols(signature: Signature) -> dict[str, str]:
    """A word for each dynamic axis that JAX takes for a symbol."""
    return {name: "b" if name == BATCH else f"d{number}" for number, name in enumerate(signature.dims())}


def explain(error: BaseException, signature: Signature, tool: str = "jax.export") -> str:
    """The first lines of JAX's report, with our names for the axes."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    axes = ", ".join(f"{symbol} is {name!r}" for name, symbol in symbols(signature).items())
    return f"{tool} failed: {type(error).__name__}: {' '.join(lines[:2])[:300]}" + (f" ({axes})" if axes else "")


def run(model: Path, options: None, context: Context) -> LoadedModel:
    """The program in a file, compiled at the first call of each shape."""
    program = exporting.deserialize(bytearray(model.read_bytes()))
    kind = context.device.partition(":")[0]
    if kind not in program.platforms:
        raise NavigatorError(
            f"the file was exported for {', '.join(program.platforms)}, not for {kind}: "
            f"options={{'stablehlo': {{'platforms': [..., {kind!r}]}}}}"
        )
    names, signature = context.names, context.signature
    inputs = [(spec.name, names.inputs.get(spec.name, spec.name)) for spec in signature.inputs]
    outputs = [(spec.name, names.outputs.get(spec.name, spec.name)) for spec in signature.outputs]
    function = jax.jit(program.call)

    ranges = [
        (spec.name, axis, n.min, n.max)
        for spec in signature.inputs
        for axis, n in enumerate(spec.shape)
        if isinstance(n, Dim) and n.max and n.name != BATCH
    ]

    def call(given: Mapping[str, Any]) -> dict[str, Any]:
        for name, axis, least, most in ranges:
            size = given[name].shape[axis]
            if not least <= size <= most:
                raise RequestError(
                    f"axis {axis} of input {name!r} is {size}, and the model was exported for {least} to {most}; for "
                    "other sizes, optimize again with samples that have them"
                )
        found = function({theirs: given[ours] for ours, theirs in inputs})
        return {ours: found[theirs] for ours, theirs in outputs}

    return loaded(call, Settings(x64=_is_wide([*program.in_avals, *program.out_avals])), context)


def _is_wide(avals: Sequence[Any]) -> bool:
    return any(str(aval.dtype) in tensors.WIDE for aval in avals)
