"""A model in higher precision, and with its weights nudged; the model itself stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import evolve, frozen

from navigator_core import Signature
from navigator_core.errors import NavigatorError
from navigator_tf import rewriting
from navigator_tf.models import Ready, prepare
from navigator_tf.rewriting import Rule
from navigator_tf.tracing import by_name, traced


@frozen(eq=False)
class Copy:
    """A relative of a model: its traced program, changed by a rule."""

    ready: Ready
    rule: Rule

    def loaded(self, signature: Signature) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
        """It as a call of tensors by name, for any size of the dynamic axes. Raises NavigatorError."""
        made = rewriting.program(traced(self.ready, self._own(signature)))
        return by_name(rewriting.changed(made, self.rule).function(), signature)

    def _own(self, signature: Signature) -> Signature:
        """The signature that the model itself is traced for, where its copy is called with doubles."""
        if self.rule is not rewriting.widen:
            return signature
        if any(spec.dtype in ("float64", "complex128") for spec in signature.outputs):
            raise NavigatorError("the model computes in double precision already; there is no higher")
        narrow = {"float64": "float32", "complex128": "complex64"}
        inputs = tuple(evolve(spec, dtype=narrow.get(spec.dtype, spec.dtype)) for spec in signature.inputs)
        return evolve(signature, inputs=inputs)


def truth(model: Any) -> Copy:
    """The model's own program in float64: traced as it is, then every floating type in it widened.

    So casts to float32 inside of it, and constants that it makes, are double as well.
    """
    return Copy(prepare(model), rewriting.widen)


def noise(model: Any) -> Copy:
    """The model with every floating weight moved by one unit in the last place, up or down by a seeded coin."""
    return Copy(prepare(model), rewriting.nudge)
