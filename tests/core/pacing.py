"""A runner as slow as it is told to be, and as mortal. Imported by worker processes, by name."""

import json
import os
import time
from pathlib import Path

from attrs import frozen

from navigator_core import LoadedModel
from navigator_core.testing import miniframework as mini


@frozen
class Pace:
    """``seconds`` of each call; every load is a letter in ``book``, and after ``lives`` of them a load is the end."""

    seconds: float = 0.0
    book: str = ""
    lives: int = 1000


def load(source, options, context):
    if options.book:
        with Path(options.book).open("a") as book:
            book.write("x")
        if Path(options.book).stat().st_size > options.lives:
            print(json.dumps({"median": "not a message"}))
            os._exit(9)
    inner = mini.load(source, None, context)

    def call(inputs):
        time.sleep(options.seconds)
        return inner.call(inputs)

    return LoadedModel(call)
