"""Mistakes in networks of torch are caught, and honest architectures go by every path; takes minutes."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FAMILIES = ("perceptron", "convnet", "encoder", "recurrent")
ARCHITECTURES = (
    *FAMILIES, "autoencoder", "separable", "unet", "vision", "decoder", "mixer", "temporal", "wide", "attentive",
)  # fmt: skip


@pytest.fixture
def mutants_torch(monkeypatch):
    import torch

    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    yield importlib.import_module("mutants_torch")
    torch.set_num_threads(threads)


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_wrong_is_caught_and_what_is_honest_is_taken(mutants_torch, tmp_path, family):
    trial = mutants_torch.trial(family, tmp_path)
    found = [trial.of(way, honest) for way, honest in trial.ways()]
    assert [f"{one.way}: {one.effect:.3g}, {one.reason}" for one in found if one.mistaken] == []
    assert len({one.way for one in found if not one.honest and one.caught}) > 30
    assert sum(one.honest for one in found) > 5


@pytest.mark.long
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_honest_conversion_is_refused(mutants_torch, tmp_path, name):
    found = mutants_torch.optimize(name, str(tmp_path / "workspace"))
    wrong = [row for row in found if row[1] == "fp32" and row[2] == "incorrect"]
    assert wrong == []
    assert sum(row[2] == "ok" for row in found) > 3


@pytest.mark.long
def test_the_families_and_architectures_are_those_that_are_tried(mutants_torch):
    assert mutants_torch.MISTAKEN == FAMILIES
    assert tuple(mutants_torch.NETS) == ARCHITECTURES


@pytest.mark.long
def test_the_benchmark_prints_its_tables(tmp_path):
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "mutations.py", "--quick"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("## Wrong conversions and honest ones\n")
    assert "## Each way by itself" in done.stdout
    assert "a smoke test, no result" in done.stdout
