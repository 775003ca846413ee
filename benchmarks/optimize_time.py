"""How long `navigator.optimize` takes on the convnet at batches 1 and 8, by every path, and the same call again.

Inductor compiles in a cache of this benchmark's own, empty but for one small model (precompiled headers). The first
call compiles the convnet, and that is set aside: what `torch.compile` takes to be loaded and checked beyond what eager
takes. The second call, in another workspace, finds the kernels in inductor's cache. Target: 35 s on 2 idle cores.
"""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from common import Table

TARGET = 35.0
BATCHES = (1, 8)


def warm() -> None:
    """The first inductor compilation of this cache, in a process of its own."""
    import torch

    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    with torch.inference_mode():
        torch.compile(model.eval())(torch.rand(1, 3, 8, 8))


def optimize(workspace: str, model: str, batches: list[int], playoff: bool = True, **asked: Any) -> dict[str, Any]:
    """One call in this process: its seconds, those of its steps, and what won; ``asked`` is of `navigator.optimize`."""
    import models

    import navigator as nav
    from navigator_core import playoff as played
    from navigator_core.events import Event, StepFinished, StepStarted

    steps: list[list[Any]] = []
    checked: dict[str, float] = {}

    def observe(event: Event) -> None:
        if isinstance(event, StepFinished):
            steps.append([event.step, event.stage, event.status, event.duration])
        elif isinstance(event, StepStarted):  # "verify" when it begins, "profile" when it is loaded and checked
            checked[event.step] = event.elapsed - checked.get(event.step, 0.0)

    if not playoff:
        played.MOST = 1
    made, samples = models.make(model), models.samples(model)
    began = time.perf_counter()
    report = nav.optimize(made, samples, batch_sizes=batches, workspace=workspace, observe=observe, **asked)
    seconds = time.perf_counter() - began
    failed = [f"{c.name}: {c.status}: {c.reason}" for c in report.candidates if c.status in ("failed", "incorrect")]
    aside = checked.get("torch @ torch-compile", 0.0) - checked.get("torch @ torch-eager", 0.0)
    return {"seconds": seconds, "aside": aside, "steps": steps, "best": report.best_name, "failed": failed}


def totals(runs: dict[str, dict[str, Any]]) -> Table:
    """The walls of the calls."""
    rows = []
    for name, found in runs.items():
        left = found["seconds"] - found["aside"]
        met = "yes" if left <= TARGET else "NO"
        cells = [name, f"{found['seconds']:.1f}", f"{found['aside']:.1f}", f"{left:.1f}", f"{TARGET:.0f}", met]
        rows.append([*cells, str(found["best"]), "; ".join(found["failed"])])
    about = "Seconds of `navigator.optimize` on the convnet by every path, once each; what inductor took is set aside."
    columns = ("call", "s", "inductor, s", "the rest, s", "target", "met", "best", "failed or incorrect")
    return Table("Time of optimize", about, columns, rows)


def steps(runs: dict[str, dict[str, Any]]) -> Table:
    """Seconds of each step in every call; the rest is what no step accounts for."""
    found: dict[str, dict[tuple[str, str], tuple[str, float]]] = {}
    for name, run in runs.items():
        found[name] = {(step, stage): (status, took) for step, stage, status, took in run["steps"]}
    rows = []
    for step, stage in dict.fromkeys(key for one in found.values() for key in one):
        cells = [_cell(*one[step, stage]) if (step, stage) in one else "" for one in found.values()]
        rows.append([step, stage, *cells])
    spent = {name: sum(t for status, t in one.values() if status != "cached") for name, one in found.items()}
    rows.append(["the rest", "", *(f"{run['seconds'] - spent[name]:.1f}" for name, run in runs.items())])
    about = "Seconds, as the events tell them; a cached step was done in an earlier call."
    return Table("Time of optimize, by step", about, ("step", "stage", *found), rows)


def _cell(status: str, seconds: float) -> str:
    return "cached" if status == "cached" else f"{seconds:.1f}" if status == "ok" else f"{seconds:.1f} ({status})"


def main() -> None:
    asked = common.arguments(__doc__)
    others = common.others()
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "inductor")
        common.note("one compilation aside")
        common.call_fresh("optimize_time:warm")
        batches = [1] if asked.quick else list(BATCHES)
        runs = {}
        for name, workspace in (
            ("fresh workspace", "first"),
            ("fresh workspace, inductor has seen it", "second"),
            ("same call again", "second"),
        ):
            common.note(name)
            given = {"workspace": str(Path(folder) / workspace), "model": "convnet", "batches": batches}
            runs[name] = common.call_fresh("optimize_time:optimize", **given)
    common.finish([totals(runs), steps(runs)], asked, others)


if __name__ == "__main__":
    main()
