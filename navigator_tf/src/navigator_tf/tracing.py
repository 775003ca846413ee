"""A model's call as one graph, whose inputs and outputs are the signature's, in its order."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from navigator_core import Dim, Names, Signature, TensorSpec
from navigator_core.errors import NavigatorError
from navigator_tf.engine import said, tf
from navigator_tf.models import Ready


def traced(ready: Ready, signature: Signature, **options: Any) -> Any:
    """The graph for any size of the dynamic axes. Raises NavigatorError for a model that cannot be traced so."""
    try:
        return function(ready, signature, **options).get_concrete_function(*specs(signature))
    except Exception as error:  # anything of the user's code
        raise NavigatorError(f"tf.function cannot trace it: {type(error).__name__}: {said(error)}") from error


def function(ready: Ready, signature: Signature, **options: Any) -> Any:
    """The call as a ``tf.function`` of the signature's inputs, which returns a list of its outputs."""
    inputs, outputs = [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]

    def flat(*values: Any) -> list[Any]:
        found = signature.call(ready.traceable, dict(zip(inputs, values, strict=True)))
        return [tf.convert_to_tensor(found[name]) for name in outputs]

    return tf.function(flat, autograph=False, **options)


def specs(signature: Signature) -> list[Any]:
    """The inputs as TensorFlow writes them; a dynamic axis is of any size."""
    theirs = words(spec.name for spec in signature.inputs)
    return [tf.TensorSpec(shape(spec), spec.dtype, theirs[spec.name]) for spec in signature.inputs]


def shape(spec: TensorSpec) -> list[int | None]:
    """The sizes of a tensor's axes, None for a dynamic one."""
    return [None if isinstance(n, Dim) else n for n in spec.shape]


def words(names: Iterable[str]) -> dict[str, str]:
    """A word for each name that TensorFlow takes for an argument: ``levels.0`` is ``levels_0``."""
    found: dict[str, str] = {}
    for name in names:
        word = plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "tensor"
        word = plain = plain if plain[0].isalpha() else f"x_{plain}"
        number = 1
        while word in found.values():
            number += 1
            word = f"{plain}_{number}"
        found[name] = word
    return found


def names(signature: Signature) -> Names:
    """What `words` makes of the signature's names, where that is something else."""
    both = (words(spec.name for spec in specs) for specs in (signature.inputs, signature.outputs))
    changed = [{ours: theirs for ours, theirs in found.items() if ours != theirs} for found in both]
    return Names(*changed)


def by_name(run: Callable[..., Sequence[Any]], signature: Signature) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A call of tensors by name, of what takes and returns them in the signature's order."""
    inputs, outputs = [spec.name for spec in signature.inputs], [spec.name for spec in signature.outputs]

    def call(given: Mapping[str, Any]) -> dict[str, Any]:
        return dict(zip(outputs, run(*[given[name] for name in inputs]), strict=True))

    return call
