"""Is the winner that Navigator picks as fast as the best that torch, ONNX Runtime and OpenVINO reach by hand?

Two questions for each model and batch size: with the defaults, of what computes in fp32; and with `precisions=("fp32",
"bf16", "int8")` and a metric, of whatever passes the same bar of accuracy. First every raw tool runs once, side by
side; then the winner against the two fastest that pass, in fresh processes, see `turns.py`. "itself" is the winner once
more: how far that ratio is from 1 shows what this machine can tell apart. Target: 0.95 of the best by hand, at least.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

import attrs
import common
import models
from common import Table
from turns import Contender, run

import navigator as nav
from navigator_core.availability import installed_version
from navigator_core.results import Estimate
from navigator_core.statistics import ratio

TARGET = 0.95
BATCHES = (1, 8)
DROP = 0.01
"""How much of the cosine with the source's own output a reduced precision may lose, for Navigator and by hand."""

MODES = ("fp32", "reduced")
COLUMNS = ("model", "batch", "mode", "winner", "against", "winner's speed [95 %]", "winner ms", "other ms", "met")
ABOUT = (
    "The speed of Navigator's winner over that of a raw tool called by hand, tensors of torch in and out: the "
    "geometric mean over fresh processes "
    f"with its 95 % interval; above 1 the winner is faster. Met: the lower end is at least {TARGET}. Mode reduced: "
    f"bf16 and int8 are allowed to both where the cosine with the source's output is at least {1 - DROP}."
)


def met(found: Estimate) -> str:
    """What an interval of the winner's speed says."""
    if found.low >= TARGET:
        return "yes"
    return "NO" if found.high < TARGET else "undecided"


def metric(model: str) -> nav.Metric:
    """The least cosine of a row with what the source answers."""
    import torch

    source = models.make(model)
    given = [models.inputs(model, batch, 99) for batch in (2, 3)]
    with torch.inference_mode():
        expected = [models.tensor(source(**one)).flatten(1) for one in given]

    def cosine(candidate: Any) -> float:
        with torch.inference_mode():
            found = [models.tensor(candidate(**one)).float().flatten(1) for one in given]
        pairs = zip(found, expected, strict=True)
        return min(torch.cosine_similarity(a, b).min().item() for a, b in pairs)

    return nav.Metric("cosine", cosine, max_drop=DROP)


def picks(model: str, mode: str, folder: Path) -> dict[int, tuple[str, Path]]:
    """For each batch size the winner's name and a package that holds it."""
    made, samples = models.make(model), models.samples(model)
    found: dict[int, tuple[str, Path]] = {}
    for batch in BATCHES:
        objective = nav.Objective(minimize="latency", batch_size=batch)
        asked = {"batch_sizes": BATCHES, "objective": objective, "workspace": folder / "workspace"}
        common.note(f"{model}, {mode}, batch {batch}: navigator.optimize")
        if mode == "reduced":
            asked |= {"precisions": ["fp32", "bf16", "int8"], "verify": metric(model)}
        # the second run finds all but the playoff done
        report = nav.optimize(made, samples, **{"precisions": ["fp32"], **asked})
        best = report.select(objective)
        if best is None:
            raise SystemExit(f"no winner for {model}, {mode}:\n{report}")
        first = attrs.evolve(report, candidates=(best, *(one for one in report.candidates if one is not best)))
        found[batch] = best.name, first.save(folder / f"{model}-{mode}-{batch}.nav")
    return found


def by_hand(model: str, batch: int, folder: Path) -> dict[str, list[Contender]]:
    """The raw tools, by the precision that they compute in."""
    plain, quantized = folder / f"{model}.onnx", folder / f"{model}-int8.onnx"
    if not quantized.exists():
        common.call_fresh("models:export_onnx", name=model, path=str(plain), quantized=str(quantized))
    same = {"model": model, "batch": batch}
    found = {
        "fp32": [
            Contender("eager", "contenders:eager", same),
            Contender("torch.compile", "contenders:compiled", same),
            Contender("torch.compile, freezing", "contenders:frozen", same),
            Contender("TorchScript, optimized", "contenders:script", same),
            Contender("ONNX Runtime", "contenders:onnxruntime", {**same, "path": str(plain)}),
        ],
        "reduced": [
            Contender("autocast bf16", "contenders:autocast", same),
            Contender("torch.compile, freezing, bf16", "contenders:frozen", {**same, "bf16": True}),
            Contender("ONNX Runtime, int8", "contenders:onnxruntime", {**same, "path": str(quantized)}),
        ],
    }
    if installed_version("openvino"):
        in_openvino = {**same, "path": str(plain)}
        found["fp32"] += [Contender("OpenVINO", "contenders:openvino", {**in_openvino, "hint": "f32"})]
        found["reduced"] += [Contender("OpenVINO, bf16", "contenders:openvino", {**in_openvino, "hint": "bf16"})]
    if installed_version("openvino") and installed_version("nncf"):
        by_nncf = folder / f"{model}-nncf.xml"
        if not by_nncf.exists():
            common.call_fresh("models:quantize_by_nncf", name=model, path=str(plain), quantized=str(by_nncf))
        in_int8 = Contender("OpenVINO, int8 by NNCF", "contenders:openvino", {**same, "path": str(by_nncf)})
        found["reduced"] += [in_int8]
    return found


def screened(contenders: dict[str, list[Contender]], seconds: float) -> dict[str, list[Contender]]:
    """For each mode those by hand that pass the bar, the fastest of one round first."""
    right = [*contenders["fp32"]]
    for one in contenders["reduced"]:
        cosine = common.call_fresh("contenders:similarity", build=one.build, given=dict(one.given))
        common.note(f"  {one.name}: cosine {cosine:.5f}")
        right += [one] if cosine >= 1 - DROP else []
    times = run(right, rounds=1, seconds=seconds)
    ordered = sorted(right, key=lambda one: times[one.name][0])
    common.note("  by hand: " + ", ".join(f"{one.name} {1e3 * times[one.name][0]:.2f} ms" for one in ordered))
    return {"fp32": [one for one in ordered if one in contenders["fp32"]], "reduced": ordered}


def compare(
    model: str, batch: int, mode: str, picked: dict[str, str], best: list[Contender], rounds: int, seconds: float
) -> list[list[str]]:
    """The rows of one question: the winner against itself and the fastest by hand."""
    ours = [Contender(name, "contenders:winner", picked) for name in ("winner", "itself")]
    times = run([*ours, *best], rounds=rounds, seconds=seconds)
    mine = times.pop("winner")
    rows = []
    for other, theirs in times.items():
        found = ratio(theirs, mine)
        said = "(noise)" if other == "itself" else met(found)
        medians = [f"{1e3 * statistics.median(one):.2f}" for one in (mine, theirs)]
        rows.append([model, str(batch), mode, picked["candidate"], other, common.shown(found), *medians, said])
        common.note(f"  {other}: {common.shown(found)} {said}")
    return rows


def main() -> None:
    asked = common.arguments(__doc__, rounds=6)
    rounds, seconds = (2, 0.2) if asked.quick else (asked.rounds, 2.0)
    others = common.others()
    rows: list[list[str]] = []
    for model in models.NAMES[:1] if asked.quick else models.NAMES:
        with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
            found = {mode: picks(model, mode, Path(folder)) for mode in MODES}
            for batch in BATCHES:
                common.note(f"{model}, batch {batch}: by hand")
                fastest = screened(by_hand(model, batch, Path(folder)), seconds)
                for mode, winners in found.items():
                    name, package = winners[batch]
                    common.note(f"{model}, batch {batch}, {mode}: {name}")
                    picked = {"model": model, "batch": batch, "package": str(package), "candidate": name}
                    rows += compare(model, batch, mode, picked, fastest[mode][:2], rounds, seconds)
    common.finish(
        [Table("The winner against the raw tools", f"{ABOUT} {rounds} rounds.", COLUMNS, rows)], asked, others
    )


if __name__ == "__main__":
    main()
