"""ONNX to ONNX, simplified by onnxslim."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import context, inputs, mlp, model, node, operators, value, wordy, write, write_external

from navigator_core.errors import NothingToDoError
from navigator_onnx import rewrite
from navigator_onnx.options import OPTIMIZATIONS, CpuOptions, SlimOptions
from navigator_onnx.run import cpu
from navigator_onnx.source import signature

pytest.importorskip("onnxslim")

from navigator_onnx.simplify import simplify


@pytest.fixture
def slim(tmp_path):
    def run(proto, save=write, **options):
        source = save(tmp_path / "source" / "m.onnx", proto)
        (tmp_path / "out").mkdir(exist_ok=True)
        simplify(source, tmp_path / "out" / "model.onnx", SlimOptions(**options), context(source))
        return tmp_path / "out" / "model.onnx"

    return run


def test_nodes_are_folded_fused_and_taken_out(slim):
    found = operators(slim(wordy()))
    assert sorted(found) == ["Add", "Conv", "Flatten", "Gemm", "MaxPool", "Relu"]


@pytest.mark.parametrize("save", [write, write_external], ids=["inside", "external"])
def test_the_result_computes_the_same_at_every_batch_size(slim, tmp_path, save):
    path = slim(wordy(), save)
    assert [p.name for p in path.parent.iterdir()] == ["model.onnx"]
    assert signature(path) == signature(tmp_path / "source" / "m.onnx")
    loaded = cpu(path, CpuOptions(), context(path))
    for rows in (1, 3):
        feed = inputs("convnet", rows)
        (expected,) = ReferenceEvaluator(wordy()).run(None, feed)
        np.testing.assert_allclose(loaded.call(feed)["y"], expected, rtol=1e-4, atol=1e-5)


def test_large_weights_lie_beside_the_file(slim, monkeypatch):
    monkeypatch.setattr(rewrite, "INLINE", 1000)
    path = slim(wordy(), write_external)
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", "model.onnx.data"]
    feed = inputs("convnet")
    (expected,) = ReferenceEvaluator(wordy()).run(None, feed)
    np.testing.assert_allclose(cpu(path, CpuOptions(), context(path)).call(feed)["y"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("skipped", "stays"),
    [("constant_folding", "fold"), ("graph_fusion", "norm"), ("subexpression_elimination", "same")],
)
def test_what_is_skipped_is_left_undone(slim, skipped, stays):
    import onnx

    def names(path):
        return {n.name for n in onnx.load(path).graph.node}

    assert stays in names(slim(wordy(), skip_optimizations=skipped))
    assert not {"fold", "norm"} & names(slim(wordy()))


def test_where_nothing_gets_simpler_that_is_the_reason(slim):
    with pytest.raises(NothingToDoError, match="finds nothing to simplify"):
        slim(mlp())
    with pytest.raises(NothingToDoError, match="finds nothing to simplify"):
        slim(wordy(), skip_optimizations=OPTIMIZATIONS)


def test_what_onnxslim_does_not_know_cannot_be_skipped():
    with pytest.raises(ValueError, match="skip_optimizations"):
        SlimOptions(skip_optimizations="folding")


def test_an_input_that_has_no_effect_may_go(slim):
    proto = model(
        [node("Identity", "x", "same"), node("Relu", "same", "y")],
        [value("x", ["batch", 2]), value("nothing", [2])],
        [value("y", ["batch", 2])],
    )
    path = slim(proto)
    assert [spec.name for spec in signature(path).inputs][:1] == ["x"]
    assert operators(path) == ["Relu"]
