"""Positions that do not count, such as padding: which input marks them, and for which outputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from navigator_core.errors import RequestError, unknown
from navigator_core.signature import Signature

EVERY = ""
"""Stands for all outputs that the mask fits, where no output is named."""

Masks = Mapping[str, str]
"""The name of the mask, an input, by output."""


def fitting(asked: Masks, signature: Signature) -> dict[str, str]:
    """The masks by output. One asked for of `EVERY` output is for those whose first axes are its own.

    Raises RequestError for a mask that is no input, or that does not fit.
    """
    inputs = {spec.name: spec.shape for spec in signature.inputs}
    outputs = {spec.name: spec.shape for spec in signature.outputs}
    found: dict[str, str] = {}
    for output, mask in asked.items():
        if mask not in inputs:
            raise unknown("input in mask", mask, inputs)
        shape = inputs[mask]
        named = outputs if output == EVERY else {output: outputs[output]} if output in outputs else {}
        fits = [name for name, whole in named.items() if shape and whole[: len(shape)] == shape]
        if named and not fits:
            axes = "; ".join(f"{name!r} has {_told(whole)}" for name, whole in named.items())
            raise RequestError(
                f"the mask {mask!r} has the axes {_told(shape)}, which must be the first ones of the output: {axes}"
            )
        found |= dict.fromkeys(fits, mask)
    return found


def kept(masks: Masks, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Which positions count, by output, for one call with these inputs."""
    return {output: np.asarray(inputs[mask]) != 0 for output, mask in masks.items()}


def _told(shape: tuple[object, ...]) -> str:
    return f"({', '.join(str(getattr(n, 'name', n)) for n in shape)})"
