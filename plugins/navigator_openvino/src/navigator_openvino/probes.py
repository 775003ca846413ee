"""Questions only the machine can answer, asked in a worker: in which precisions can OpenVINO compute here?"""

from __future__ import annotations

from navigator_openvino import engine


def bf16() -> str | None:
    """Whether it computes in bfloat16 on this CPU."""
    return _lacking("BF16", "bfloat16")


def fp16() -> str | None:
    """Whether it computes in half precision on this CPU."""
    return _lacking("FP16", "float16")


def has(capability: str) -> bool:
    """Whether OpenVINO names it among what it can do on this CPU."""
    return capability in engine.core().get_property(engine.CPU, "OPTIMIZATION_CAPABILITIES")


def _lacking(capability: str, dtype: str) -> str | None:
    if has(capability):
        return None
    name = engine.core().get_property(engine.CPU, "FULL_DEVICE_NAME")
    return f"OpenVINO does not compute in {dtype} on this CPU ({name.strip()})"
