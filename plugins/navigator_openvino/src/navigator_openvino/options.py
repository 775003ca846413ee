"""What can be chosen when a model is quantized for OpenVINO or run by it. Every field reaches its tool."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import Attribute, field, frozen, validators


def _count() -> Any:
    return field(default=0, validator=[validators.instance_of(int), validators.ge(0)])


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _names() -> Any:
    return field(default=(), converter=_several, validator=validators.deep_iterable(validators.instance_of(str)))


def _absolute(instance: object, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not Path(value).is_absolute():
        raise ValueError(
            f"{attribute.name} must be the absolute path of a folder, not {value!r}: workers run elsewhere"
        )


@frozen
class CpuOptions:
    """Options of ``openvino-cpu``.

    ``static`` compiles the model anew for each of the first four batch sizes, at the first call of that size; others
    are answered by one for any batch. ``hint`` is what OpenVINO tunes for: one call at a time, or several side by side,
    from threads of yours. ``streams`` are the calls that it works on at once, ``threads`` all that it uses; 0: the hint
    decides. ``cache_dir`` is a folder where compiled models are kept, so that loading again is faster; take one that
    nobody else can write to.
    """

    static: bool = field(default=False, validator=validators.instance_of(bool))
    hint: str = field(default="latency", validator=validators.in_(("latency", "throughput")))
    streams: int = _count()
    threads: int = _count()
    cache_dir: str | None = field(default=None, validator=_absolute)


@frozen
class Int8Options:
    """Options of ``openvino->openvino[int8]``, by NNCF's names.

    ``preset``: "performance" quantizes activations symmetrically, "mixed" those that are not, asymmetrically; None lets
    NNCF choose. ``transformer``: keep what suffers in attention; None: where the model has attention.
    ``fast_bias_correction`` corrects each layer's bias by itself instead of one after the other. Of what is quantized,
    nodes by name and operators by OpenVINO's type stay as they are.
    """

    preset: str | None = field(default=None, validator=validators.optional(validators.in_(("performance", "mixed"))))
    transformer: bool | None = field(default=None, validator=validators.optional(validators.instance_of(bool)))
    fast_bias_correction: bool = field(default=True, validator=validators.instance_of(bool))
    nodes_to_exclude: tuple[str, ...] = _names()
    op_types_to_exclude: tuple[str, ...] = _names()
