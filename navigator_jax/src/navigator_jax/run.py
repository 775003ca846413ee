"""Running live models: as they are, under jit, and compiled ahead for each shape. Outputs are ready on return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from navigator_core import Context, LoadedModel, Signature
from navigator_core.errors import RequestError
from navigator_jax import tensors
from navigator_jax.models import Ready, prepare
from navigator_jax.settings import Settings, under

Call = Callable[[Mapping[str, Any]], dict[str, Any]]


def eager(model: Any, options: None, context: Context) -> LoadedModel:
    """The model as it is, one operation after the other unless it is jitted itself.

    What a jitted function is said to donate, it takes for good: then it is given copies, to leave the inputs alone.
    """
    ready, signature = prepare(model, context.device), context.signature
    demand_types(signature, ready.settings)
    donates: list[bool] = []

    def call(inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = dict(inputs) if donates == [False] else {name: value.copy() for name, value in inputs.items()}
        outputs = signature.call(ready.function, given)
        if not donates:
            donates.append(any(value.is_deleted() for value in given.values()))
        return {name: _array(value, context.device) for name, value in outputs.items()}

    return loaded(call, ready.settings, context)


def jit(model: Any, options: None, context: Context) -> LoadedModel:
    """The whole model as one program, compiled at the first call of each shape; parameters are constants in it."""
    ready = prepare(model, context.device)
    demand_types(context.signature, ready.settings)
    return loaded(by_name(jax.jit(flat(ready, context.signature)), context.signature), ready.settings, context)


def aot(model: Any, options: None, context: Context) -> LoadedModel:
    """As `jit`, with a compiled program of its own for each shape, which is called without JAX's own dispatch."""
    ready = prepare(model, context.device)
    demand_types(context.signature, ready.settings)
    function = jax.jit(flat(ready, context.signature))
    compiled: dict[tuple[tuple[int, ...], ...], Callable[..., Any]] = {}

    def run(*values: Any) -> Any:
        shapes = tuple([value.shape for value in values])
        if shapes not in compiled:
            compiled[shapes] = function.lower(*values).compile()
        return compiled[shapes](*values)

    return loaded(by_name(run, context.signature), ready.settings, context)


def flat(ready: Ready, signature: Signature) -> Callable[..., tuple[Any, ...]]:
    """The model with its signature's tensors in declared order, in and out: what is traced."""
    inputs, outputs = [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]

    def function(*values: Any) -> tuple[Any, ...]:
        found = signature.call(ready.pure, dict(zip(inputs, values, strict=True)))
        return tuple(jax.numpy.asarray(found[name]) for name in outputs)

    return function


def by_name(run: Callable[..., Sequence[Any]], signature: Signature) -> Call:
    """A call of tensors by name, of what takes and returns them in the signature's order."""
    inputs, outputs = [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]

    def call(given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, run(*[given[name] for name in inputs]), strict=True))

    return call


def loaded(call: Call, settings: Settings, context: Context) -> LoadedModel:
    """The call under its settings, done when it returns."""

    def done(given: Mapping[str, Any]) -> dict[str, Any]:
        outputs: dict[str, Any] = jax.block_until_ready(call(given))
        return outputs

    return LoadedModel(under(settings.for_candidate(context), done), thread_safe=True)  # JAX's settings are a thread's


def demand_types(signature: Signature, settings: Settings) -> None:
    """Raises RequestError for inputs that JAX would silently make narrower."""
    for spec in signature.inputs:
        if spec.dtype in tensors.WIDE and not settings.x64:
            narrow = spec.dtype.replace("64", "32").replace("128", "64")
            raise RequestError(
                f"input {spec.name!r} is {spec.dtype}, which JAX takes as {narrow} unless jax_enable_x64 is set; "
                "element types are never cast: convert the samples, or set it"
            )


def _array(value: Any, device: str) -> Any:
    return value if tensors.is_tensor(value) else tensors.from_numpy(value, device, value.dtype.name)
