"""What it saves that steps of a kind share a worker, which imports their framework once, on the convnet.

`navigator.optimize` by every path of torch and ONNX at batches 1 and 8, as it is, and the same with a worker of its own
for every step. Each call has a fresh workspace and process; they take turns, after one that is not counted, so that
inductor has compiled the model before. There is no playoff, which starts processes of its own and takes as long as it
is given, whoever the workers are. Target: at most 0.7 of the time with a process per step.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import common
from common import Table

TARGET = 0.7
BATCHES = (1, 8)
RUNNERS = ("torch-eager", "torch-compile", "torchscript", "exported-program", "aotinductor", "onnxruntime-cpu")
REUSED, ALONE = "workers shared", "one for each step"


def optimize(workspace: str, how: str, batches: list[int]) -> dict[str, Any]:
    """One call in this process: its seconds and how many workers it started."""
    import models

    import navigator as nav
    from navigator_core import execution, playoff
    from navigator_core.execution import Workers

    launch, run, workers = execution.launch, Workers.run, []

    def counted(*given: Any, **more: Any) -> Any:
        workers.append(given)
        return launch(*given, **more)

    def once(pool: Workers, job: Any, *given: Any, **more: Any) -> Any:
        try:
            return run(pool, job, *given, **more)
        finally:
            pool._end(job.kind)

    patched: Any = Workers
    execution.launch = counted
    playoff.MOST = 1
    if how == ALONE:
        patched.run = once
        patched.prepare = lambda *given, **more: None
    made, samples = models.make("convnet"), models.samples("convnet")
    began = time.perf_counter()
    report = nav.optimize(made, samples, batch_sizes=batches, workspace=workspace, runners=RUNNERS)
    seconds = time.perf_counter() - began
    failed = [f"{c.name}: {c.status}: {c.reason}" for c in report.candidates if c.status in ("failed", "incorrect")]
    return {"seconds": seconds, "workers": len(workers), "failed": failed}


def table(found: dict[str, list[dict[str, Any]]]) -> Table:
    """The medians, and how they compare."""
    seconds = {how: statistics.median(one["seconds"] for one in runs) for how, runs in found.items()}
    rows = []
    for how, runs in found.items():
        spread = ", ".join(f"{one['seconds']:.1f}" for one in runs)
        ratio = "" if how == REUSED else f"{seconds[REUSED] / seconds[how]:.2f}"
        met = "" if how != ALONE else "yes" if seconds[REUSED] / seconds[how] <= TARGET else "NO"
        failed = "; ".join(runs[0]["failed"])
        rows.append([how, f"{seconds[how]:.1f}", spread, str(runs[0]["workers"]), ratio, met, failed])
    about = (
        f"Seconds of `navigator.optimize` on the convnet with {', '.join(RUNNERS)}. Target: shared workers take "
        f"at most {TARGET} of the time with one for each step."
    )
    columns = ("workers", "s, median", "s", "processes", "shared take", "met", "failed or incorrect")
    return Table("Workers that are used again", about, columns, rows)


def main() -> None:
    asked = common.arguments(__doc__, rounds=3)
    others = common.others()
    batches = [1] if asked.quick else list(BATCHES)
    found: dict[str, list[dict[str, Any]]] = {REUSED: [], ALONE: []}
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / "inductor")
        common.note("not counted")
        common.call_fresh("worker_reuse:optimize", workspace=str(Path(folder) / "0"), how=REUSED, batches=batches)
        for number in range(1 if asked.quick else asked.rounds):
            for how, runs in found.items():
                common.note(f"{how}, {number + 1}")
                workspace = str(Path(folder) / f"{len(runs)}-{common.slug(how)}")
                runs.append(common.call_fresh("worker_reuse:optimize", workspace=workspace, how=how, batches=batches))
    common.finish([table(found)], asked, others)


if __name__ == "__main__":
    main()
