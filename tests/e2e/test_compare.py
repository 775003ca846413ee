"""An upgrade gate over real packages: the same answers for more work, other answers, another signature."""

import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import navigator as nav

WIDTH = 256
RNG = np.random.default_rng(0)
WEIGHTS = (RNG.standard_normal((WIDTH, WIDTH)) / 16).astype("float32")
PERMUTATION = np.eye(WIDTH, dtype="float32")[RNG.permutation(WIDTH)]
SAMPLES = [np.random.default_rng(n).standard_normal((n, WIDTH)).astype("float32") for n in (1, 4)]


def write(path, *, weights=WEIGHTS, detours=0, batch="batch"):
    """``tanh(x @ weights)``; each detour permutes what comes in and back again, which changes nothing but the time."""
    stored = {"weights": weights, "there": PERMUTATION, "back": PERMUTATION.T.copy()}
    nodes, last = [], "x"
    for number in range(detours):
        nodes += [
            helper.make_node("MatMul", [last, "there"], [f"there{number}"]),
            helper.make_node("MatMul", [f"there{number}", "back"], [f"back{number}"]),
        ]
        last = f"back{number}"
    nodes += [helper.make_node("MatMul", [last, "weights"], ["h"]), helper.make_node("Tanh", ["h"], ["y"])]
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, WIDTH])],
        [numpy_helper.from_array(array, name) for name, array in stored.items() if name in used],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(made, path)
    return path


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("packages")

    def make(name, samples=SAMPLES, **written):
        path = write(folder / f"{name}.onnx", **written)
        asked = {"runners": ["onnxruntime-cpu"], "batch_sizes": [1], "workspace": folder / "workspace"}
        return nav.optimize(path, samples, **asked).save(folder / f"{name}.nav")

    return make


def gate(*arguments):
    command = [sys.executable, "-m", "navigator_core.cli", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.long  # the page on upgrade gates plays the same every day
def test_a_release_that_is_slower_or_answers_something_else_does_not_pass(package):
    ours = package("ours")
    done = gate(ours, package("slower", detours=8), "--json")
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["verdict"] == "worse"
    assert told["paces"][0]["ratio"]["low"] > 1.5
    assert told["drift"]["y"]["ok"]
    assert told["b"]["size"] > told["a"]["size"]
    done = gate(ours, package("other", weights=WEIGHTS * np.float32(1.001)), "--latency-ratio", "3")
    assert done.returncode == 1, done.stderr
    assert "its outputs drifted" in done.stdout
    assert gate(ours, ours, "--latency-ratio", "1.5").returncode == 0


def test_a_release_with_a_fixed_batch_cannot_take_the_place_of_one_without(package):
    done = gate(package("ours"), package("fixed", batch=1, samples=SAMPLES[:1]))
    assert (done.returncode, done.stdout) == (2, "")
    assert "input 'x' is [batch, 256] in A and [1, 256] in B" in done.stderr
