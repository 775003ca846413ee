"""Live models as SavedModels by jax2tf, for what TensorFlow itself does with them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jax.experimental import jax2tf

from navigator_core import Context, Dim, Names
from navigator_core.errors import NavigatorError
from navigator_jax.models import prepare
from navigator_jax.run import flat
from navigator_jax.stablehlo import explain, symbols

if TYPE_CHECKING:
    from navigator_jax.options import ToSavedModel


def export(model: Any, output: Path, options: ToSavedModel, context: Context) -> Names | None:
    """Write the program, one operation of TensorFlow, as the serving signature, its parameters inside.

    Names that TensorFlow does not take are changed, and returned. Raises NavigatorError where the model needs to know
    a size that the signature says is dynamic.
    """
    import tensorflow as tf

    ready, signature = prepare(model, context.device), context.signature
    inputs, outputs = _words(s.name for s in signature.inputs), _words(s.name for s in signature.outputs)
    letters = symbols(signature)
    sizes = [", ".join(letters[n.name] if isinstance(n, Dim) else str(n) for n in s.shape) for s in signature.inputs]
    limits = [f"{letters[n.name]} >= {n.min}" for n in signature.dims().values()]
    specs = {
        inputs[s.name]: tf.TensorSpec([None if isinstance(n, Dim) else n for n in s.shape], s.dtype)
        for s in signature.inputs
    }
    with ready.settings.active():
        run = jax2tf.convert(
            flat(ready, signature),
            polymorphic_shapes=[f"({text})" for text in sizes],
            polymorphic_constraints=limits,
            with_gradient=False,
            native_serialization_platforms=options.platforms,
        )

        def serve(**values: Any) -> dict[str, Any]:
            found = run(*(values[word] for word in inputs.values()))
            return dict(zip(outputs.values(), found, strict=True))

        try:
            traced = tf.function(serve, autograph=False).get_concrete_function(**specs)
            tf.saved_model.save(tf.Module(), str(output), signatures={"serving_default": traced})
        except Exception as error:
            raise NavigatorError(explain(error, signature, "jax2tf")) from error
    changed = [{ours: word for ours, word in words.items() if ours != word} for words in (inputs, outputs)]
    return Names(*changed) if any(changed) else None


def _words(names: Iterable[str]) -> dict[str, str]:
    """A word for each name that TensorFlow takes for an argument: ``levels.0`` is ``levels_0``."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_")
        plain = plain if plain[:1].isalpha() else f"x_{plain}"
        numbered = (f"{plain}_{number}" for number in itertools.count(2))
        found[name] = next(word for word in itertools.chain([plain], numbered) if word not in found.values())
    return found
