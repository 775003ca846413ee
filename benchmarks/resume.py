"""What a run costs that is made again, killed or interrupted, on the convnet by torch's and ONNX's paths in fp32.

The first call, the same call again in a new process, and calls that are killed (the process that runs them all, by
kill -9) at random moments and then made again. What a kill costs is the time of both together beyond an undisturbed
call's; it may be the step that was at work, done again, and a new start. These are without the playoff, which between
equals takes half a minute more in one call than in the next. Targets: the same call again takes 3 % of the first or
3 s; a kill costs the step at work and `START` at most; Ctrl-C is over in 2 s.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
from common import Table
from optimize_time import BATCHES

AGAIN = 0.03, 3.0
START = 10.0
"""Seconds for a process, its imports, and the workers' imports: each is paid once more."""

ASKED = {"runners": ["torch-eager", "torchscript", "exported-program", "onnxruntime-cpu"], "precisions": ["fp32"]}
PATIENCE = 2.0
SEED = 20261127


def begin(workspace: Path, batches: list[int], playoff: bool) -> subprocess.Popen[bytes]:
    """The call in a process that is not waited for."""
    given = {"workspace": str(workspace), "model": "convnet", "batches": batches, "playoff": playoff, **ASKED}
    return subprocess.Popen(
        [sys.executable, "-c", "import common; common.answer()", "optimize_time:optimize", json.dumps(given)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(common.HERE), os.environ.get("PYTHONPATH", "")])},
        preexec_fn=_hear_ctrl_c,
    )


def _hear_ctrl_c() -> None:
    """What runs in the background of a shell is started with Ctrl-C ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def whole(workspace: Path, batches: list[int], playoff: bool) -> dict[str, Any]:
    """The call with the seconds of its whole process, imports included."""
    began = time.perf_counter()
    given = {"workspace": str(workspace), "model": "convnet", "batches": batches, "playoff": playoff, **ASKED}
    found = common.call_fresh("optimize_time:optimize", **given)
    return {**found, "process": time.perf_counter() - began}


def at_work(workspace: Path, undisturbed: Mapping[str, Any]) -> tuple[str, float]:
    """The step that was not finished in a workspace's only run, and what it takes undisturbed."""
    (run,) = (workspace / "runs").iterdir()
    done = {json.loads(line)["step"] for line in (run / "journal.jsonl").read_text().splitlines()}
    for step, _, _, seconds in undisturbed["steps"]:
        if step not in done:
            return step, seconds
    return "none", 0.0


def kill(folder: Path, undisturbed: Mapping[str, Any], moment: float, number: int, batches: list[int]) -> list[str]:
    """A row: a call that is killed, made again."""
    workspace = folder / f"killed-{number}"
    process = begin(workspace, batches, playoff=False)
    began = time.perf_counter()
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    process.wait()
    spent = time.perf_counter() - began
    step, seconds = at_work(workspace, undisturbed)
    again = whole(workspace, batches, playoff=False)
    cost = spent + again["process"] - undisturbed["process"]
    repeated = len([one for one in again["steps"] if one[2] != "cached"])
    met = "yes" if cost <= seconds + START else "NO"
    return [f"{spent:.1f}", step, f"{seconds:.1f}", f"{again['process']:.1f}", str(repeated), f"{cost:.1f}", met]


def interrupt(folder: Path, moment: float, number: int, batches: list[int]) -> list[str]:
    """A row: a call that is interrupted, and how long it takes to end."""
    process = begin(folder / f"interrupted-{number}", batches, playoff=True)
    time.sleep(moment)
    began = time.perf_counter()
    process.send_signal(signal.SIGINT)
    process.wait()
    took = time.perf_counter() - began
    return [f"{moment:.1f}", f"{took:.2f}", f"{PATIENCE:.0f}", "yes" if took <= PATIENCE else "NO"]


def calls(runs: Mapping[str, Mapping[str, Any]]) -> Table:
    """The calls that nobody disturbs."""
    first = runs["first call"]["seconds"]
    rows = []
    for name, run in runs.items():
        done = len([one for one in run["steps"] if one[2] != "cached"])
        met = ""
        if name == "same call again":
            met = "yes" if run["seconds"] <= max(AGAIN[0] * first, AGAIN[1]) else "NO"
        share = f"{run['seconds'] / first:.1%}"
        rows.append([name, f"{run['seconds']:.1f}", share, f"{run['process']:.1f}", str(done), met])
    about = "`navigator.optimize` on the convnet, each call in a process of its own. Target of the second: 3 % or 3 s."
    return Table("Calls made again", about, ("call", "s", "of the first", "process, s", "steps done", "met"), rows)


def main() -> None:
    asked = common.arguments(__doc__, rounds=3)
    others = common.others()
    batches = [1] if asked.quick else list(BATCHES)
    draw = random.Random(SEED)
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as name:
        folder = Path(name)
        runs = {}
        for name, workspace, playoff in (
            ("first call", "first", True),
            ("same call again", "first", True),
            ("without the playoff", "second", False),
        ):
            common.note(name)
            runs[name] = whole(folder / workspace, batches, playoff)
        undisturbed = runs["without the playoff"]
        rounds = 1 if asked.quick else asked.rounds
        killed, interrupted = [], []
        for number in range(rounds):
            moment = draw.uniform(0.15, 0.95) * undisturbed["process"]
            common.note(f"killed after {moment:.1f} s")
            killed.append(kill(folder, undisturbed, moment, number, batches))
            moment = draw.uniform(0.15, 0.95) * undisturbed["process"]
            common.note(f"interrupted after {moment:.1f} s")
            interrupted.append(interrupt(folder, moment, number, batches))
    about = (
        f"A kill -9 at a random moment (seed {SEED}), and the same call again, without the playoff. The cost is both "
        f"together beyond the {undisturbed['process']:.1f} s of an undisturbed process; at most the step at work and "
        f"{START:.0f} s."
    )
    columns = ("killed after, s", "step at work", "its s", "again, s", "steps done again or anew", "cost, s", "met")
    tables = [calls(runs), Table("Killed and resumed", about, columns, killed)]
    about = "Seconds from SIGINT to the end of the process, the report of what was finished being made in between."
    tables.append(
        Table("Interrupted", about, ("interrupted after, s", "ended within, s", "target", "met"), interrupted)
    )
    common.finish(tables, asked, others)


if __name__ == "__main__":
    main()
