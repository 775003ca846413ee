"""Converters, runners and steps that go wrong, each in its own way. Imported by worker processes, by name."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from attrs import frozen

from navigator_core import LoadedModel
from navigator_core.errors import NothingToDoError
from navigator_core.testing import miniframework as mini


@frozen
class Deed:
    """What to do wrong; ``place`` is a file to leave a word in."""

    name: str = "right"
    place: str = ""


def convert(source, output, options, context):
    do(options)
    if options.name == "nothing":
        return None
    if options.name == "names":
        mini.convert(source, output, mini.Storage(), context)
        return {"x": "x"}
    if options.name == "wrong":
        layer = json.loads(source.read_text())
        layer["bias"] = [value * 1.001 for value in layer["bias"]]
        source = output.with_name("wrong.json")
        source.write_text(json.dumps(layer))
    return mini.convert(source, output, mini.Storage(), context)


def load(source, options, context):
    if options.name == "idle":
        do(options)
    inner = mini.load(source, None, context)
    if options.name == "other":
        return inner.call
    calls = iter(range(10**9))

    def call(inputs):
        if next(calls) == 3:
            do(options)
        return inner.call(inputs)

    return LoadedModel(call)


@frozen
class Answer:
    """The process that answered."""

    pid: int


def step(deed, folder, emit):
    do(deed)
    return Answer(os.getpid())


def do(deed):
    name = deed.name
    if name == "raises":
        raise ValueError(f"no way\nto go on in {deed.name}")
    if name == "idle":
        raise NothingToDoError("this layer has no bias\nto take out")
    if name == "exits":
        os._exit(7)
    if name == "leaves":
        sys.exit("enough")
    if name == "interrupts":
        raise KeyboardInterrupt
    if name == "segfaults":
        print("about to fall", flush=True)
        ctypes.string_at(0)
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "floods":
        for number in range(200_000):
            print(f"line {number} of a flood of words", flush=False)
        os._exit(1)
    if name == "loud":
        print("\xff\x00 word " * 100_000)
        os.write(2, b"\xff\xfe not text\n" * 1000)
    if name == "hangs":
        print("going to sleep", flush=True)
        time.sleep(3600)
    if name == "stubborn":
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        time.sleep(3600)
    if name == "threads":
        threading.Thread(target=time.sleep, args=(3600,)).start()  # not a daemon: Python would wait for it
    if name == "children":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"])
        Path(deed.place).write_text(str(child.pid))
    if name == "leaks":
        os.environ["NAVIGATOR_LEAK"] = "yes"
        os.chdir("/")
    if name == "right":
        assert "NAVIGATOR_LEAK" not in os.environ
        assert Path.cwd() != Path("/")
