"""The benchmarks still run. What they measure is no test: nothing here looks at a time."""

from __future__ import annotations

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


LONG = pytest.param("memory.py", marks=pytest.mark.long)


@pytest.mark.parametrize("script", ["imports.py", "planning.py", "call_overhead.py", "large_model.py", LONG])
def test_a_benchmark_prints_its_table_and_says_that_quick_is_no_result(script, tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / script, "--quick"], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## "), "a heading, then the table"
    assert "| --- |" in done.stdout
    assert "a smoke test, no result" in done.stdout


def test_importing_and_finding_plugins_imports_nothing_heavy(monkeypatch):
    imports = benchmark(monkeypatch, "imports")
    for code in (imports.IMPORT, imports.DISCOVERY, imports.COLD):
        assert imports.told(code)["heavy"] == []


def test_a_contender_gives_its_processs_median_once_a_round_and_the_others_stand_still(monkeypatch, tmp_path):
    turns = benchmark(monkeypatch, "turns")
    (tmp_path / "sleepers.py").write_text(
        "import time\n\ndef sleeper(seconds):\n    return lambda i: time.sleep(seconds)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    contenders = [turns.Contender(str(ms), "sleepers:sleeper", {"seconds": ms / 1000}) for ms in (2, 8)]
    found = turns.run(contenders, rounds=2, seconds=0.1)
    assert [len(times) for times in found.values()] == [2, 2]
    assert min(found["2"]) >= 0.002
    assert min(found["8"]) >= 0.008


def test_a_contender_that_dies_says_which_it_was(monkeypatch):
    turns = benchmark(monkeypatch, "turns")
    with pytest.raises(RuntimeError, match="the dying ended with exit code"):
        turns.run([turns.Contender("the dying", "sys:exit", {})], rounds=1, seconds=0.1)


def test_the_calls_of_a_slices_first_third_are_dropped(monkeypatch):
    turns = benchmark(monkeypatch, "turns")
    assert doctest.testmod(turns).failed == 0
    now = iter([0.0, 0.0, 1.0, 1.0, 3.0, 3.0, 3.5, 3.5, 6.5])  # calls of 1, 2, 0.5 and 3; the third begins at 3 of 6
    assert turns.measure_slice(lambda i: None, 6.0, clock=lambda: next(now)) == pytest.approx(1.75)


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((1.00, 0.96, 1.04), "yes"),
        ((0.99, 0.94, 1.04), "undecided"),
        ((0.90, 0.86, 0.94), "NO"),
    ],
)
def test_a_verdict_is_what_the_interval_says(monkeypatch, interval, said):
    from navigator_core.results import Estimate

    assert benchmark(monkeypatch, "winner").met(Estimate(*interval)) == said


@pytest.mark.parametrize(
    ("there", "more"),
    [
        ((), set()),
        (("openvino",), {"OpenVINO", "OpenVINO, bf16"}),
        (("openvino", "nncf"), {"OpenVINO", "OpenVINO, bf16", "OpenVINO, int8 by NNCF"}),
    ],
)
def test_openvino_by_hand_takes_part_where_it_is_installed(monkeypatch, tmp_path, there, more):
    winner = benchmark(monkeypatch, "winner")
    made = []
    monkeypatch.setattr(winner.common, "call_fresh", lambda function, **given: made.append(function))
    monkeypatch.setattr(winner, "installed_version", lambda name: "1" if name in there else None)
    found = winner.by_hand("mlp", 1, tmp_path)
    assert {one.name for some in found.values() for one in some if "OpenVINO" in one.name} == more
    assert ("models:quantize_by_nncf" in made) == ("nncf" in there)
    assert {one.build for one in found["fp32"]} >= {"contenders:eager", "contenders:onnxruntime"}


def test_results_are_appended_to_the_file_of_the_day_and_machine(monkeypatch, tmp_path):
    common = benchmark(monkeypatch, "common")
    monkeypatch.setattr(common, "RESULTS", tmp_path / "results")
    table = common.Table("A title", "About it.", ("a", "b"), [["1", "2|3"]])
    path = common.append(table.markdown())
    common.append(table.markdown())
    text = path.read_text()
    assert text.count("- CPU: ") == 1
    assert text.count("## A title\n\nAbout it.\n\n| a | b |\n| --- | --- |\n| 1 | 2/3 |\n") == 2


def test_overhead_is_what_the_work_by_hand_the_imports_and_the_measuring_do_not_explain(monkeypatch):
    overhead = benchmark(monkeypatch, "optimize_overhead")
    frameworks = [overhead._frameworks(preload) for preload in ((), ("navigator_onnx.run",), ("navigator_torch.run",))]
    assert frameworks == [[], ["onnxruntime"], ["torch"]]
    run = {
        "seconds": 50.0,
        "spent": {"export": 9.0, "verify": 8.0, "profile": 10.0, "playoff": 10.0},
        "frameworks": ["torch", "torch", "onnxruntime"],
        "sizes": [2, 1],
        "failed": [],
    }
    table = overhead.table(run, {"trace": 2.0, "compile": 12.0}, {"torch": 2.5, "onnxruntime": 1.0})
    rows = dict(table.rows)
    assert rows["imports, one for each worker (1 of onnxruntime, 2 of torch)"] == "6.0"
    assert rows["all of this"] == "40.0"
    assert rows["**overhead**"] == "**+25%** (target 25%: yes)"
    assert rows["overhead, the playoff left out of both"] == "+33%"


def benchmark(monkeypatch, name):
    """A module of the benchmarks' folder, as it finds itself when it runs as a script."""
    import importlib

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for other in ("common", "models", "turns", "imports", "winner", "contenders", "optimize_overhead"):
        monkeypatch.delitem(sys.modules, other, raising=False)
    return importlib.import_module(name)
