"""What a GPU says of torch's own work on it: seconds between two events, and memory at its peak."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from navigator_core import Context

Measure = Callable[[Callable[[], Any]], float]


def device_time(context: Context) -> Measure:
    """Seconds from the first to the last work of a call, by the device's own clock: without what Python takes before.

    Only what goes into torch's current stream counts, which is all that torch's own runners do.
    """

    def measure(call: Callable[[], Any]) -> float:
        stream = torch.cuda.current_stream(context.device)
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record(stream)
        call()
        last.record(stream)
        last.synchronize()
        return float(first.elapsed_time(last)) / 1000

    return measure


def device_memory(context: Context) -> Measure:
    """The most bytes that torch's tensors take on the device, weights and inputs included.

    What lies outside of torch's allocator, such as the device's own context, is not known to it.
    """

    def measure(call: Callable[[], Any]) -> float:
        torch.cuda.reset_peak_memory_stats(context.device)
        call()
        torch.cuda.synchronize(context.device)
        return float(torch.cuda.max_memory_allocated(context.device))

    return measure
