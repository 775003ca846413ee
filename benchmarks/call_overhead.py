"""What calling a loaded candidate costs beyond the runtime's own call on the very same arrays.

Both are called in turns in one process, in blocks, on one thread; the model is tiny, so that the runtime's own time
does not drown the difference. Targets: at most 20 µs with tensors in and out, 60 µs with nested structures.
"""

from __future__ import annotations

import gc
import random
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import common
import torch
from attrs import frozen
from common import Table
from torch import Tensor, nn

import navigator as nav
from navigator_core import playoff
from navigator_core.results import Estimate
from navigator_core.statistics import median, ratio

FLAT, NESTED = 20.0, 60.0
"""Microseconds that a call may cost beyond the raw one."""

CALLS = 20
"""In a block: so few that on a machine with other work most blocks are over before they are interrupted.

The least of several blocks' means would flatter, so medians over blocks are taken.
"""


class Small(nn.Module):
    """One tensor in, one out."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.layer(x))


class Nested(nn.Module):
    """Dicts and tuples on both sides, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(16, 8), nn.Linear(16, 8)

    def forward(self, given: Mapping[str, Any]) -> dict[str, Any]:
        a, b = self.left(given["a"]), self.right(given["more"]["b"])
        return {"pair": (a, b), "sum": {"both": a + b, "count": 2}}


def small(rows: int) -> Tensor:
    return torch.rand(rows, 16)


def nested(rows: int) -> nav.Call:
    return nav.call({"a": torch.rand(rows, 16), "more": {"b": torch.rand(rows, 16)}})


def report_on(model: nn.Module, samples: list[Any], folder: Path) -> nav.Report:
    """Candidates of torch eager and ONNX Runtime, one thread each."""
    return nav.optimize(
        model,
        samples,
        runners=("torch-eager", "onnxruntime-cpu"),
        targets=("torch", "onnx"),
        batch_sizes=(2,),
        options={"@torch-eager": {"threads": 0}, "@onnxruntime-cpu": {"threads": 1}},
        workspace=folder,
    )


def loaded(report: nav.Report, runner: str) -> tuple[nav.LoadedCandidate, nav.Candidate]:
    """The candidate of a runner, in this process."""
    found = next(c for c in report.candidates if c.runner == runner)
    return found.load(), found


def session_call(found: nav.Candidate, arrays: Mapping[str, Any]) -> Callable[[], object]:
    """ONNX Runtime on the candidate's own file, called by hand on one thread with arrays by our names."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    assert found.recipe is not None
    session = ort.InferenceSession(str(found.path), options, providers=["CPUExecutionProvider"])
    feed = {found.recipe.names.inputs.get(name, name): array for name, array in arrays.items()}
    return lambda: session.run(None, feed)


def eager_call(model: nn.Module, *given: Any) -> Callable[[], object]:
    """The model itself, in inference mode."""

    def call() -> object:
        with torch.inference_mode():
            return model(*given)

    return call


@frozen
class Case:
    """The candidate's call, the raw one on the same arrays, and the microseconds that the first may add."""

    name: str
    ours: Callable[[], object]
    raw: Callable[[], object]
    target: float


def cases(folder: Path) -> list[Case]:
    """What is compared."""
    model, tree = Small().eval(), Nested().eval()
    common.note("navigator.optimize, twice")
    playoff.MOST = 1  # which of them is faster is not asked
    plain = report_on(model, [small(2), small(3)], folder)
    deep = report_on(tree, [nested(2), nested(3)], folder)
    x, given = small(2), nested(2).args[0]
    a, b = given["a"], given["more"]["b"]
    (ort, ort_found), (eager, _) = loaded(plain, "onnxruntime-cpu"), loaded(plain, "torch-eager")
    (deep_ort, deep_found), (deep_eager, _) = loaded(deep, "onnxruntime-cpu"), loaded(deep, "torch-eager")
    name = plain.signature.inputs[0].name
    names = [spec.name for spec in deep.signature.inputs]
    run = session_call(ort_found, {name: x.numpy()})
    deep_run = session_call(deep_found, dict(zip(names, (a.numpy(), b.numpy()), strict=True)))
    as_numpy = x.numpy()
    return [
        Case("ONNX Runtime, numpy in and out", lambda: ort(as_numpy), run, FLAT),
        Case("ONNX Runtime, torch in and out", lambda: ort(x), run, FLAT),
        Case("ONNX Runtime, nested, torch in and out", lambda: deep_ort(given), deep_run, NESTED),
        Case("torch eager, torch in and out", lambda: eager(x), eager_call(model, x), FLAT),
        Case("torch eager, nested", lambda: deep_eager(given), eager_call(tree, given), NESTED),
    ]


def block(call: Callable[[], object]) -> float:
    """Seconds of a call, over a block."""
    began = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - began) / CALLS


def compare(ours: Callable[[], object], raw: Callable[[], object], blocks: int) -> tuple[Estimate, Estimate, Estimate]:
    """Seconds of the raw call, what ours adds to it, and the ratio, from pairs of blocks in random order."""
    order = random.Random(0)
    times: dict[Callable[[], object], list[float]] = {ours: [], raw: []}
    for call in times:
        block(call)
    gc.collect()
    gc.disable()
    try:
        for _ in range(blocks):
            for call in order.sample((ours, raw), 2):
                times[call].append(block(call))
            gc.collect(0)
    finally:
        gc.enable()
    added = median([a - b for a, b in zip(times[ours], times[raw], strict=True)])
    return median(times[raw]), added, ratio(times[ours], times[raw])


def main() -> None:
    asked = common.arguments(__doc__)
    others = common.others()
    torch.set_num_threads(1)
    blocks = 10 if asked.quick else 2000
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
        rows = []
        for case in cases(Path(folder)):
            alone, added, times = compare(case.ours, case.raw, blocks)
            held = f"{case.target:.0f}: {'yes' if added.high * 1e6 <= case.target else 'NO'}"
            rows.append(
                [case.name, common.shown(alone, 1e6, 1), common.shown(added, 1e6, 1), held, common.shown(times)]
            )
    about = (
        f"Microseconds of a call, medians over {blocks} pairs of blocks of {CALLS} calls with their 95 % intervals; "
        "what is added is the median of the pairs' differences, and its upper end is held against the target. "
        "A linear layer of 16 by 8 on 2 rows, one thread."
    )
    columns = ("candidate", "raw µs [95 %]", "added µs [95 %]", "target: held", "candidate / raw [95 %]")
    common.finish([Table("Overhead of a loaded candidate's call", about, columns, rows)], asked, others)


if __name__ == "__main__":
    main()
