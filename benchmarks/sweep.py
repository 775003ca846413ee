"""What does measuring ten candidates over the batch sweep take, of the time of measuring them all exhaustively?

The same candidates twice, in fresh workspaces: as `navigator.optimize` measures them, which ends a sweep where
throughput does and looks at those far behind only briefly; and every one of them at every batch size until the same
precision or time share is reached. Only measuring counts: what was loaded, converted and verified before is set aside.
Target: half of the time, and the same winners.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import common
from common import Table

TARGET = 0.5
CANDIDATES = 10
MODELS = ("mlp", "convnet")
ABOUT = (
    "Seconds of measuring, verification set aside, of {count} candidates that are right; and the largest batch at "
    "which each was measured, of those that were tried."
)


def measure(workspace: str, model: str, sizes: list[int] | None, exhaustive: bool) -> dict[str, Any]:
    """One run in this process: of each candidate the seconds of measuring and the sizes, and who won what."""
    import models

    import navigator as nav
    from navigator_core import optimize, request
    from navigator_core.events import Event, StepFinished, StepStarted

    began: dict[str, float] = {}
    took: dict[str, float] = {}

    def observe(event: Event) -> None:
        if isinstance(event, StepStarted) and event.stage == "profile":
            began[event.step] = event.elapsed
        elif isinstance(event, StepFinished) and event.stage == "verify" and event.step in began:
            took[event.step] = event.elapsed - began[event.step]

    asked = request.checked(
        batch_sizes=sizes, exhaustive=exhaustive, workspace=workspace, observe=observe, precisions=["fp32"]
    )
    report = optimize.optimize(models.make(model), models.samples(model), asked)
    winners = [report.select(nav.Objective()), report.select(nav.Objective(maximize="throughput"))]
    return {
        "took": {c.name: took[c.name] for c in report.candidates if c.status == "ok" and c.name in took},
        "sizes": {c.name: [m.batch_size for m in c.measurements] for c in report.candidates},
        "brief": [c.name for c in report.candidates if any(m.brief for m in c.measurements)],
        "every": list(report.reference.sizes),
        "winners": [one.name if one else "none" for one in winners],
    }


def rows(model: str, ours: dict[str, Any], full: dict[str, Any], count: int) -> list[list[str]]:
    """A line for each candidate, and their sum."""
    names = [name for name in ours["took"] if name in full["took"]][:count]
    found = []
    for name in names:
        last = f"{ours['sizes'][name][-1]} of {full['sizes'][name][-1]}"
        brief = "briefly" if name in ours["brief"] else ""
        mine, all_of_it = ours["took"][name], full["took"][name]
        found.append([model, name, last, brief, f"{mine:.1f}", f"{all_of_it:.1f}", f"{mine / all_of_it:.2f}", ""])
    mine, all_of_it = (sum(one["took"][name] for name in names) for one in (ours, full))
    met = "yes" if mine <= TARGET * all_of_it and len(names) >= count else "NO"
    share = f"{mine / all_of_it:.2f}"
    return [*found, [model, f"**all {len(names)}**", "", "", f"{mine:.1f}", f"{all_of_it:.1f}", share, met]]


def main() -> None:
    asked = common.arguments(__doc__)
    others = common.others()
    count = 2 if asked.quick else CANDIDATES
    lines: list[list[str]] = []
    winners: list[list[str]] = []
    for model in MODELS[:1] if asked.quick else MODELS:
        with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
            common.note(f"{model}: as it is")
            first = {"model": model, "workspace": str(Path(folder) / "ours"), "exhaustive": False}
            ours = common.call_fresh("sweep:measure", sizes=[1, 2] if asked.quick else None, **first)
            common.note(f"{model}: exhaustively, at {ours['every']}")
            second = {"model": model, "workspace": str(Path(folder) / "full"), "exhaustive": True}
            full = common.call_fresh("sweep:measure", sizes=ours["every"], **second)
        lines += rows(model, ours, full, count)
        for question, mine, theirs in zip(("latency", "throughput"), ours["winners"], full["winners"], strict=True):
            winners.append([model, question, mine, theirs])
    columns = ("model", "candidate", "largest batch", "cut short", "s", "exhaustively, s", "ratio", "met")
    told = ("model", "of", "winner", "exhaustively")
    common.finish(
        [
            Table("Measuring over the batch sweep", ABOUT.format(count=count), columns, lines),
            Table("Who won", "Two that a playoff calls a tie may change places between runs.", told, winners),
        ],
        asked,
        others,
    )


if __name__ == "__main__":
    main()
