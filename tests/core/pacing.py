"""A runner as slow as it is told to be, and as mortal. Imported by worker processes, by name."""

import json
import os
import random
import time
from pathlib import Path

from attrs import frozen

from navigator_core import DeviceInfo, LoadedModel, contention
from navigator_core.testing import miniframework as mini


@frozen
class Pace:
    """``seconds`` of each call and ``each`` of a row, give or take a share of ``jitter``; every load is a letter in
    ``book``, and after ``lives`` of them a load is the end. The first one is ``unlucky``: so many seconds more, or
    lucky, with fewer.
    """

    seconds: float = 0.0
    each: float = 0.0
    jitter: float = 0.0
    book: str = ""
    lives: int = 1000
    unlucky: float = 0.0


def load(source, options, context):
    seconds = options.seconds
    if options.book:
        with Path(options.book).open("a") as book:
            book.write("x")
        if Path(options.book).stat().st_size > options.lives:
            print(json.dumps({"median": "not a message"}))
            os._exit(9)
        seconds += options.unlucky * (Path(options.book).stat().st_size == 1)
    contention.NOTICEABLE = 9.0  # what else this machine does changes nothing here
    inner = mini.load(source, None, context)

    def call(inputs):
        rows = len(next(iter(inputs.values())))
        time.sleep((seconds + rows * options.each) * random.uniform(1 - options.jitter, 1 + options.jitter))
        return inner.call(inputs)

    return LoadedModel(call)


def devices():
    return [DeviceInfo("npu:7", "a made-up one", 0)]


def clocks(name):
    return {"clock": "7 MHz", "of": name}
