"""What memory exporting a large torch model and saving and loading large packages take, parent and worker together.

A page that several processes map is counted once (the kernel's proportional set size), and so is a model that a worker
maps from the file it was shipped in. What the page cache holds beside that is not counted: it is given back on demand.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import common
import large_model
import numpy as np
from common import Table
from watched import Watched

import navigator as nav
from navigator_core.events import Event, StepFinished, StepStarted
from navigator_core.memory import PeakMemory

MIB, GIB = 2**20, 2**30
ABOVE_EXPORTER = 1.5 * GIB
APART = 100 * 10**6
WIDTH = 4096
"""Rows and columns of the torch model's layers: 64 MiB each."""
PACKED_WIDTH = 2560
"""The same of the models in packages: 26 MB each."""
EXPORTS = ("torch->onnx[dynamo]", "torch->exported-program", "torch->torchscript[trace]")


def together(family: Sequence[int]) -> int:
    """Bytes of these processes, shared pages counted once."""
    return sum(map(proportional, family))


def proportional(pid: int) -> int:
    """A process' share of the pages that it maps; none where it ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def torch_model(layers: int, width: int) -> tuple[Any, Any]:
    """A chain of linear layers with its input; the weights are written once, so they are all in memory."""
    import torch

    torch.manual_seed(0)
    parts: list[Any] = []
    for _ in range(layers):
        layer = torch.nn.Linear(width, width, bias=False)
        torch.nn.init.normal_(layer.weight, std=(2 / width) ** 0.5)
        parts += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*parts).eval(), torch.randn(2, width)


def export_by_hand(export: str, layers: int, width: int) -> int:
    """In a fresh process: the peak of the model and its exporter, called as its documentation shows it."""
    import torch

    model, x = torch_model(layers, width)
    axes = ({0: torch.export.Dim.DYNAMIC},)
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as name, Watched(together) as family, torch.no_grad():
        folder = Path(name)
        if "onnx" in export:
            torch.onnx.export(model, (x,), folder / "model.onnx", dynamic_shapes=axes, dynamo=True, verbose=False)
        elif "exported-program" in export:
            torch.export.save(torch.export.export(model, (x,), dynamic_shapes=axes), folder / "model.pt2")
        else:
            torch.jit.trace(model, x).save(str(folder / "model.pt"))
        return family.peak()


def export_by_navigator(layers: int, width: int) -> dict[str, tuple[str, int]]:
    """In a fresh process: how each step of `navigator.optimize` ended, and the family's peak in it."""
    model, x = torch_model(layers, width)
    found: dict[str, tuple[str, int]] = {}

    def observe(event: Event) -> None:
        if isinstance(event, StepStarted):
            family.peak()
        elif isinstance(event, StepFinished) and event.stage in ("export", "convert"):
            found[event.step] = (event.reason or event.status, family.peak())

    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder, Watched(together) as family:
        nav.optimize(
            model,
            [x[:1], x],
            targets=("onnx", "exported-program", "torchscript"),
            runners=("onnxruntime-cpu", "exported-program", "torchscript"),
            batch_sizes=(1,),
            workspace=Path(folder) / "workspace",
            observe=observe,
        )
    return found


def packages(layers: int, width: int, folder: str) -> dict[str, int]:
    """In a fresh process: the weights' bytes, and the peak while a package that holds them is saved.

    The report is a real one, of a model with one layer; its artifact is then exchanged for a deeper one.
    """
    here = Path(folder)
    large_model.write(here / "model.onnx", width, 1)
    x = np.ones((2, width), np.float32)
    report = nav.optimize(
        here / "model.onnx",
        [x[:1], x],
        runners=("onnxruntime-cpu",),
        targets=("onnx",),
        batch_sizes=(1,),
        workspace=here / "workspace",
    )
    stored = next(candidate.path for candidate in report.candidates if candidate.path)
    assert stored is not None
    for file in stored.parent.glob("*.data"):
        file.unlink()
    size = large_model.write(here / "deep.onnx", width, layers)
    shutil.move(here / "deep.onnx", stored)
    shutil.move(here / "deep.onnx.data", stored.parent / "deep.onnx.data")
    with PeakMemory() as memory:
        began = time.perf_counter()
        report.save(here / "model.nav")
        seconds = time.perf_counter() - began
    shutil.rmtree(here / "workspace")
    return {"size": size, "saved": memory.peak, "seconds": round(seconds)}


def open_package(folder: str) -> dict[str, int]:
    """In a fresh process: the peak while the package is opened, and then while its model is loaded and called."""
    import onnxruntime  # noqa: F401  (what an import takes is not the package's)

    path = Path(folder) / "model.nav"
    with PeakMemory() as opened:
        package = nav.load(path)
    with PeakMemory() as run, package.load() as model:
        model(package.samples[0].args[0] if package.samples[0].args else next(iter(package.samples[0].kwargs.values())))
    return {"opened": opened.peak, "run": run.peak}


def export_rows(layers: int, width: int) -> list[list[str]]:
    found = common.call_fresh("memory:export_by_navigator", layers=layers, width=width)
    rows = []
    for export in EXPORTS:
        by_hand = common.call_fresh("memory:export_by_hand", export=export, layers=layers, width=width)
        outcome, peak = found.get(export, ("not tried", 0))
        above = peak - by_hand
        met = "met" if outcome == "ok" and above <= ABOVE_EXPORTER else "NO"
        rows.append([export, outcome, *(f"{number / GIB:.2f}" for number in (by_hand, peak, above)), met])
        common.note(" | ".join(rows[-1]))
    return rows


def package_rows(sizes: tuple[int, int], width: int) -> list[list[str]]:
    found = []
    for layers in sizes:
        with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
            saved = common.call_fresh("memory:packages", layers=layers, width=width, folder=folder)
            found.append({**saved, **common.call_fresh("memory:open_package", folder=folder)})
        common.note(str(found[-1]))
    rows = [[shown(one["size"]), *(shown(one[what]) for what in ("saved", "opened", "run"))] for one in found]
    apart = [found[1][what] - found[0][what] for what in ("saved", "opened")]
    verdicts = [f"{shown(bytes_)}: {'met' if bytes_ <= APART else 'NO'}" for bytes_ in apart]
    return [*rows, ["difference", *verdicts, ""]]


def shown(size: int) -> str:
    return f"{size / 10**6:,.0f} MB"


def main() -> None:
    asked = common.arguments(__doc__, more=_parts)
    others = common.others()
    layers, sizes = (2, (1, 2)) if asked.quick else (asked.layers, (4, 80))
    width, packed_width = (256, 256) if asked.quick else (WIDTH, PACKED_WIDTH)
    tables = []
    if asked.part != "packages":
        about = (
            f"A chain of {layers} linear layers, {layers * width * width * 4 / GIB:.2f} GiB, by the exporter "
            "alone in a fresh process, and as a step of `navigator.optimize`: the process that holds the model, the "
            "worker, and whatever else runs, together. GiB. Target: at most 1.5 GiB above the exporter's own need."
        )
        columns = ("export", "outcome", "by hand", "navigator", "above", "target")
        tables.append(Table("Memory of an export", about, columns, export_rows(layers, width)))
    if asked.part != "export":
        about = (
            "What a process takes above what it held before, while `report.save` and `nav.load` run on packages of two "
            "sizes, and while the model is then loaded and called once by ONNX Runtime, whose weights are mapped "
            "(mapped pages count). Target: the two sizes are at most 100 MB apart in saving and opening."
        )
        heads = ("weights", "save", "open", "load the model and call it")
        tables.append(Table("Memory of a package", about, heads, package_rows(sizes, packed_width)))
    common.finish(tables, asked, others)


def _parts(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layers", type=int, default=16, help="layers of 64 MiB in the model to export (16: 1 GiB)")
    parser.add_argument("--part", choices=("both", "export", "packages"), default="both", help="one of the tables only")


if __name__ == "__main__":
    main()
