"""Files whose weights lie beside them, all the way: as a model above 2 GiB goes, with a limit that a small one exceeds.

The real size is tried by ``benchmarks/large_model.py``.
"""

import importlib

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import inputs, wordy, write_external

import navigator as nav
from navigator_core import availability, testing
from navigator_onnx.requirements import SLIM

PASSES = ("fp16", "int8-dynamic", "int8-qdq", "slim")
BESIDE = """
from attrs import evolve
from navigator_core import Ref
from navigator_onnx.plugin import *
from navigator_onnx import plugin

@hookimpl
def declare_converters():
    passes = [one for one in plugin.declare_converters() if one.target == "onnx"]
    return [evolve(one, implementation=Ref(f"{__name__}:{named(one)}")) for one in passes]

def named(one):
    return one.variants[0].name.replace("-", "_")

def beside(target):
    def convert(source, output, options, context):
        from navigator_onnx import rewrite
        rewrite.INLINE = 1000
        return Ref(target).resolve()(source, output, options, context)
    return convert

for one in plugin.declare_converters():
    if one.variants:
        globals()[named(one)] = beside(one.implementation.target)
"""
"""navigator-onnx with another limit for what lies inside of the file, in the workers as well."""


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    (folder / "weights_beside.py").write_text(BESIDE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        importlib.invalidate_caches()
        source = write_external(folder / "source" / "m.onnx", wordy())
        with testing.using(importlib.import_module("weights_beside")):
            yield nav.optimize(
                source,
                [inputs("convnet"), inputs("convnet", 3)],
                targets=["onnx"],
                runners=["onnxruntime-cpu"],
                batch_sizes=[1],
                precisions=["fp16", "int8"],
                workspace=folder / "workspace",
            )


def candidate(report, name):
    if name == "slim" and availability.missing((SLIM,)):
        pytest.skip("onnxslim is not installed")
    return next(c for c in report.candidates if c.name.startswith(f"onnx->onnx[{name}]"))


def answers_like_the_source(model, rows=4):
    feed = inputs("convnet", rows)
    (expected,) = ReferenceEvaluator(wordy()).run(None, feed)
    found = model(feed["x"])["y"]
    return np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", PASSES)
def test_what_a_pass_leaves_beside_the_file_is_found_by_whoever_loads_it(report, name):
    found = candidate(report, name)
    assert found.status == "ok", found.reason
    assert {"model.onnx", "model.onnx.data"} <= {path.name for path in found.path.parent.iterdir()}
    assert found.size > 0
    with found.load() as model:
        assert answers_like_the_source(model)


def test_the_source_is_one_file_and_another_beside_it_and_its_noise_is_known(report):
    source = next(c for c in report.candidates if c.name == "onnx @ onnxruntime-cpu")
    assert {"model.onnx", "weights.data"} <= {path.name for path in source.path.parent.iterdir()}
    assert not any("noise is not known" in note for note in report.notes)
    assert all(noise.relative_l2 > 0 for noise in report.reference.noise.values())


def test_a_package_takes_them_along(report, tmp_path):
    assert report.best.precision in ("fp16", "int8")
    package = nav.load(report.save(tmp_path / "model.nav"))
    assert package.best.name == report.best.name
    assert {path.name for path in package.best.path.parent.iterdir()} >= {"model.onnx", "model.onnx.data"}
    with package.load() as model:
        assert answers_like_the_source(model)
