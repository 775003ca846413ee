"""A format may say what its files are in higher precision: then errors are measured against that."""

import json
from pathlib import Path

import numpy as np
import pytest

import navigator as nav
from navigator_core import Dim, Format, LoadedModel, Ref, Runner, Signature, TensorSpec, hookimpl, testing

HERE = "test_truth_of_files"
X = TensorSpec("x", "float32", (Dim("batch"), 3))


@hookimpl
def identify_model(model):
    return "thirds" if str(model).endswith(".thirds") else None


@hookimpl
def declare_formats():
    return [
        Format(
            name="thirds",
            file="model.thirds",
            signature=Ref(f"{HERE}:signature"),
            reference="thirds",
            truth=Ref(f"{HERE}:truth"),
            noise=Ref(f"{HERE}:noise"),
        )
    ]


@hookimpl
def declare_runners():
    return [Runner(name="thirds", formats=("thirds",), implementation=Ref(f"{HERE}:load"))]


def signature(path):
    return Signature((X,), (TensorSpec("y", "float32", (Dim("batch"), 3)),))


def truth(source, output):
    told = json.loads(source.read_text())
    if told["double"] is None:
        raise ValueError("made of text")
    output.write_text(json.dumps({**told, "dtype": "float64", "factor": told["double"]}))


def noise(source, output):
    told = json.loads(source.read_text())
    moved = float(np.nextafter(np.float32(told["factor"]), np.float32(1)))
    output.write_text(json.dumps({**told, "factor": moved}))


def load(path, options, context):
    told = json.loads(Path(path).read_text())
    factor = np.dtype(told["dtype"]).type(told["factor"])
    assert context.signature.inputs[0].dtype == told["dtype"]
    return LoadedModel(lambda inputs: {"y": inputs["x"] * factor})


@pytest.fixture
def report(optimize, tmp_path, importable):
    def report(double):
        path = tmp_path / "model.thirds"
        path.write_text(json.dumps({"dtype": "float32", "factor": 1 / 3, "double": double}))
        with testing.using(__import__(HERE)):
            return optimize(path, {"x": np.random.default_rng(0).random((2, 3), np.float32)})

    return report


def test_the_file_in_float64_is_the_truth_and_what_the_source_is_off_it_its_noise(report):
    found = report(1 / 3)
    assert found.reference.truth == "the source in float64"
    assert 1e-9 < found.reference.noise["y"].relative_l2 < 1e-6
    assert found.best.runner == "thirds"


def test_a_file_that_is_another_function_in_float64_is_its_own_truth(report):
    found = report(0.4)
    assert found.reference.truth.startswith("the source itself, its error shown by moving its weights")
    assert any("in float64 the source computes something else" in note for note in found.notes)


def test_a_file_that_cannot_be_written_so_is_its_own_truth_and_the_report_says_why(report):
    found = report(None)
    assert found.reference.truth.startswith("the source itself")
    assert any("no truth in float64 (ValueError: made of text)" in note for note in found.notes)
    assert isinstance(found, nav.Report)
