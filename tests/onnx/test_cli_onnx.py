"""An ONNX file from the command line, end to end; and everything that can be wrong with it."""

import json
import subprocess
import sys

import numpy as np
import onnx_models
import pytest
from click.testing import CliRunner
from onnx import TensorProto

from navigator_core.cli import commands

ONE = ("--batch-size", 1)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a model in it and samples for it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "150")
    onnx_models.write(tmp_path / "model.onnx", onnx_models.linear())
    np.savez(tmp_path / "samples.npz", x=np.random.default_rng(0).standard_normal((2, 3), np.float32))
    return tmp_path


def embedding():
    """Rows of a table of 50, masked: ids and mask are batch by seq."""
    nodes = [
        onnx_models.node("Gather", "table ids", "rows"),
        onnx_models.node("Cast", "mask", "float", to=TensorProto.FLOAT),
        onnx_models.node("Unsqueeze", "float last", "column"),
        onnx_models.node("Mul", "rows column", "y"),
    ]
    inputs = [onnx_models.value(name, ["batch", "seq"], TensorProto.INT64) for name in ("ids", "mask")]
    table = np.random.default_rng(0).standard_normal((50, 4), np.float32)
    outputs = [onnx_models.value("y", ["batch", "seq", 4])]
    return onnx_models.model(nodes, inputs, outputs, {"table": table, "last": np.array([-1])})


def navigator(*args, check):
    command = [sys.executable, "-m", "navigator_core.cli", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == check, done.stdout + done.stderr
    return done


def refused(*args):
    """The one message of a command that cannot be carried out."""
    done = CliRunner().invoke(commands, list(map(str, args)))
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix("error: ")


def test_a_file_is_optimized_saved_shown_and_profiled(desk):
    typed = ("--runner", "onnxruntime-cpu", "--option", "@onnxruntime-cpu.threads=1,2", "--minimize", "p50")
    done = navigator(
        "optimize", "model.onnx", *typed, "--samples", "samples.npz", *ONE, "--save", "model.nav", "--json", check=0
    )
    report = json.loads(done.stdout)
    tried = {one["name"] for one in report["candidates"] if one["status"] == "ok"}
    unchanged = {"onnx @ onnxruntime-cpu[threads=1]", "onnx @ onnxruntime-cpu[threads=2]"}
    assert {name for name in tried if not name.startswith("onnx->onnx")} == unchanged
    assert report["best"] in unchanged
    assert report["objective"]["minimize"] == "p50"

    assert f"best: {report['best']}" in navigator("show", "model.nav", check=0).stdout
    shown = json.loads(navigator("show", "model.nav", "--json", check=0).stdout)
    assert [one["name"] for one in shown["candidates"]] == [one["name"] for one in report["candidates"]]

    again = json.loads(
        navigator("optimize", "model.nav", "--runner", "onnxruntime-cpu", *ONE, "--json", check=0).stdout
    )
    assert again["best"] == "onnx @ onnxruntime-cpu"
    assert "holds its own samples" in refused("optimize", "model.nav", "--shape", "x:1x3")

    np.save(desk / "lone.npy", np.ones((2, 3), np.float32))
    done = navigator("profile", "model.onnx", "--samples", "lone.npy", *ONE, check=0)
    assert "* onnx @ onnxruntime-cpu" in done.stdout
    assert "made up" not in done.stdout


def test_a_folder_of_samples_is_several(desk):
    (desk / "samples").mkdir()
    for rows in (2, 3):
        np.savez(desk / "samples" / f"{rows:03}.npz", x=np.ones((rows, 3), np.float32) * rows)
    done = navigator("optimize", "model.onnx", "--samples", "samples", *ONE, "--json", check=0)
    (shape,) = [spec["shape"] for spec in json.loads(done.stdout)["signature"]["inputs"]]
    assert "batch" in json.dumps(shape)


def test_samples_are_made_up_in_range_and_the_report_says_so(desk):
    onnx_models.write(desk / "ids.onnx", embedding())
    typed = ("--shape", "ids:1x8", "--shape", "ids:1x16", "--range", "ids:0:49")
    done = navigator("optimize", "ids.onnx", *typed, *ONE, check=0)
    assert "the samples were made up from shapes, ids from 0 to 49: errors on real data may differ" in done.stdout
    assert "taken as fixed" not in done.stdout


def test_values_that_the_model_cannot_take_show_the_models_own_error(desk):
    onnx_models.write(desk / "ids.onnx", embedding())
    done = navigator("optimize", "ids.onnx", "--shape", "ids:1x8", "--range", "ids:50:50", *ONE, check=1)
    assert "indices element out of data bounds" in done.stderr
    assert done.stderr.endswith("\nerror: the model raised on sample 0\n")


def test_sizes_that_nobody_knows_are_asked_for(desk):
    onnx_models.write(desk / "ids.onnx", embedding())
    assert "axis 'seq' of input 'ids' is dynamic" in refused("optimize", "ids.onnx")
    assert "--shape NAME:1x128" in refused("optimize", "ids.onnx", "--range", "ids:0:49")


def test_nothing_within_the_limits_is_exit_code_1(desk):
    done = navigator("optimize", "model.onnx", "--limit", "p50<=0.001ns", *ONE, check=1)
    assert "best: none" in done.stdout


def test_a_target_that_cannot_be_built_here_is_exit_code_2_and_says_why(desk):
    done = navigator("optimize", "model.onnx", "--target", "tensorrt", "--device", "cpu", *ONE, check=2)
    assert "onnx->tensorrt: needs a cuda device" in done.stderr


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--target", "onx"], "did you mean 'onnx'"),
        (["--runner", "onnxruntime-cpi"], "did you mean 'onnxruntime-cpu'"),
        (["--device", "cpuu"], "did you mean 'cpu'"),
        (["--option", "@onnxruntime-cpu.thread=1"], "did you mean 'threads'"),
        (["--option", "@onnxruntime-cpu.threads=many"], "@onnxruntime-cpu"),
        (["--shape", "y:1x3"], "unknown input 'y'"),
        (["--shape", "x:1x4"], "of shape [1, 4], but the file takes [batch, 3]"),
        (["--format", "onx"], "did you mean 'onnx'"),
    ],
)
def test_a_name_or_shape_with_a_typo_is_one_message(desk, typed, said):
    assert said in refused("optimize", "model.onnx", *ONE, *typed)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ({"z": np.ones((2, 3), np.float32)}, "gives 'z', which the model does not take (it takes x)"),
        ({"x": np.ones((2, 4), np.float32)}, "of shape [2, 4], but the file takes [batch, 3]"),
        ({"x": np.ones((2, 3))}, "is float64 in the samples, but the file takes float32"),
        ({"x": np.full((2, 3), np.nan, np.float32)}, "has NaN in 6 of 6 values"),
    ],
)
def test_samples_that_do_not_fit_are_one_message(desk, samples, said):
    np.savez(desk / "wrong.npz", **samples)
    assert said in refused("optimize", "model.onnx", "--samples", "wrong.npz")


def test_a_file_cut_short_or_of_another_kind_is_one_message(desk):
    whole = (desk / "model.onnx").read_bytes()
    (desk / "short.onnx").write_bytes(whole[: len(whole) // 2])
    (desk / "other.onnx").write_text("hello")
    for name in ("short.onnx", "other.onnx"):
        assert name in refused("optimize", name)
    assert "there is no file 'none.onnx'" in refused("optimize", "none.onnx")
