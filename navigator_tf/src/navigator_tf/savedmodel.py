"""SavedModels: live models written as such, what a file declares, its relatives, and running one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from navigator_core import Context, Dim, LoadedModel, Names, Signature, TensorSpec
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.signature import BATCH
from navigator_tf import rewriting, serving, threads
from navigator_tf.engine import on, said, tf
from navigator_tf.models import prepare
from navigator_tf.options import Threads
from navigator_tf.rewriting import Rule
from navigator_tf.run import loaded
from navigator_tf.tracing import function, names, specs, words


def export(model: Any, output: Path, options: None, context: Context) -> Names | None:
    """Write the model's call as the serving signature, its tensors by the signature's names, its variables beside it.

    Names that TensorFlow does not take are changed, and returned. Raises NavigatorError for a model that cannot be
    traced.
    """
    ready, signature = prepare(model, context.device), context.signature
    run = function(ready, signature)
    outputs = list(words(spec.name for spec in signature.outputs).values())
    kept = ready.model if isinstance(ready.model, tf.Module) else None
    serving.save(run, specs(signature), outputs, output, kept)
    changed = names(signature)
    return changed if changed.inputs or changed.outputs else None


def signature(path: Path) -> Signature:
    """Inputs and outputs of the serving signature, by name; weights are not read.

    An axis of any size at the front of an input is the batch; others are called ``<tensor>_<axis>``. Raises
    RequestError for a folder without such a signature, and for tensors that hold text or do not say their axes.
    """
    declared = serving.declared(Path(path))
    inputs = [_spec(name, declared.inputs[name]) for name in sorted(declared.inputs)]
    if not inputs:
        raise RequestError(f"the serving signature of {Path(path).name} takes no tensors")
    ranked = all(not one.tensor_shape.unknown_rank for one in declared.outputs.values())
    outputs = [_spec(name, declared.outputs[name]) for name in sorted(declared.outputs)] if ranked else []
    return Signature(tuple(inputs), tuple(outputs))


def _spec(name: str, info: Any) -> TensorSpec:
    dtype = tf.as_dtype(info.dtype).name
    if dtype in ("string", "resource", "variant"):
        raise RequestError(f"{name!r} is of type {dtype}; inputs and outputs must be plain tensors of numbers")
    if info.tensor_shape.unknown_rank:
        raise RequestError(f"input {name!r} declares no axes; save the model with its shape")
    sizes = [axis.size for axis in info.tensor_shape.dim]
    return TensorSpec(name, dtype, tuple(_axis(name, place, size) for place, size in enumerate(sizes)))


def _axis(name: str, place: int, size: int) -> int | Dim:
    return size if size >= 0 else Dim(BATCH if place == 0 else f"{name}_{place}")


def truth(source: Path, output: Path) -> None:
    """Write the same program in float64. Raises NavigatorError where there is none, and for one that is so already."""
    if any(tf.as_dtype(one.dtype) == tf.float64 for one in serving.declared(source).outputs.values()):
        raise NavigatorError("the model computes in double precision already; there is no higher")
    _changed(source, output, rewriting.widen)


def noise(source: Path, output: Path) -> None:
    """Write the same program with every floating weight moved by one unit in the last place."""
    _changed(source, output, rewriting.nudge)


def _changed(source: Path, output: Path, rule: Rule) -> None:
    opened = serving.load(source)
    made = rewriting.changed(rewriting.program(opened.function), rule)
    run = made.function()
    keys = {f"{spec.name}:0": key for key, spec in opened.inputs.items()}
    wanted = [tf.TensorSpec(one.shape, one.dtype, keys[one.name]) for one in run.inputs]
    serving.save(run, wanted, opened.outputs, output)


def run(model: Path, options: Threads, context: Context) -> LoadedModel:
    """The serving signature, its variables on the context's device."""
    threads.use(options)
    with on(context.device):
        try:
            opened = serving.load(model)
        except (OSError, ValueError) as error:
            raise NavigatorError(f"TensorFlow cannot load it: {said(error)}") from error
    theirs, wanted = context.names, context.signature
    inputs = [(spec.name, theirs.inputs.get(spec.name, spec.name)) for spec in wanted.inputs]
    outputs = [(spec.name, theirs.outputs.get(spec.name, spec.name)) for spec in wanted.outputs]
    outputs = outputs or [(name, name) for name in opened.outputs]

    def call(given: Mapping[str, Any]) -> dict[str, Any]:
        found = opened.function(**{name: given[ours] for ours, name in inputs})
        return {ours: found[name] for ours, name in outputs}

    return loaded(call, context)
