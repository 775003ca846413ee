"""What can be chosen when a model is exported or run. No JAX here: these are declared by the plugin."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen, validators

OPSETS = (17, 25)
"""What may be asked for: the converter that cannot write it says so, and the others go on."""
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def _platforms() -> Any:
    of_these = validators.deep_iterable(validators.in_(PLATFORMS), validators.instance_of(tuple))
    return field(default=("cpu", "cuda"), converter=tuple, validator=validators.and_(validators.min_len(1), of_these))


@frozen(kw_only=True)
class ToStableHlo:
    """``platforms``: where the file can run; one program for all of them."""

    platforms: tuple[str, ...] = _platforms()


@frozen(kw_only=True)
class ToSavedModel:
    """``platforms``: where the file can run; one program for all of them."""

    platforms: tuple[str, ...] = _platforms()


@frozen(kw_only=True)
class ToOnnx:
    """``opset``: of the operators that are written."""

    opset: int = field(
        default=20,
        validator=validators.and_(validators.instance_of(int), validators.ge(OPSETS[0]), validators.le(OPSETS[1])),
    )
