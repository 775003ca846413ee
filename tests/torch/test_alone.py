"""An environment with navigator-torch and nothing else of ours: what is there, and what is said of the rest."""

import sys

import importlib_metadata
import pytest
import torch

import navigator as nav

pytestmark = pytest.mark.skipif(
    any(importlib_metadata.distributions(name="navigator-onnx")), reason="navigator-onnx is installed here"
)


def test_it_brings_no_other_framework():
    for name in ("tensorflow", "tensorflow-cpu", "jax", "onnx", "onnxruntime"):
        assert not any(importlib_metadata.distributions(name=name)), name


def test_the_graph_shows_the_path_to_onnx_with_what_helps():
    conversion = next(c for c in nav.graph().conversions if c.name == "torch->onnx[dynamo]")
    assert conversion.unavailable is not None
    assert conversion.unavailable.reason == "no installed plugin declares the format 'onnx'"
    assert "navigator-onnx" in conversion.unavailable.remedy


def test_a_model_is_optimized_and_the_plan_lists_what_is_missing(tmp_path):
    report = nav.optimize(
        torch.nn.Linear(4, 2),
        torch.randn(2, 4),
        runners=["torch-eager", "torchscript"],
        batch_sizes=[1],
        workspace=tmp_path / "workspace",
    )
    found = {candidate.name: candidate for candidate in report.candidates}
    assert found["torch @ torch-eager"].status == "ok"
    assert found["torch->torchscript[trace] @ torchscript"].status == "ok"
    plan = nav.plan(torch.nn.Linear(4, 2), torch.randn(2, 4), workspace=tmp_path / "workspace")
    _, remedy = plan.unavailable["torch->onnx[dynamo]"]
    assert "navigator-onnx" in remedy
    assert "onnx" not in sys.modules
