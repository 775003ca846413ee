"""What can be chosen when an ONNX model is run or built. Every field reaches the tool it is meant for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import field, frozen, validators

LEVELS = ("disabled", "basic", "extended", "all")
QUANTIZABLE = ("Attention", "Conv", "ConvTranspose", "Gather", "Gemm", "LSTM", "MatMul")
OPTIMIZATIONS = (
    "constant_folding",
    "graph_fusion",
    "dead_node_elimination",
    "subexpression_elimination",
    "weight_tying",
)


def _count() -> Any:
    return field(default=0, validator=[validators.instance_of(int), validators.ge(0)])


def _switch() -> Any:
    return field(default=True, validator=validators.instance_of(bool))


def _maybe() -> Any:
    return field(default=None, validator=validators.optional(validators.instance_of(bool)))


def _level() -> Any:
    return field(default="all", validator=validators.in_(LEVELS))


def _several(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _names() -> Any:
    return field(default=(), converter=_several, validator=validators.deep_iterable(validators.instance_of(str)))


def _quantizable(*default: str) -> Any:
    valid: Any = [validators.min_len(1), validators.deep_iterable(validators.in_(QUANTIZABLE))]
    return field(default=default, converter=_several, validator=valid)


@frozen
class CpuOptions:
    """Options of ``onnxruntime-cpu``; the defaults are ONNX Runtime's own.

    ``threads`` work inside one operator, ``inter_op_threads`` on operators side by side, which only the parallel
    execution mode has; 0 lets ONNX Runtime decide. ``allow_spinning`` keeps idle threads busy waiting.
    """

    threads: int = _count()
    inter_op_threads: int = _count()
    graph_optimization_level: str = _level()
    execution_mode: str = field(default="sequential", validator=validators.in_(("sequential", "parallel")))
    enable_mem_arena: bool = _switch()
    allow_spinning: bool = _switch()

    def __attrs_post_init__(self) -> None:
        if self.inter_op_threads and self.execution_mode != "parallel":
            raise ValueError("inter_op_threads has an effect only with execution_mode='parallel'")


@frozen
class GpuOptions:
    """Options of ``onnxruntime-cuda`` and ``onnxruntime-tensorrt``."""

    graph_optimization_level: str = _level()


@frozen
class TensorRTOptions:
    """Options of ``onnx->tensorrt``: how long the builder searches, 0 to 5; None is TensorRT's own default."""

    optimization_level: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.ge(0), validators.le(5)])
    )


@frozen
class HalfOptions:
    """Options of ``onnx->onnx[fp16]`` and ``[bf16]``.

    Of what computes in fp32, these stay: nodes by name, operators by type, and, unless ``keep_sensitive`` is off, those
    operators whose results suffer in half precision (sums, exponentials, normalizations, softmax).
    """

    keep_sensitive: bool = _switch()
    op_types_to_exclude: tuple[str, ...] = _names()
    nodes_to_exclude: tuple[str, ...] = _names()


@frozen
class DynamicOptions:
    """Options of ``onnx->onnx[int8-dynamic]``.

    ``op_types`` are quantized, but for ``nodes_to_exclude``. ``per_channel`` gives each output channel of a weight a
    scale of its own; ``reduce_range`` keeps weights to 7 bits, for CPUs without VNNI, whose sums overflow; None: where
    this machine's CPU is such a one.
    """

    op_types: tuple[str, ...] = _quantizable("MatMul", "Gemm", "Attention")
    nodes_to_exclude: tuple[str, ...] = _names()
    per_channel: bool = _switch()
    reduce_range: bool | None = _maybe()


@frozen
class QdqOptions:
    """Options of ``onnx->onnx[int8-qdq]``: those of ``int8-dynamic``, and how ranges are found and kept.

    ``calibration`` takes the ends of a range as seen ("minmax"), or cuts off the rarest 0.001 % ("percentile").
    ``activations`` are "uint8" with a zero point, or "int8", symmetric, as TensorRT wants them; None: the former for a
    CPU, the latter for a GPU.
    """

    op_types: tuple[str, ...] = _quantizable("MatMul", "Gemm", "Conv", "ConvTranspose")
    nodes_to_exclude: tuple[str, ...] = _names()
    per_channel: bool = _switch()
    reduce_range: bool | None = _maybe()
    calibration: str = field(default="minmax", validator=validators.in_(("minmax", "percentile")))
    activations: str | None = field(default=None, validator=validators.optional(validators.in_(("uint8", "int8"))))


@frozen
class SlimOptions:
    """Options of ``onnx->onnx[slim]``: what onnxslim leaves undone, by its own names."""

    skip_optimizations: tuple[str, ...] = field(
        default=(), converter=_several, validator=validators.deep_iterable(validators.in_(OPTIMIZATIONS))
    )
