"""A plugin on the tests' framework that counts what it does, and once does wrong what it is told to.

``FAULTY`` in the environment names a folder. ``book`` there has a line for every beginning and every end of a stage;
``trap`` says at which stage of which variant to do what, and is gone before it is done. ``parent`` holds the id of the
process that runs it all. Imported by worker processes, by name.
"""

import ctypes
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from navigator_core import FP16, FP32, Converter, Exporter, LoadedModel, Ref, Runner, Variant, contention, hookimpl
from navigator_core.testing import miniframework as mini
from navigator_core.testing.miniframework import declare_formats, declare_tensors, identify_model

__all__ = ["declare_formats", "declare_tensors", "identify_model"]

contention.NOTICEABLE = float("inf")  # what others disturb is measured again, which is not what is counted here

failed = []
"""What went wrong in this process: what ends after that was not done."""

STAGES = {"inspect": "source", "evaluate": "load", "compete": "playoff", "open_candidate": "package"}
"""What a runner is loaded for, by who asks for it."""


@hookimpl
def declare_exporters():
    return [Exporter(source="mini", target="mini-json", implementation=Ref(f"{__name__}:export"))]


@hookimpl
def declare_converters():
    variants = Variant("fp32", mini.Storage(), FP32), Variant("fp16", mini.Storage("float16"), FP16)
    build = Ref(f"{__name__}:convert")
    return [
        Converter(source="mini-json", target="mini-npz", implementation=build, options=mini.Storage, variants=variants)
    ]


@hookimpl
def declare_runners():
    return [
        Runner(name="mini-eager", formats=("mini",), tensors="mini", implementation=Ref(f"{__name__}:eager")),
        Runner(name="mini-runtime", formats=("mini-npz",), implementation=Ref(f"{__name__}:load")),
    ]


def export(model, output, options, context):
    begin("export", "fp32", output)
    mini.export(model, output, options, context)
    end("export", "fp32")


def convert(source, output, options, context):
    variant = context.precision.name
    begin("convert", variant, output)
    mini.convert(source, output, options, context)
    end("convert", variant)


def eager(model, options, context):
    return counted("eager", lambda: mini.eager(model, options, context))


def load(source, options, context):
    return counted(context.precision.name, lambda: mini.load(source, options, context))


def counted(variant, make):
    """What is loaded; to be closed is what its evaluation ends with."""
    stage = next((STAGES[name] for name in calling() if name in STAGES), "package")
    begin(stage, variant)
    inner = make()
    calls = iter(range(10**9))

    def call(inputs):
        number = next(calls)
        if stage == "load" and armed():
            timed = "time_calls" in calling()
            if timed or number == 1:
                begin("profile" if timed else "verify", variant, book=False)
        return inner.call(inputs)

    return LoadedModel(call, close=lambda: end(stage, variant))


def calling():
    frame, names = sys._getframe(), []
    while frame is not None:
        names.append(frame.f_code.co_name)
        frame = frame.f_back
    return names


def folder():
    return Path(os.environ["FAULTY"])


def note(*words):
    descriptor = os.open(folder() / "book", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(words) + "\n").encode())
    os.close(descriptor)


def armed():
    return (folder() / "trap").exists()


def begin(stage, variant, output=None, book=True):
    """A stage begins: here it goes wrong, if it is to."""
    if book:
        note("begun", stage, variant)
    trap = folder() / "trap"
    if trap.exists():
        wanted = json.loads(trap.read_text())
        if (wanted["stage"], wanted["variant"]) == (stage, variant):
            trap.unlink()
            do(wanted["deed"], output)


def end(stage, variant):
    if not failed:
        note("done", stage, variant)


def do(deed, output):
    failed.append(deed)
    print(f"about to do it: {deed}", flush=True)
    parent = int((folder() / "parent").read_text())
    if deed == "raises":
        raise ValueError("no way to go on")
    if deed == "segfaults":
        ctypes.string_at(0)
    if deed == "exits":
        os._exit(7)
    if deed == "is killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if deed == "hangs":
        time.sleep(1000)
    if deed == "floods":
        for number in range(100_000):
            print(f"{number} " + "x" * 100)
        print("the end of the flood", flush=True)
        os._exit(5)
    if deed == "prints on the protocol":
        for descriptor in sockets():
            os.write(descriptor, b"Loading weights: 100%\n")
        time.sleep(1000)
    if deed == "closes the protocol":
        for descriptor in sockets():
            socket.socket(fileno=descriptor).shutdown(socket.SHUT_RDWR)
        time.sleep(1000)
    if deed == "hoards":
        np.ones(60_000_000)
        time.sleep(1000)
    if deed == "fills the disk":
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        (folder() if output is None else output.parent).joinpath("large").write_bytes(bytes(100_000))
    if deed == "leaves a daemon":
        script = "import os, time; os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0); time.sleep(1000)"
        subprocess.run([sys.executable, "-c", script], check=True)
        os._exit(3)
    if deed == "kills its worker":
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    if deed == "kills the parent":
        os.kill(parent, signal.SIGKILL)
        time.sleep(1000)
    if deed == "kills both":
        os.kill(os.getppid(), signal.SIGSTOP)
        os.kill(parent, signal.SIGKILL)
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)
    if deed == "interrupts the parent":
        os.kill(parent, signal.SIGINT)
        time.sleep(1000)
    if deed == "terminates the parent":
        os.kill(parent, signal.SIGTERM)
        time.sleep(1000)


def sockets():
    """The descriptors of this process that are sockets."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            if str(entry.readlink()).startswith("socket:"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found
