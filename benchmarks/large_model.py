"""What an .onnx file whose weights exceed 2 GiB, the most that one message of protobuf holds, takes at each step.

The file keeps its weights beside it, as exporters write such models. It is read, copied, run, simplified, converted to
half precision and quantized by `navigator.optimize`; the best is put into a package, and loaded from it. Needs five
times the weights' size on disk and about four times in memory.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import common
import numpy as np
import onnx
from common import Table
from onnx import TensorProto, helper
from watched import Watched

import navigator as nav
from navigator_core.events import Event, RunStarted, StepFinished

GIB = 2**30


def write(path: Path, width: int, layers: int) -> int:
    """A chain of ``layers`` products by square matrices, written one at a time; the bytes of its weights."""
    rng = np.random.default_rng(0)
    nodes, weights, offset, here = [], [], 0, "x"
    with path.with_name(f"{path.name}.data").open("wb") as file:
        for number in range(layers):
            array = rng.standard_normal((width, width), np.float32) * np.float32(np.sqrt(2 / width))
            file.write(array.tobytes())
            tensor = TensorProto(name=f"w{number}", data_type=TensorProto.FLOAT, dims=array.shape)
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", file.name), ("offset", offset), ("length", array.nbytes)):
                tensor.external_data.add(key=key, value=Path(str(value)).name)
            weights.append(tensor)
            offset += array.nbytes
            after = f"h{number}" if number < layers - 1 else "y"  # of any depth, it has the same names
            nodes += [
                helper.make_node("MatMul", [here, f"w{number}"], [f"product{number}"], name=f"product{number}"),
                helper.make_node("Identity", [f"product{number}"], [f"same{number}"], name=f"same{number}"),
                helper.make_node("Relu", [f"same{number}"], [after], name=f"relu{number}"),
            ]
            here = after
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", width]) for name in ("x", here))
    graph = helper.make_graph(nodes, "large", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    onnx.checker.check_model(str(path))
    return offset


def largest(family: Sequence[int]) -> int:
    """Bytes that the largest of these processes holds of its own, mapped files left out."""
    return max(map(own, family))


def own(pid: int) -> int:
    """Bytes that a process holds of its own; none where it ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def steps(width: int, layers: int, folder: Path) -> tuple[int, list[list[str]]]:
    """The bytes of the weights, and every step as a row."""
    rows: list[list[str]] = []
    size = write(folder / "large.onnx", width, layers)

    def row(step: str, seconds: float, status: str, reason: str | None = None) -> None:
        outcome = status if reason is None else f"{status}: {reason}"
        rows.append([step, outcome, f"{seconds:.1f}", f"{watched.peak() / size:.2f}"])
        common.note(" | ".join(rows[-1]))

    def observe(event: Event) -> None:
        if isinstance(event, RunStarted):
            row("read, copied, run, and run again with its weights moved", event.elapsed, "ok")
        elif isinstance(event, StepFinished):
            row(event.step, event.duration, event.status, event.reason)

    def timed(step: str, do: Callable[[], None]) -> None:
        began = time.perf_counter()
        do()
        row(step, time.perf_counter() - began, "ok")

    x = np.random.default_rng(1).standard_normal((3, width), np.float32)
    with Watched(largest) as watched:
        report = nav.optimize(
            folder / "large.onnx",
            [x[:1], x],
            runners=("onnxruntime-cpu",),
            targets=("onnx",),
            batch_sizes=(1,),
            objective=nav.Objective(minimize="size"),
            workspace=folder / "workspace",
            observe=observe,
        )
        common.note(str(report))
        package = folder / "large.nav"
        timed("saved as a package", lambda: report.save(package) and None)
        timed("read from the package and called", lambda: _call(nav.load(package), x))
    return size, rows


def _call(package: nav.Package, x: np.ndarray) -> None:
    with package.load() as model:
        model(x)


def main() -> None:
    asked = common.arguments(__doc__, more=_sizes)
    others = common.others()
    width, layers = (256, 3) if asked.quick else (asked.width, asked.layers)
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:
        size, rows = steps(width, layers, Path(folder))
    about = (
        f"{layers} products by square matrices, {size / GIB:.2f} GiB of weights beside the file. Memory is the most "
        "that one process held of its own (mapped files left out), in times of the weights' size."
    )
    columns = ("step", "outcome", "seconds", "memory / weights")
    common.finish([Table("A model above 2 GiB", about, columns, rows)], asked, others)


def _sizes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--width", type=int, default=8192, help="rows and columns of a matrix (8192: 256 MiB)")
    parser.add_argument("--layers", type=int, default=9, help="matrices (9: 2.25 GiB)")


if __name__ == "__main__":
    main()
