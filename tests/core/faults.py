"""Runs with `faulty` in this process or in one of their own, and what came of them in values that compare."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np

import navigator as nav
from navigator_core import optimize as engine
from navigator_core import request
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

HERE = Path(__file__).parent
SAMPLES = [mini.Array(np.random.default_rng(n).standard_normal((2, 4)).astype("float32")) for n in range(2)]
ONCE = {
    "export fp32": 1,
    "convert fp16": 1,
    "convert fp32": 1,
    "load eager": 1,
    "load fp16": 1,
    "load fp32": 1,
}
"""What a run does to its end: every step once."""
STEPS = {
    "the-source": "source eager",
    "mini-mini-json": "export fp32",
    "mini-mini-json-mini-npz-fp16": "convert fp16",
    "mini-mini-json-mini-npz-fp32": "convert fp32",
    "mini-mini-eager": "load eager",
    "mini-mini-json-mini-npz-fp16-mini-runtime": "load fp16",
    "mini-mini-json-mini-npz-fp32-mini-runtime": "load fp32",
}
"""What a step's folder is called, and what the book calls it."""
ASKED = 4
"""How often the source is loaded when it is asked what it means, which is done once, too."""


def model():
    rng = np.random.default_rng(0)
    return mini.Model(rng.standard_normal((4, 3)).astype("float32"), np.ones(3, "float32"))


def optimize(workspace, **asked):
    """The smallest, so that no playoff is played: it would load candidates as often as it needs to."""
    (Path(os.environ["FAULTY"]) / "parent").write_text(str(os.getpid()))
    objective = nav.Objective(minimize="size")
    asked = {"batch_sizes": [1], "seconds": 0.005, "objective": objective, "workspace": workspace, **asked}
    import faulty

    with using(faulty):
        return engine.optimize(model(), SAMPLES, request.checked(**asked))


def summary(report):
    """All of a report that is not a time, with the bytes of every artifact."""
    return {
        "best": report.best_name,
        "signature": str(report.signature),
        "candidates": {
            candidate.name: {
                "status": candidate.status,
                "reason": candidate.reason,
                "verdict": str(candidate.verdict),
                "batch_sizes": [one.batch_size for one in candidate.measurements],
                "artifact": candidate.path and hashlib.sha256(candidate.path.read_bytes()).hexdigest(),
            }
            for candidate in sorted(report.candidates, key=lambda one: one.name)
        },
    }


def arm(folder, stage, variant, deed):
    (folder / "trap").write_text(json.dumps({"stage": stage, "variant": variant, "deed": deed}))


def done(folder):
    """How often each stage of each variant was done to its end."""
    return Counter(line.removeprefix("done ") for line in lines(folder) if line.startswith("done "))


def begun(folder):
    """How often each stage of each variant was begun."""
    return Counter(line.removeprefix("begun ") for line in lines(folder) if line.startswith("begun "))


def lines(folder):
    book = folder / "book"
    return book.read_text().splitlines() if book.exists() else []


def stored(folder):
    """The steps whose outcome is in the workspace, each by the name that it has in the book."""
    kept = set()
    for result in (folder / "workspace" / "objects").glob("*/*/content/navigator-result.json"):
        if (result.parent.parent / ".complete").exists():
            step = Path(json.loads(result.read_text())["log"]).parent.name
            name = step.partition("-")[2]
            kept |= {STEPS[name]} if name in STEPS else set()  # what is learned of the machine is no step of a branch
    return kept


def leftovers(folder, within=10.0):
    """Processes of a folder's runs that are still there after a while, this one aside: nothing waits for them."""
    until = time.monotonic() + within
    while (found := _belonging(folder)) and time.monotonic() < until:
        time.sleep(0.02)
    return found


def _belonging(folder):
    mark = f"FAULTY={folder}".encode()
    found = []
    others = [place for place in Path("/proc").glob("[0-9]*") if place.name != str(os.getpid())]
    for place in others:
        with contextlib.suppress(OSError):
            state = (place / "stat").read_text().rpartition(")")[2].split()[0]
            if (
                mark in (place / "environ").read_bytes().split(b"\0")
                and state != "Z"
                and int(place.name) != os.getpid()
            ):
                found.append(int(place.name))
    return found


def start(folder, *arguments):
    """A run in a process of its own; `made` reads what it came to."""
    command = [sys.executable, "-W", "error", str(HERE / "faults.py"), str(folder), *map(str, arguments)]
    return subprocess.Popen(
        command,
        env={**os.environ, "FAULTY": str(folder), "NAVIGATOR_PROGRESS": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )


def made(folder, process):
    """What a run in a process of its own came to."""
    return json.loads((folder / f"made-{process.pid}.json").read_text())


def hear_ctrl_c():
    """What runs in the background of a shell is started with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def main():
    """Optimize, save, load what was saved and call it; each as often as it is named."""
    folder = Path(sys.argv[1])
    sys.path[:0] = [str(HERE)]
    workspace = folder / "workspace"
    try:
        report = optimize(workspace)
        ending = "whole"
    except nav.Interrupted as stop:
        if stop.report is None:
            raise
        report, ending = stop.report, stop.signal
    made = {"ending": ending, "summary": summary(report)}
    import faulty

    with using(faulty):
        if "save" in sys.argv[2:]:
            faulty.note("begun", "save", "package")
            _trap_in_archive(faulty)
            report.save(folder / "model.nav")
            faulty.note("done", "save", "package")
        if "load" in sys.argv[2:]:
            with nav.load(folder / "model.nav").load() as loaded:
                made["answer"] = loaded(SAMPLES[0]).value.tolist()
    temporary = folder / f"made-{os.getpid()}.part"
    temporary.write_text(json.dumps(made))
    temporary.rename(folder / f"made-{os.getpid()}.json")


def _trap_in_archive(faulty):
    """The deed is done when the archive is written and before it has its name."""
    from navigator_core import replacing

    fsync = os.fsync

    class Trapped:
        def __getattr__(self, name):
            return getattr(os, name)

        def fsync(self, descriptor):
            faulty.begin("save", "archive", book=False)
            fsync(descriptor)

    replacing.os = Trapped()


if __name__ == "__main__":
    main()
