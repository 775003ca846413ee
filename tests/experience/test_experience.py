"""The same network from each framework gives its user the same experience: one set of tests, whatever is installed.

Every package's session runs it with its own framework, the one of the long tests with all of them side by side.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import importlib_metadata
import numpy as np
import pytest

import navigator as nav
from navigator_core import playoff, request
from navigator_core.events import StepFinished

DRAW = np.random.default_rng(0)
FIRST, SECOND = (DRAW.standard_normal(shape).astype(np.float32) / 4 for shape in ((8, 64), (64, 3)))
ROWS = [DRAW.standard_normal((rows, 8)).astype(np.float32) for rows in (2, 3)]
EXPECTED = [np.tanh(rows @ FIRST) @ SECOND for rows in ROWS]


def from_torch(folder: Path) -> Any:
    import torch

    model = torch.nn.Sequential(torch.nn.Linear(8, 64, bias=False), torch.nn.Tanh(), torch.nn.Linear(64, 3, bias=False))
    with torch.no_grad():
        for layer, weight in ((model[0], FIRST), (model[2], SECOND)):
            layer.weight.copy_(torch.from_numpy(weight.T))
    return model, [torch.from_numpy(rows) for rows in ROWS]


def from_tensorflow(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries, as they are imported
        import keras
        import tensorflow as tf

    layers = keras.layers.Dense(64, activation="tanh", use_bias=False), keras.layers.Dense(3, use_bias=False)
    model = keras.Sequential([keras.Input((8,)), *layers])
    model.set_weights([FIRST, SECOND])
    return model, [tf.constant(rows) for rows in ROWS]


def from_jax(folder: Path) -> Any:
    import jax

    first, second = jax.numpy.asarray(FIRST), jax.numpy.asarray(SECOND)
    return jax.jit(lambda x: jax.numpy.tanh(x @ first) @ second), [jax.numpy.asarray(rows) for rows in ROWS]


def from_onnx(folder: Path) -> Any:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["seen"]),
        helper.make_node("MatMul", ["seen", "second"], ["output"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", 8), ("output", 3))
    ]
    weights = [numpy_helper.from_array(value, name) for name, value in (("first", FIRST), ("second", SECOND))]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], weights)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx"
    )
    return folder / "model.onnx", ROWS


FRAMEWORKS = {
    "torch": (from_torch, ("torch",)),
    "tensorflow": (from_tensorflow, ("tensorflow", "tensorflow-cpu")),
    "jax": (from_jax, ("jax",)),
    "onnx": (from_onnx, ("onnxruntime", "onnxruntime-gpu")),
}


LIMITED = "example-numpy"
"""A runner to copy, which lacks most operators and says which."""


def installed(name: str) -> bool:
    return any(next(importlib_metadata.distributions(name=one), None) is not None for one in FRAMEWORKS[name][1])


@pytest.fixture(scope="module", autouse=True)
def measured_briefly() -> Iterator[None]:
    """None of these tests asks who is fastest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playoff, "MOST", 1)
        patch.setattr(request, "DEFAULT_SECONDS", 0.1)
        yield


class Run:
    """One network of a framework, and what came of it."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.model, self.samples = FRAMEWORKS[name][0](folder)
        self.asked: dict[str, Any] = {"precisions": ["fp32"], "batch_sizes": [1, 4], "workspace": folder / "workspace"}
        self.told: list[Any] = []
        self.report = nav.optimize(self.model, self.samples, **self.asked, observe=self.told.append)
        self.saved = self.report.save(folder / "model.nav")

    def answers_of(self, model: Any) -> list[Any]:
        return [model(rows) for rows in self.samples]


@pytest.fixture(scope="module", params=[name for name in FRAMEWORKS if installed(name)])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return Run(request.param, tmp_path_factory.mktemp(request.param))


def test_each_package_brings_a_framework_here() -> None:
    assert any(map(installed, FRAMEWORKS))


def test_every_path_is_right_or_says_why_it_is_not(run: Run) -> None:
    assert run.report.best is not None
    assert run.report.baseline in {one.name for one in run.report.candidates if one.status == "ok"}
    for candidate in run.report.candidates:
        known = candidate.runner == LIMITED or candidate.status in ("ok", "unavailable", "skipped")
        assert known, f"{candidate.name}: {candidate.status}: {candidate.reason}"
        if candidate.status == "ok":
            assert candidate.verdict.ok
            assert [one.batch_size for one in candidate.measurements][:1] == [1]
        else:
            assert candidate.reason
            assert candidate.remedy
    assert not [note for note in run.report.notes if "no truth" in note or "cannot be sent" in note]


def test_the_signature_has_one_input_and_one_output_of_any_batch(run: Run) -> None:
    ((given,), (made,)) = run.report.signature.inputs, run.report.signature.outputs
    assert (given.dtype, made.dtype) == ("float32", "float32")
    assert (given.batch_axis, given.shape[1:]) == (0, (8,))
    assert (made.batch_axis, made.shape[1:]) == (0, (3,))


def test_the_best_is_called_as_the_source_and_returns_its_kind_of_tensor(run: Run) -> None:
    kind = type(run.samples[0])
    with nav.load(run.saved, trust=True).load() as model:
        for rows, answer, expected in zip(run.samples, run.answers_of(model), EXPECTED, strict=True):
            (answer,) = answer.values() if isinstance(answer, dict) else (answer,)  # a file's outputs have names
            assert type(answer) is kind
            np.testing.assert_allclose(np.asarray(answer), expected, rtol=1e-3, atol=1e-4)
            assert type(rows) is kind


def test_the_same_call_again_does_nothing_twice(run: Run) -> None:
    told: list[Any] = []
    again = nav.optimize(run.model, run.samples, **run.asked, observe=told.append)
    unsure = {c.name for c in run.report.candidates for m in c.measurements if "other processes" in (m.unstable or "")}
    done = [one for one in told if isinstance(one, StepFinished) and one.step not in unsure and one.stage != "playoff"]
    undone = {one.step: one.status for one in done if one.status != "cached"}
    assert set(undone.values()) <= {"skipped"}, undone  # what finds nothing to do
    assert [c.name for c in again.candidates if c.status == "ok"]
    plan = nav.plan(run.model, run.samples, **run.asked)
    assert set(plan.candidates) == {c.name for c in run.report.candidates if c.status != "unavailable"}


def test_the_package_is_read_without_the_framework(run: Run) -> None:
    """By a process of its own, which imports none."""
    script = "import json, sys, navigator as nav; r = nav.load(sys.argv[1]).report; str(r);" + inspect.cleandoc("""
        print(json.dumps([r.best_name, [m for m in ("torch", "tensorflow", "jax", "onnx") if m in sys.modules]]))
    """)
    done = subprocess.run(
        [sys.executable, "-c", script, str(run.saved)], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert json.loads(done.stdout) == [run.report.best_name, []]


@pytest.mark.parametrize("command", [["graph"], ["plugins"]])
def test_what_is_installed_is_told_without_importing_it(command: list[str]) -> None:
    watched = "import sys; from navigator_core.cli import commands; commands(sys.argv[1:], standalone_mode=False);"
    watched += "print([m for m in ('torch', 'tensorflow', 'keras', 'jax', 'onnx', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", watched, *command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
