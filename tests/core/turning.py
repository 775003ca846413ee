"""Runners that several threads call, and that have knobs. Imported by worker processes, by name."""

import time

import numpy as np
from attrs import field as attribute
from attrs import frozen, validators

from navigator_core import LoadedModel, contention
from navigator_core.testing import miniframework as mini

contention.NOTICEABLE = float("inf")  # what others disturb is measured again, which is not what is counted here


@frozen
class Setting:
    """``seconds`` of each call; ``off`` is added to its outputs; ``even`` refuses odd values of ``odd``."""

    seconds: float = 0.02
    off: float = 0.0
    even: bool = False
    odd: int = attribute(default=0, validator=validators.instance_of(int))

    def __attrs_post_init__(self):
        if self.even and self.odd % 2:
            raise ValueError("odd must be even")


def load(source, options, context):
    inner = mini.load(source, None, context)

    def call(inputs):
        time.sleep(options.seconds)
        return {name: value + np.float32(options.off) for name, value in inner.call(inputs).items()}

    return LoadedModel(call, thread_safe=True)


@frozen
class Manners:
    """Whether it says that threads may call it at once."""

    thread_safe: bool = True


def load_with_one_buffer(source, options, context):
    """Keeps what it was called with in a place that all calls share, and looks there again when it answers."""
    inner = mini.load(source, None, context)
    (x,) = context.signature.inputs
    shared = {}

    def call(inputs):
        shared[x.name] = inputs[x.name]
        time.sleep(0.01)
        found = inner.call(shared)
        return found

    return LoadedModel(call, thread_safe=options.thread_safe)


def bytes_of_the_device(context):
    """A profiler of memory that knows what it will say."""

    def measure(call):
        call()
        return 2.0**40

    return measure
