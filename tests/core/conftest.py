"""What several modules of these tests share: reviewed golden files, and short runs in a workspace of their own."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `zip_records` beside the tests: importlib mode adds no path

import pytest
from hypothesis import settings

from navigator_core import optimize as engine
from navigator_core import request

from . import faults

settings.register_profile("unhurried", deadline=None)  # whatever else the machine does
settings.load_profile("unhurried")

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden():
    """Compares a text with a reviewed file; ``NAVIGATOR_GOLDEN=write`` writes it, for a person to review."""

    def compare(name, text):
        path = GOLDEN / name
        if os.environ.get("NAVIGATOR_GOLDEN") == "write":
            path.write_text(text.rstrip() + "\n")
        assert text.rstrip() == path.read_text().rstrip()

    return compare


@pytest.fixture(scope="module")
def importable():
    """What lies beside the tests, where workers find it only if we say so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parent)
        yield


@pytest.fixture
def optimize(tmp_path, monkeypatch):
    """`navigator.optimize` with next to no time for measuring; what is not given is as short as it can be."""
    monkeypatch.setenv("NAVIGATOR_PROGRESS", "0")

    def run(model, samples, **asked):
        asked = {"workspace": tmp_path / "workspace", "seconds": 0.02, "batch_sizes": [1, 2], **asked}
        return engine.optimize(model, samples, request.checked(**asked))

    return run


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where `faults` runs: its workspace, what it counts and what it is to do wrong."""
    return placed(tmp_path, monkeypatch)


def placed(folder, patch):
    """Workers find the plugin beside this file only if we say so."""
    patch.setenv("FAULTY", str(folder))
    patch.setenv("NAVIGATOR_PROGRESS", "0")
    patch.syspath_prepend(Path(__file__).parent)
    return folder


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    """What comes of a run in which nothing goes wrong."""
    with pytest.MonkeyPatch.context() as patch:
        folder = placed(tmp_path_factory.mktemp("undisturbed"), patch)
        found = faults.summary(faults.optimize(folder / "workspace"))
        assert faults.done(folder) == faults.ONCE
        assert faults.begun(folder)["source eager"] == faults.ASKED
    assert {one["status"] for one in found["candidates"].values()} == {"ok"}
    assert found["best"].endswith("[fp32] @ mini-runtime")
    return found
