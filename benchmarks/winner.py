"""Is the winner that Navigator picks really not slower than the tools called by hand?

For each model and batch size `navigator.optimize` picks a winner. Then the winner runs side by side with eager torch,
`torch.compile` and ONNX Runtime, all with their defaults; see `turns.py`. "itself" is the winner once more: how far
that ratio is from 1 shows what this machine can tell apart.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import common
import models
from common import Table
from turns import Contender, run

import navigator as nav
from navigator_core.results import Estimate
from navigator_core.statistics import ratio

MARGIN = 0.03
BATCHES = (1, 8)
COLUMNS = ("model", "batch", "winner", "against", "winner / other [95 %]", "winner ms", "other ms", "verdict")
ABOUT = (
    "Time of a call of Navigator's winner over the same call of a raw tool, as the geometric mean over fresh processes "
    f"with its 95 % interval: below 1 the winner is faster. Not slower: the upper end is within {MARGIN:.0%} of 1."
)


def verdict(found: Estimate) -> str:
    """What an interval of (winner / other) says."""
    if found.high < 1:
        return "faster"
    if found.high <= 1 + MARGIN:
        return "not slower"
    return "SLOWER" if found.low > 1 + MARGIN else "undecided"


def pick(model: str, batch: int, folder: Path) -> tuple[str, Path]:
    """The winner's name and the package that holds it. Both batch sizes share a workspace: the second run finds all."""
    common.note(f"{model}, batch {batch}: navigator.optimize")
    report = nav.optimize(
        models.make(model),
        models.samples(model),
        batch_sizes=BATCHES,
        objective=nav.Objective(minimize="latency", batch_size=batch),
        workspace=folder / "workspace",
    )
    if report.best is None:
        raise SystemExit(f"no winner for {model} at batch {batch}:\n{report}")
    return report.best.name, report.save(folder / f"{model}-{batch}.nav")


def contenders(model: str, batch: int, package: Path, name: str, folder: Path) -> list[Contender]:
    """The winner, itself again, and the raw tools."""
    onnx = folder / f"{model}.onnx"
    if not onnx.exists():
        common.call_fresh("models:export_onnx", name=model, path=str(onnx))
    same = {"model": model, "batch": batch}
    picked = {**same, "package": str(package), "candidate": name}
    return [
        Contender("winner", "contenders:winner", picked),
        Contender("itself", "contenders:winner", picked),
        Contender("eager", "contenders:eager", same),
        Contender("torch.compile", "contenders:compiled", same),
        Contender("ONNX Runtime", "contenders:onnxruntime", {**same, "path": str(onnx)}),
    ]


def compare(model: str, batch: int, folder: Path, rounds: int, seconds: float) -> list[list[str]]:
    """The rows of one model at one batch size."""
    name, package = pick(model, batch, folder)
    common.note(f"  winner: {name}")
    times = run(contenders(model, batch, package, name, folder), rounds=rounds, seconds=seconds)
    ours = times.pop("winner")
    rows = []
    for other, theirs in times.items():
        found = ratio(ours, theirs)
        said = "(noise)" if other == "itself" else verdict(found)
        medians = [f"{1e3 * statistics.median(one):.2f}" for one in (ours, theirs)]
        rows.append([model, str(batch), name, other, common.shown(found), *medians, said])
        common.note(f"  {other}: {common.shown(found)} {said}")
    return rows


def main() -> None:
    asked = common.arguments(__doc__, rounds=8)
    rounds, seconds = (2, 0.2) if asked.quick else (asked.rounds, 3.0)
    others = common.others()
    rows: list[list[str]] = []
    for model in models.NAMES:
        with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
            for batch in BATCHES:
                rows += compare(model, batch, Path(folder), rounds, seconds)
    common.finish(
        [Table("The winner against the raw tools", f"{ABOUT} {rounds} rounds.", COLUMNS, rows)], asked, others
    )


if __name__ == "__main__":
    main()
