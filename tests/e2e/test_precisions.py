"""Reduced precisions of a torch model: tried, held to what their format explains, and asked for."""

import pytest
import torch

import navigator as nav
from navigator_torch import devices

EXPORTS = ("dynamo", "torchscript", "script")
INT8 = [f"torch->onnx[{how}]->onnx[{way}]" for how in EXPORTS for way in ("int8-dynamic", "int8-qdq")]
FP16 = [f"torch->onnx[{how}]->onnx[fp16]" for how in EXPORTS] + (["torch in fp16"] if devices.fp16() is None else [])
BF16 = ["torch in bf16"] if devices.bf16() is None else []


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 128), torch.nn.GELU(), torch.nn.Linear(128, 16)).eval()
    samples = [torch.randn(n, 64) for n in (2, 5)]
    return nav.optimize(
        model, samples, runners=["torch-eager", "onnxruntime-cpu"], batch_sizes=[1],
        workspace=tmp_path_factory.mktemp("precisions") / "workspace",
    )  # fmt: skip


def reduced(report):
    """By the way to it, and after it the precision in which torch itself runs it."""
    found = [c for c in report.candidates if c.status == "ok" and c.precision != "fp32"]
    return {c.name.partition(" @ ")[0] + (f" in {c.precision}" if c.runner == "torch-eager" else ""): c for c in found}


def test_each_is_a_candidate_of_its_own_with_its_error_and_its_bar(report):
    found = reduced(report)
    named = {"int8": INT8, "fp16": FP16, "bf16": BF16}
    assert {name: c.precision for name, c in found.items()} == {
        name: precision for precision, names in named.items() for name in names
    }
    for candidate in found.values():
        assert candidate.measurements
        (error,) = candidate.verdict.outputs.values()
        assert 1e-5 < error.relative_l2 < error.tolerance.rtol < 0.2


def test_none_wins_without_the_users_word(report):
    assert report.best.precision == "fp32"
    for candidate in reduced(report).values():
        assert candidate.reason == (f"reduced precision: allow it with precisions=('fp32', '{candidate.precision}')")


@pytest.mark.parametrize("precision", ["int8", "fp16", *(["bf16"] if BF16 else [])])
def test_one_that_is_asked_for_is_found_without_another_run(report, precision):
    best = report.select(nav.Objective(minimize="latency"), precisions=[precision])
    assert best.precision == precision
    x = torch.randn(3, 64)
    with best.load() as model:
        assert model(x).shape == (3, 16)


def test_what_finds_nothing_to_do_says_so(report):
    name = "torch->onnx[dynamo]->onnx[slim] @ onnxruntime-cpu"
    (slim,) = (c for c in report.candidates if c.name == name)
    assert slim.status == "skipped"
    assert slim.reason == "onnxslim finds nothing to simplify in this model"
