"""Torch models in OpenVINO, by way of ONNX and of exported programs."""

import pytest
import torch

import navigator as nav
from navigator_core import Context, Dim, Signature, TensorSpec

pytest.importorskip("navigator_openvino", reason="needs navigator-openvino")

from navigator_openvino import program, run
from navigator_openvino.options import CpuOptions

WAYS = ("torch->exported-program", "torch->onnx[dynamo]", "torch->onnx[script]", "torch->onnx[torchscript]")
BATCH = Dim("batch")


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    torch.manual_seed(0)
    layers = torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
    return nav.optimize(
        torch.nn.Sequential(*layers).eval(), [torch.randn(2, 4), torch.randn(3, 4)],
        runners=["openvino-cpu"], precisions=["fp32"], batch_sizes=[1],
        workspace=tmp_path_factory.mktemp("openvino") / "workspace",
    )  # fmt: skip


def test_every_way_to_openvino_is_right_with_a_dynamic_batch_and_with_a_fixed_one(report):
    names = {f"{way}->openvino @ openvino-cpu{how}" for way in WAYS for how in ("", "[static]")}
    found = {c.name: c.status for c in report.candidates if c.runner == "openvino-cpu" and c.status != "unavailable"}
    assert found == dict.fromkeys(names, "ok")
    assert report.best.runner == "openvino-cpu"


def test_what_other_tools_rounded_or_simplified_is_not_converted_again(report):
    assert not [c.name for c in report.candidates if "onnx]->openvino" in c.name or "slim" in c.name]


def test_torch_in_is_torch_out(report):
    x = torch.randn(5, 4)
    with report.load() as model:
        first, second = model(x), model(2 * x)
        again = model(x)
    assert isinstance(first, torch.Tensor)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_a_package_is_run_where_it_is_opened(report, tmp_path):
    opened = nav.load(report.save(tmp_path / "model.nav"))
    with opened.load() as model, report.load() as here:
        assert torch.equal(torch.as_tensor(model(torch.ones(2, 4))), here(torch.ones(2, 4)))


class Through(torch.nn.Module):
    """Tensors in the order that the signature has them; the first comes out again, under the same name."""

    def forward(self, *tensors):
        x, _unused, gain = tensors
        return x * gain, x, x.sum(1)


def exported(folder, inputs):
    axes = ({0: torch.export.Dim.DYNAMIC}, {0: torch.export.Dim.DYNAMIC}, None)
    torch.export.save(torch.export.export(Through(), inputs, dynamic_shapes={"tensors": axes}), folder / "model.pt2")
    return folder / "model.pt2"


def test_tensors_of_a_program_go_by_the_signatures_names_even_where_input_and_output_share_one(tmp_path):
    inputs = torch.randn(2, 3), torch.randn(2, 5), torch.randn(3)
    takes = [TensorSpec("x", "float32", (BATCH, 3)), TensorSpec("u", "float32", (BATCH, 5))]
    gives = [TensorSpec("scaled", "float32", (BATCH, 3)), TensorSpec("x", "float32", (BATCH, 3))]
    gives += [TensorSpec("sum", "float32", (BATCH,))]
    signature = Signature((*takes, TensorSpec("gain", "float32", (3,))), tuple(gives))
    output = tmp_path / "model.xml"
    names = program.convert(exported(tmp_path, inputs), output, None, Context(signature=signature))
    assert dict(names.outputs) == {"x": "x.out1"}
    for options in (CpuOptions(), CpuOptions(static=True)):
        loaded = run.cpu(output, options, Context(signature=signature, names=names))
        x, u, gain = torch.randn(4, 3), torch.randn(4, 5), torch.randn(3)
        found = loaded.call({"gain": gain.numpy(), "u": u.numpy(), "x": x.numpy()})
        for name, expected in zip(("scaled", "x", "sum"), Through()(x, u, gain), strict=True):
            torch.testing.assert_close(torch.from_numpy(found[name]), expected)


def test_without_torch_the_way_from_its_programs_says_what_is_missing(monkeypatch):
    from navigator_core import availability

    real = availability.installed_version
    monkeypatch.setattr(availability, "installed_version", lambda name: None if name == "torch" else real(name))
    conversion = next(c for c in nav.graph().conversions if c.name == "exported-program->openvino")
    assert conversion.unavailable.reason == "needs torch>=2.6, which is not installed"
    assert conversion.unavailable.remedy == "pip install navigator-torch"
