"""Whole runs with navigator-jax and nothing else of ours beside the core."""

import subprocess
import sys
import textwrap

import equinox as eqx
import importlib_metadata
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import navigator as nav

from . import models

alone = pytest.mark.skipif(
    any(importlib_metadata.distributions(name="navigator-onnx")), reason="navigator-onnx is installed here"
)
RIGHT = {"batch_sizes": [1], "objective": nav.Objective(minimize="memory")}  # nobody asks who is the fastest


@alone
def test_it_brings_no_other_framework():
    for name in ("tensorflow", "tensorflow-cpu", "torch", "onnxruntime"):
        assert not any(importlib_metadata.distributions(name=name)), name


@alone
def test_the_graph_shows_the_path_to_onnx_with_what_helps():
    conversion = next(c for c in nav.graph().conversions if c.name == "jax->onnx")
    assert conversion.unavailable is not None
    assert conversion.unavailable.reason == "no installed plugin declares the format 'onnx'"
    assert "navigator-onnx" in conversion.unavailable.remedy


def statuses(report):
    names = {"jax @ jax-eager", "jax @ jax-jit", "jax @ jax-aot", "jax->stablehlo @ stablehlo"}
    return {c.name: (c.status, c.reason) for c in report.candidates if c.name in names}


OK = dict.fromkeys(("jax @ jax-eager", "jax @ jax-jit", "jax @ jax-aot", "jax->stablehlo @ stablehlo"), ("ok", None))
QUICK = ("flax nnx: convolutions, batch norm, dropout", "equinox: attention block")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in models.MODELS]
)
def test_a_model_of_the_table_goes_through_by_every_path(name, tmp_path):
    make, samples = models.MODELS[name]
    model, given = make(), samples()
    report = nav.optimize(model, given, workspace=tmp_path / "workspace", **RIGHT)
    assert statuses(report) == OK
    assert not any("no truth" in note or "cannot be sent" in note for note in report.notes)
    assert report.reference.truth == "the source in float64"
    first = given[0] if isinstance(given[0], tuple) else (given[0],)
    expected = jax.tree.leaves(report.candidates[0].load()(*first))
    stored = next(c for c in report.candidates if c.path is not None)
    with stored.load() as loaded:
        found = jax.tree.leaves(loaded(*first))
    for one, other in zip(found, expected, strict=True):
        assert isinstance(one, jax.Array)
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_bare_function_is_known_by_its_format_and_called_with_numpy(tmp_path):
    samples = [np.ones((2, 8), np.float32), np.zeros((3, 8), np.float32)]
    report = nav.optimize(
        lambda x: jnp.tanh(x @ models.WEIGHTS),
        samples,
        format="jax",
        runners=["jax-eager", "jax-jit"],
        workspace=tmp_path / "workspace",
        **RIGHT,
    )
    assert {c.status for c in report.candidates if c.runner == "jax-jit"} == {"ok"}
    with report.load() as loaded:
        assert isinstance(loaded(samples[0]), np.ndarray)


def test_a_function_that_cannot_be_traced_is_still_right_as_it_is(tmp_path):
    report = nav.optimize(
        lambda x: x if float(x.sum()) > 0 else -x,
        [jnp.ones((2, 3)), -jnp.ones((3, 3))],
        runners=["jax-eager", "jax-jit"],
        workspace=tmp_path / "workspace",
        **RIGHT,
    )
    found = {c.runner: c for c in report.candidates}
    assert found["jax-eager"].status == "ok"
    assert found["jax-jit"].status == "failed"
    assert any("looks at values" in note for note in report.notes)


def test_samples_that_jax_would_make_narrower_are_refused_with_what_helps(tmp_path):
    with pytest.raises(nav.RequestError, match="input 'x' is float64, which JAX takes as float32"):
        nav.optimize(jax.jit(lambda x: x), np.ones((2, 3)), workspace=tmp_path / "workspace", **RIGHT)


LAYER = """
import equinox as eqx
import jax

class Layer(eqx.Module):
    weight: jax.Array

    def __call__(self, x):
        return x @ self.weight / 3
"""
SCRIPT = """
import jax, sys
jax.config.update("jax_enable_x64", True)
import numpy as np
import navigator as nav
from layer import Layer

class Listed(list):
    def __call__(self, event):
        self.append(event)

heard = Listed()
model = Layer(jax.random.normal(jax.random.key(0), (4, 3)))
report = nav.optimize(
    model, np.random.default_rng(0).random((2, 4)), runners=["jax-eager", "stablehlo"], batch_sizes=[1],
    objective=nav.Objective(minimize="memory"), workspace="workspace", observe=heard,
)
assert {c.status for c in report.candidates if c.path} == {"ok"}, report
assert str(report.signature.outputs[0].dtype) == "float64"
finished = [event for event in heard if type(event).__name__ == "StepFinished"]
again = {c.name for c in report.candidates for m in c.measurements if "other processes" in (m.unstable or "")}
print(sum(event.status == "cached" for event in finished), len(finished), len(again))
"""


def test_64_bits_reach_the_workers_and_another_process_finds_every_step_again(tmp_path):
    (tmp_path / "layer.py").write_text(LAYER)
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))

    def run():
        command = [sys.executable, "script.py"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        return tuple(map(int, done.stdout.split()[-3:]))

    cached, steps, disturbed = run()
    assert cached == 0
    assert steps > 2
    found, again, _ = run()
    assert again == steps
    assert steps - disturbed <= found <= steps


def test_an_equinox_class_of_the_script_itself_is_run_in_its_process_and_the_report_says_why(tmp_path):
    class Here(eqx.Module):
        weight: jax.Array

        def __call__(self, x):
            return x @ self.weight

    report = nav.optimize(
        Here(jnp.ones((4, 3))), jnp.ones((2, 4)), runners=["jax-eager", "stablehlo"], workspace=tmp_path, **RIGHT
    )
    assert {c.status for c in report.candidates} == {"ok"}, report
    assert any("Here is not defined in a module of its own" in note for note in report.notes)
