"""The CUDA devices that TensorFlow can use."""

from __future__ import annotations

from pathlib import Path

from navigator_core import DeviceInfo

DRIVER_SIGNS = (Path("/proc/driver/nvidia/version"), Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of these exists where there is a driver: the kernel module's, the device node's, WSL's."""


def cuda() -> list[DeviceInfo]:
    """Without a driver the answer comes at once and TensorFlow is not imported. It does not tell a device's memory.

    The description keys what was built for the device: its model and compute capability.
    """
    if not any(sign.exists() for sign in DRIVER_SIGNS):
        return []
    from navigator_tf.engine import tf

    found = []
    for index, one in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(one)
        capability = ".".join(map(str, details.get("compute_capability", ())))
        description = f"{details.get('device_name', one.name)}, compute capability {capability or 'unknown'}"
        found.append(DeviceInfo(f"cuda:{index}", description, 0))
    return found
