"""What can be chosen when a model is converted or run. No TensorFlow here: these are declared by the plugin."""

from __future__ import annotations

from typing import Any

from attrs import field, frozen, validators

OPSETS = (13, 18)
"""What tf2onnx writes."""
QUANTIZED = (None, "int8", "fp16")
PRECISION_MODES = ("FP32", "FP16")


def _count() -> Any:
    return field(default=0, validator=[validators.instance_of(int), validators.ge(0)])


@frozen(kw_only=True)
class Threads:
    """``threads`` work within one operation, ``inter_op_threads`` on several at once; 0: TensorFlow decides.

    They are the process's, and fixed once TensorFlow has computed in it: loading a candidate there is then refused,
    unless the environment said the same before (``TF_NUM_INTRAOP_THREADS``, ``TF_NUM_INTEROP_THREADS``).
    """

    threads: int = _count()
    inter_op_threads: int = _count()


@frozen(kw_only=True)
class ToOnnx:
    """``opset``: of the operators that are written."""

    opset: int = field(
        default=18,
        validator=validators.and_(validators.instance_of(int), validators.ge(OPSETS[0]), validators.le(OPSETS[1])),
    )


@frozen(kw_only=True)
class ToTfLite:
    """``weights``: what they are stored as, None: as they are. "int8" computes with rows rounded as they come."""

    weights: str | None = field(default=None, validator=validators.in_(QUANTIZED))


@frozen(kw_only=True)
class LiteRt:
    """``threads`` of the interpreter; 0: its own choice."""

    threads: int = _count()


@frozen(kw_only=True)
class ToTfTrt:
    """``precision_mode`` of TensorRT's engines, ``minimum_segment_size`` the fewest operators that make one.

    ``max_workspace_size_bytes`` is what its tactics may take; None: TensorFlow's own choice.
    """

    precision_mode: str = field(default="FP32", validator=validators.in_(PRECISION_MODES))
    minimum_segment_size: int = field(default=3, validator=[validators.instance_of(int), validators.ge(1)])
    max_workspace_size_bytes: int | None = field(
        default=None, validator=validators.optional([validators.instance_of(int), validators.gt(0)])
    )
