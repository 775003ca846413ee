"""The CUDA devices that JAX can use."""

from __future__ import annotations

from pathlib import Path

from navigator_core import DeviceInfo

DRIVER_SIGNS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of these exists where there is a driver: the kernel module's, the device node's, WSL's."""


def cuda() -> list[DeviceInfo]:
    """Without a driver the answer comes at once and JAX is not imported.

    The description keys what was built for the device: its model, and what JAX reaches it by.
    """
    if not any(sign.exists() for sign in DRIVER_SIGNS):
        return []
    import jax

    try:
        found = jax.devices("cuda")
    except RuntimeError:  # JAX was installed without CUDA
        return []
    return [
        DeviceInfo(
            f"cuda:{index}",
            f"{one.device_kind}, {' '.join(str(one.client.platform_version).split())}",
            int((one.memory_stats() or {}).get("bytes_limit", 0)),
        )
        for index, one in enumerate(found)
    ]
