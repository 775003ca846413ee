"""What can be chosen when an ONNX model is run or built. Every field reaches the tool it is meant for."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen, validators

LEVELS = ("disabled", "basic", "extended", "all")


def _count() -> Any:
    return field(default=0, validator=[validators.instance_of(int), validators.ge(0)])


def _switch() -> Any:
    return field(default=True, validator=validators.instance_of(bool))


def _level() -> Any:
    return field(default="all", validator=validators.in_(LEVELS))


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
