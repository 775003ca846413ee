"""Models whose weights exceed 2 GiB, the most that one message of protobuf holds: real ones, so they take minutes."""

import importlib
import shutil
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

import navigator as nav
from navigator_core.memory import PeakMemory

pytestmark = pytest.mark.long

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
GB = 10**9
MOST = 100 * 10**6
"""Bytes that saving or opening a package may take, whatever its size."""


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name in ("memory", "large_model", "common"):
        sys.modules.pop(name, None)


@pytest.fixture(autouse=True)
def room(tmp_path):
    """What these tests need, and nothing of it left behind: a later test may need the disk."""
    free, memory = shutil.disk_usage(tmp_path).free, psutil.virtual_memory().available
    if free < 20 * GB or memory < 14 * GB:
        pytest.skip(f"needs 20 GB of disk and 14 GB of memory; here are {free / GB:.0f} and {memory / GB:.0f}")
    yield
    shutil.rmtree(tmp_path)


def packed(report, x, path, capsys):
    """The report saved, opened and its best called on ``x``, with what that took."""
    with PeakMemory() as saving:
        report.save(path)
    with PeakMemory() as opening:
        package = nav.load(path)
    with PeakMemory() as running, package.load() as model:
        found = model(x)
    with capsys.disabled():
        peaks = ", ".join(
            f"{what} {memory.peak / 10**6:,.0f} MB"
            for what, memory in (("saving", saving), ("opening", opening), ("loading and calling", running))
        )
        print(f"\n{path.stat().st_size / GB:.2f} GB in {path.name}; peak memory above before: {peaks}")
    assert saving.peak < MOST
    assert opening.peak < MOST
    return package, found


def test_three_gigabytes_of_onnx_go_through_a_run_and_a_package(benchmark, tmp_path, capsys):
    size = benchmark("large_model").write(tmp_path / "large.onnx", 8192, 12)
    assert size > 3 * GB
    x = np.random.default_rng(1).standard_normal((2, 8192), np.float32)
    report = nav.optimize(
        tmp_path / "large.onnx",
        [x[:1], x],
        runners=("onnxruntime-cpu",),
        targets=("onnx",),
        batch_sizes=(1,),
        objective=nav.Objective(minimize="size"),
        workspace=tmp_path / "workspace",
    )
    assert {c.status for c in report.candidates if c.runner == "onnxruntime-cpu"} <= {"ok", "skipped"}
    package, found = packed(report, x, tmp_path / "large.nav", capsys)
    beside = [path for path in package.best.path.parent.iterdir() if path.suffix == ".data"]
    assert sum(path.stat().st_size for path in beside) == size
    np.testing.assert_allclose(found["y"], package.references[1]["y"], rtol=1e-3, atol=1e-4)


def test_a_torch_model_above_two_gigabytes_is_exported_with_its_weights_beside(benchmark, tmp_path, capsys):
    model, x = benchmark("memory").torch_model(36, 4096)
    report = nav.optimize(
        model, [x[:1], x], runners=("onnxruntime-cpu",), targets=("onnx",), batch_sizes=(1,), workspace=tmp_path / "w"
    )
    exported = next(c for c in report.candidates if c.name == "torch->onnx[dynamo] @ onnxruntime-cpu")
    assert exported.status == "ok", exported.reason
    assert (exported.path.parent / "model.onnx.data").stat().st_size >= 36 * 2**26
    assert exported.path.stat().st_size < 10**6
    package, found = packed(report, x.numpy(), tmp_path / "large.nav", capsys)
    np.testing.assert_allclose(found, package.references[1], rtol=1e-3, atol=1e-4)
