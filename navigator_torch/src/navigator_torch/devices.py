"""What this machine has: CUDA devices, arithmetic in half precision, and the compiler that `torch.compile` needs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from navigator_core import DeviceInfo, processor

DRIVER = Path("/proc/driver/nvidia/version")
DRIVER_SIGNS = (DRIVER, Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""One of these exists where there is a driver: the kernel module's, the device node's, WSL's."""


def cuda() -> list[DeviceInfo]:
    """The CUDA devices that torch can use; without a driver the answer comes at once and torch is not imported.

    The description keys what was built for the device: model, compute capability, driver.
    """
    if not any(sign.exists() for sign in DRIVER_SIGNS):
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    driver = _driver()
    found = []
    for index in range(torch.cuda.device_count()):
        card = torch.cuda.get_device_properties(index)
        description = f"{card.name}, compute capability {card.major}.{card.minor}{driver}"
        found.append(DeviceInfo(f"cuda:{index}", description, int(card.total_memory)))
    return found


CLOCKS = ("clocks.sm", "clocks.mem", "clocks.max.sm", "temperature.gpu", "power.draw", "pstate")


def clocks(name: str) -> dict[str, str]:
    """What nvidia-smi says of a device, "cuda:0", at this moment; nothing where that program does not answer."""
    import torch

    index = int(name.partition(":")[2] or 0)
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)  # its own numbers are not those of torch
    asked = ["nvidia-smi", f"--id=GPU-{uuid}", f"--query-gpu={','.join(CLOCKS)}", "--format=csv,noheader"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, timeout=5, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    values = [value.strip() for value in said.strip().split(",")]
    return {field: value for field, value in zip(CLOCKS, values, strict=False) if value and value[0] != "["}


def _driver() -> str:
    """The driver's release and the newest CUDA it serves, as far as they can be learned."""
    import torch

    release = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", DRIVER.read_text()) if DRIVER.exists() else None
    newest = getattr(torch._C, "_cuda_getDriverVersion", lambda: 0)()
    text = f", driver {release[1]}" if release else ""
    return text + (f", CUDA {newest // 1000}.{newest % 1000 // 10}" if newest else "")


def compiler() -> str | None:
    """None where there is the C++ compiler that torch's inductor calls ($CXX, else g++); else the sentence."""
    name = os.environ.get("CXX") or "g++"
    return None if shutil.which(name) else f"torch.compile needs a C++ compiler, and {name} is not on the PATH"


def bf16() -> str | None:
    """None where a GPU or the CPU multiplies in bfloat16; else the sentence."""
    return _half("bfloat16", {"avx512_bf16", "amx_bf16", "avx_ne_convert", "bf16", "svebf16"})


def fp16() -> str | None:
    """None where a GPU or the CPU multiplies in float16; else the sentence."""
    return _half("float16", {"avx512_fp16", "amx_fp16", "asimdhp"})


def gpu() -> str | None:
    """None where there is a GPU's driver; else the sentence."""
    return None if any(sign.exists() for sign in DRIVER_SIGNS) else "its search pays on a GPU, and there is none here"


def _half(name: str, flags: set[str]) -> str | None:
    """By the CPU's flags: torch computes in any type on any CPU, emulating it at a fiftieth of the speed."""
    if any(sign.exists() for sign in DRIVER_SIGNS) or flags & processor.instructions():
        return None
    return f"this CPU has no instructions for {name}, and there is no GPU"
