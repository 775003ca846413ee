"""What `navigator.optimize` costs beyond the work it is for: the raw exports and compilations, and the measuring.

The same exports and the same compilations are made by hand in fp32, each in a fresh process: `torch.jit.trace` and
`torch.jit.script` with their `save`, frozen and optimized for inference; `torch.onnx.export`, with dynamo, of the trace
and of the script, each simplified by onnxslim; `torch.export` and AOTInductor; and the first calls of `torch.compile`,
plain and with freezing, at every batch size at which Navigator calls it, with the batch marked as dynamic. To their
seconds come those that Navigator's own events call measuring (a candidate from "profile" to its end, and the playoff),
and one import of the framework for each worker it starts. Everything else is overhead: shipping the model, the
reference and the truth, verification, loading, waiting for processes. Target: at most 25 % of the rest.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import common
from common import Table

TARGET = 0.25
BATCHES = (1, 8)
MODEL = "convnet"


def optimize(workspace: str, batches: list[int]) -> dict[str, Any]:
    """One call in this process: its seconds, what its events tell of them, its workers, and its batch sizes."""
    import models

    import navigator as nav
    from navigator_core import execution
    from navigator_core.events import Event, StepFinished, StepStarted

    spent = {"export": 0.0, "verify": 0.0, "profile": 0.0, "playoff": 0.0}
    since: dict[str, tuple[str, float]] = {}
    workers: list[execution.Kind] = []
    launch = execution.launch

    def counted(kind: execution.Kind) -> Any:
        workers.append(kind)
        return launch(kind)

    def observe(event: Event) -> None:
        if isinstance(event, StepStarted | StepFinished):
            if event.step in since:
                stage, began = since.pop(event.step)
                spent[stage] = spent.get(stage, 0.0) + event.elapsed - began
            if isinstance(event, StepStarted):
                since[event.step] = event.stage, event.elapsed

    made, samples = models.make(MODEL), models.samples(MODEL)
    execution.launch = counted
    began = time.perf_counter()
    asked = {"precisions": ["fp32"], "runners": [name for name in nav.runners() if not name.startswith("example")]}
    report = nav.optimize(made, samples, batch_sizes=batches, workspace=workspace, observe=observe, **asked)
    seconds = time.perf_counter() - began
    failed = [f"{c.name}: {c.status}: {c.reason}" for c in report.candidates if c.status in ("failed", "incorrect")]
    return {
        "seconds": seconds,
        "spent": spent,
        "frameworks": [framework for kind in workers for framework in _frameworks(kind.preload)],
        "sizes": list(dict.fromkeys(batch.size for batch in report.reference.batches)),
        "failed": failed,
    }


def _frameworks(preload: Sequence[str]) -> list[str]:
    """What a worker that imports these of our modules imports by way of them."""
    brings = {"navigator_torch": "torch", "navigator_onnx": "onnxruntime"}
    return sorted({brings[name] for module in preload if (name := module.partition(".")[0]) in brings})


def imported(framework: str) -> float:
    """Seconds of importing a framework, here for the first time."""
    began = time.perf_counter()
    import_module(framework)
    return time.perf_counter() - began


def by_hand(how: str, folder: str, sizes: list[int]) -> dict[str, float]:
    """The seconds of one piece of work, done with the tool's own functions, and of importing torch before that."""
    import_seconds = imported("torch")
    import models
    import torch

    work = WORK[how]
    model, path = models.make(MODEL), str(Path(folder) / how)
    inputs = {size: models.inputs(MODEL, size) for size in sizes}
    began = time.perf_counter()
    with torch.no_grad():
        work(model, path, inputs)
    return {"import": import_seconds, "work": time.perf_counter() - began}


def _trace(model: Any, path: str, inputs: dict[int, Any]) -> None:
    _optimized(_traced(model, inputs), path)


def _script(model: Any, path: str, inputs: dict[int, Any]) -> None:
    import torch

    _optimized(torch.jit.script(model), path)


def _traced(model: Any, inputs: dict[int, Any]) -> Any:
    import torch

    return torch.jit.trace(model, tuple(next(iter(inputs.values())).values()), check_trace=False)


def _optimized(module: Any, path: str) -> None:
    import torch

    torch.jit.save(module, path)
    torch.jit.freeze(torch.jit.load(path))
    torch.jit.optimize_for_inference(torch.jit.load(path))


def _onnx(model: Any, path: str, inputs: dict[int, Any]) -> None:
    import torch

    example = next(given for size, given in inputs.items() if size > 1)
    axes = {name: {0: torch.export.Dim("batch")} for name in example}
    torch.onnx.export(
        model, (), f"{path}.onnx", kwargs=example, dynamo=True, dynamic_shapes=axes, verbose=False, external_data=False
    )
    _slim(path)


def _onnx_of_trace(model: Any, path: str, inputs: dict[int, Any]) -> None:
    _onnx_by_torchscript(_traced(model, inputs), path, inputs)


def _onnx_of_script(model: Any, path: str, inputs: dict[int, Any]) -> None:
    import torch

    _onnx_by_torchscript(torch.jit.script(model), path, inputs)


def _onnx_by_torchscript(module: Any, path: str, inputs: dict[int, Any]) -> None:
    import torch

    example = next(given for size, given in inputs.items() if size > 1)
    names = list(example)
    torch.onnx.export(
        module,
        tuple(example.values()),
        f"{path}.onnx",
        dynamo=False,
        opset_version=20,
        input_names=names,
        dynamic_axes={name: {0: "batch"} for name in names},
    )
    _slim(path)


def _slim(path: str) -> None:
    import onnxslim

    onnxslim.slim(f"{path}.onnx", f"{path}-slim.onnx")


def _ahead(model: Any, path: str, inputs: dict[int, Any]) -> None:
    import torch

    example = next(given for size, given in inputs.items() if size > 1)
    axes = {name: {0: torch.export.Dim.DYNAMIC} for name in example}
    program = torch.export.export(model, (), example, dynamic_shapes=axes)
    torch.export.save(program, f"{path}.pt2")
    settings = {"freezing": True}
    torch._inductor.aoti_compile_and_package(program, package_path=f"{path}-aot.pt2", inductor_configs=settings)


def _compile(model: Any, path: str, inputs: dict[int, Any], **settings: Any) -> None:
    import torch

    compiled = torch.compile(model, **settings)
    with torch.inference_mode():
        for number, given in enumerate(inputs.values()):
            for tensor in given.values() if number == 0 else ():
                torch._dynamo.maybe_mark_dynamic(tensor, 0)
            compiled(**given)


def _freeze(model: Any, path: str, inputs: dict[int, Any]) -> None:
    _compile(model, path, inputs, options={"freezing": True})


WORK = {
    "trace": _trace,
    "script": _script,
    "onnx, dynamo": _onnx,
    "onnx of the trace": _onnx_of_trace,
    "onnx of the script": _onnx_of_script,
    "ahead of time": _ahead,
    "compile": _compile,
    "compile, freezing": _freeze,
}


def ratio(wall: float, work: float) -> float:
    """How much is spent beyond the work, as a share of it.

    >>> ratio(125.0, 100.0)
    0.25
    """
    return wall / work - 1


def table(run: dict[str, Any], raw: dict[str, float], imports: dict[str, float]) -> Table:
    """Where the seconds went, and what is left over."""
    spent = run["spent"]
    workers = {name: run["frameworks"].count(name) for name in sorted(imports)}
    importing = sum(count * imports[name] for name, count in workers.items())
    rows = [[f"{how}, by hand", f"{seconds:.1f}"] for how, seconds in raw.items()]
    counted = ", ".join(f"{count} of {name}" for name, count in workers.items())
    rows += [[f"imports, one for each worker ({counted})", f"{importing:.1f}"]]
    rows += [["measuring, as the events tell it", f"{spent['profile']:.1f}"]]
    rows += [["the playoff, as the events tell it", f"{spent['playoff']:.1f}"]]
    work = sum(raw.values()) + importing + spent["profile"] + spent["playoff"]
    over, less = ratio(run["seconds"], work), ratio(run["seconds"] - spent["playoff"], work - spent["playoff"])
    rows += [["all of this", f"{work:.1f}"], ["**`optimize`**", f"**{run['seconds']:.1f}**"]]
    met = "yes" if over <= TARGET else "NO"
    rows += [["**overhead**", f"**{over:+.0%}** (target {TARGET:.0%}: {met})"]]
    rows += [["overhead, the playoff left out of both", f"{less:+.0%}"]]
    rows += [["in it: exports, from start to end of their steps", f"{spent['export']:.1f}"]]
    rows += [["in it: candidates, until they were loaded and checked", f"{spent['verify']:.1f}"]]
    rows += [["failed or incorrect", "; ".join(run["failed"]) or "none"]]
    sizes = ", ".join(map(str, run["sizes"]))
    about = (
        f"Seconds on the {MODEL}, by every path in fp32; batches of {sizes} by hand as in Navigator's check. Both find "
        "inductor's cache empty but for its precompiled headers."
    )
    return Table("Overhead of optimize", about, ("what", "s"), rows)


def main() -> None:
    asked = common.arguments(__doc__)
    others = common.others()
    with tempfile.TemporaryDirectory(prefix="navigator-bench-") as folder:

        def fresh(name: str, function: str, **given: Any) -> Any:
            """In a process of its own; what is by hand shares one cache of inductor's, as the steps of a run do."""
            common.note(name)
            whose = "ours" if name == "optimize" else "hand"
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(folder) / f"inductor-{whose}")
            if name in ("optimize", "ahead of time"):  # the first into each
                common.call_fresh("optimize_time:warm")
            return common.call_fresh(function, **given)

        workspace = str(Path(folder) / "workspace")
        batches = [1] if asked.quick else list(BATCHES)
        run = fresh("optimize", "optimize_overhead:optimize", workspace=workspace, batches=batches)
        given = {"folder": folder, "sizes": run["sizes"]}
        found = {how: fresh(how, "optimize_overhead:by_hand", how=how, **given) for how in WORK}
        imports = {name: fresh(name, "optimize_overhead:imported", framework=name) for name in ("onnxruntime",)}
    imports["torch"] = statistics.median(one["import"] for one in found.values())
    common.finish([table(run, {how: one["work"] for how, one in found.items()}, imports)], asked, others)


if __name__ == "__main__":
    main()
