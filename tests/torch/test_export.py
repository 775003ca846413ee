import attrs
import importlib_metadata
import numpy as np
import pytest
import torch

from navigator_core import Names, tensors
from navigator_core.errors import NavigatorError
from navigator_torch import export, options, source, torchscript

from .conftest import BATCH, assert_close, batch_of, context_for, reference

needs_onnx = pytest.mark.skipif(
    not any(importlib_metadata.distributions(name="onnxscript")),
    reason="onnxscript, which comes with navigator-onnx, is not installed",
)

MODELS = ["mlp", "recurrent", "bert"]
SIZES = [1, 3, 8]


@pytest.fixture(params=MODELS)
def case(request):
    return request.getfixturevalue(request.param), request.getfixturevalue(f"{request.param}_context")


def run_onnx(path, context, arrays, names=None):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path))
    assert [i.name for i in session.get_inputs()] == [s.name for s in context.signature.inputs]
    ours = [s.name for s in context.signature.outputs]
    theirs = [names.outputs.get(n, n) if names else n for n in ours]
    assert [o.name for o in session.get_outputs()] == theirs
    return dict(zip(ours, session.run(theirs, dict(arrays)), strict=True))


def run_torchscript(path, context, arrays, **chosen):
    loaded = torchscript.run(path, options.TorchScript(**chosen), context)
    given = {n: tensors.from_numpy(a, "torch", "cpu", str(a.dtype)) for n, a in arrays.items()}
    outputs = loaded.call(given)
    loaded.synchronize()
    loaded.close()
    return outputs


@needs_onnx
def test_onnx_matches_eager_at_several_batch_sizes(case, tmp_path):
    model, context = case
    path = tmp_path / "model.onnx"
    export.onnx(source.prepare(model), path, options.Onnx(), context)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]
    for size in SIZES:
        arrays = batch_of(context, size)
        assert_close(run_onnx(path, context, arrays), reference(model, context, arrays))


def test_a_trace_matches_eager_at_several_batch_sizes(case, tmp_path):
    model, context = case
    path = tmp_path / "model.pt"
    torchscript.export(source.prepare(model), path, options.ToTorchScript(method="trace"), context)
    for size in SIZES:
        arrays = batch_of(context, size)
        assert_close(run_torchscript(path, context, arrays), reference(model, context, arrays))


@pytest.mark.parametrize("name", ["mlp", "recurrent"])
def test_a_script_matches_eager_at_several_batch_sizes(name, request, tmp_path):
    model, context = request.getfixturevalue(name), request.getfixturevalue(f"{name}_context")
    path = tmp_path / "model.pt"
    torchscript.export(source.prepare(model), path, options.ToTorchScript(method="script"), context)
    for size in SIZES:
        arrays = batch_of(context, size)
        for chosen in ({}, {"freeze": False}, {"optimize_for_inference": True}):
            assert_close(run_torchscript(path, context, arrays, **chosen), reference(model, context, arrays))


def test_another_length_is_right_too(bert, bert_context, tmp_path):
    path = tmp_path / "model.onnx"
    export.onnx(source.prepare(bert), path, options.Onnx(), bert_context)
    for length in (2, 13):
        arrays = {n: np.ones((2, length), np.int64) for n in ("input_ids", "attention_mask")}
        assert_close(run_onnx(path, bert_context, arrays), reference(bert, bert_context, arrays))


@pytest.mark.parametrize("opset", [18, 23])
def test_the_opset_asked_for_is_written(mlp, mlp_context, tmp_path, opset):
    onnx = pytest.importorskip("onnx")
    export.onnx(source.prepare(mlp), tmp_path / "model.onnx", options.Onnx(opset=opset), mlp_context)
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == opset


def test_optimizing_changes_the_graph(mlp, mlp_context, tmp_path):
    onnx = pytest.importorskip("onnx")
    nodes = []
    for optimize in (True, False):
        path = tmp_path / f"{optimize}.onnx"
        export.onnx(source.prepare(mlp), path, options.Onnx(optimize=optimize), mlp_context)
        nodes.append(len(onnx.load(path).graph.node))
    assert nodes[0] < nodes[1]


def test_dynamic_axes_carry_their_names(mlp, mlp_context, tmp_path):
    onnx = pytest.importorskip("onnx")
    export.onnx(source.prepare(mlp), tmp_path / "model.onnx", options.Onnx(), mlp_context)
    graph = onnx.load(tmp_path / "model.onnx").graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"


class Awkward(torch.nn.Module):
    """Names of inner nodes as names of tensors, an input handed through, an output given twice, a constant."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        self.register_buffer("table", torch.arange(2.0))

    def forward(self, linear, levels):
        total = self.linear(linear) + levels[0]
        return {"add": total, "same": linear, "again": total, "table": self.table, "levels": [levels[1] * 2]}


@pytest.fixture
def awkward():
    torch.manual_seed(0)
    model = Awkward()
    axes = {"linear": {0: BATCH}, "levels.0": {0: BATCH}, "levels.1": {0: BATCH}}
    return model, context_for(model, (torch.randn(1, 2), [torch.randn(1, 2), torch.randn(1, 1)]), axes)


@needs_onnx
def test_names_that_collide_and_outputs_that_coincide_are_kept_apart(awkward, tmp_path):
    model, context = awkward
    names = export.onnx(source.prepare(model), tmp_path / "m.onnx", options.Onnx(), context)
    torchscript.export(source.prepare(model), tmp_path / "m.pt", options.ToTorchScript(), context)
    arrays = batch_of(context, 3)
    assert [s.name for s in context.signature.outputs] == ["add", "same", "again", "table", "levels.0"]
    assert names == Names(outputs={"levels.0": "levels.0.out1"})
    assert_close(run_onnx(tmp_path / "m.onnx", context, arrays, names), reference(model, context, arrays))
    assert_close(run_torchscript(tmp_path / "m.pt", context, arrays), reference(model, context, arrays))


class Adds(torch.nn.Module):
    def forward(self, x):
        return x + torch.ones(2, 4)


class Branches(torch.nn.Module):
    def forward(self, x):
        return x + 1 if x.shape[0] == 2 else x


@needs_onnx
@pytest.mark.parametrize("kind", [Adds, Branches])
def test_an_axis_the_model_fixes_is_named_and_never_fixed_silently(tmp_path, kind):
    model = kind().eval()
    context = context_for(model, torch.randn(2, 4), {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match="axis 0 of 'x' at 2"):
        export.onnx(model, tmp_path / "m.onnx", options.Onnx(), context)
    assert not (tmp_path / "m.onnx").exists()


def test_a_scripted_module_cannot_become_onnx_and_says_so(mlp, mlp_context, tmp_path):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    with pytest.raises(NavigatorError, match="scripted"):
        export.onnx(scripted, tmp_path / "m.onnx", options.Onnx(), mlp_context)


def test_a_scripted_source_is_written_as_it_is(mlp, tmp_path):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    context = context_for(scripted, {"x": torch.randn(1, 4), "unused": torch.zeros(2)}, {"x": {0: BATCH}})
    for method in ("trace", "script"):
        path = tmp_path / f"{method}.pt"
        torchscript.export(source.prepare(scripted), path, options.ToTorchScript(method=method), context)
        arrays = batch_of(context, 3)
        assert_close(run_torchscript(path, context, arrays), reference(mlp, context, arrays))


def test_scripts_made_in_one_process_have_each_their_own_constants(mlp, tmp_path):
    for number in (1.0, 2.0, 3.0):  # torch mixes up the third with the second, if their shells are of one class
        given = {"x": torch.ones(1, 4), "unused": torch.zeros(2), "scale": number}
        context = context_for(mlp, given, {"x": {0: BATCH}})
        torchscript.export(mlp.eval(), tmp_path / "m.pt", options.ToTorchScript(method="script"), context)
        arrays = batch_of(context, 2)
        assert_close(run_torchscript(tmp_path / "m.pt", context, arrays), reference(mlp, context, arrays))


@needs_onnx
def test_exporting_leaves_the_model_as_it_was(mlp, mlp_context, tmp_path):
    ready = mlp.eval()
    before = source.fingerprint(mlp), dict(vars(mlp))
    export.onnx(ready, tmp_path / "m.onnx", options.Onnx(), mlp_context)
    torchscript.export(ready, tmp_path / "t.pt", options.ToTorchScript(), mlp_context)
    torchscript.export(ready, tmp_path / "s.pt", options.ToTorchScript(method="script"), mlp_context)
    assert (source.fingerprint(mlp), dict(vars(mlp))) == before
    assert all(p.requires_grad for p in mlp.parameters())


def test_the_example_has_rows_enough_and_sizes_of_their_own(recurrent_context):
    short = {n: a[:, :1] if n == "x" else a for n, a in recurrent_context.samples[0].items()}
    context = attrs.evolve(recurrent_context, samples=(short, *recurrent_context.samples))
    x, h, _ = export.example(context)
    assert x.shape[1] == 6
    assert x.shape[0] >= 2
    assert x.shape[0] == h.shape[1]
    assert x.shape[0] not in (6, 3, 5, 2)


@needs_onnx
def test_a_model_without_a_batch_axis_is_exported_as_called(tmp_path):
    model = torch.nn.Linear(3, 3).eval()
    context = context_for(model, torch.randn(3), {})
    export.onnx(model, tmp_path / "m.onnx", options.Onnx(), context)
    arrays = batch_of(context, 5)
    assert arrays["input"].shape == (3,)
    assert_close(run_onnx(tmp_path / "m.onnx", context, arrays), reference(model, context, arrays))


def test_a_bfloat16_model_is_exported_in_bfloat16(tmp_path):
    onnx = pytest.importorskip("onnx")
    model = torch.nn.Linear(3, 3).eval().bfloat16()
    context = context_for(model, torch.randn(1, 3).bfloat16(), {"input": {0: BATCH}})
    export.onnx(model, tmp_path / "m.onnx", options.Onnx(), context)
    graph = onnx.load(tmp_path / "m.onnx").graph
    assert graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16


@needs_onnx
def test_large_weights_lie_beside_the_file(mlp, mlp_context, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_FILE", 100)
    path = tmp_path / "model.onnx"
    export.onnx(source.prepare(mlp), path, options.Onnx(), mlp_context)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    arrays = batch_of(mlp_context, 2)
    assert_close(run_onnx(path, mlp_context, arrays), reference(mlp, mlp_context, arrays))


def test_variadic_arguments_cannot_be_scripted_and_say_so():
    class Variadic(torch.nn.Module):
        def forward(self, *xs):
            return xs[0]

    context = context_for(Variadic(), (torch.zeros(1, 2),), {})
    with pytest.raises(NavigatorError, match=r"\*xs"):
        torchscript.shell(context.signature)


class Unannotated(torch.nn.Module):
    def forward(self, x, mask=None):
        return x


class Annotated(torch.nn.Module):
    def forward(self, x, mask: torch.Tensor | None = None):
        return x * 2 if mask is None else x


def test_a_default_of_none_needs_an_annotation_to_be_scripted(tmp_path):
    context = context_for(Unannotated(), torch.zeros(1, 2), {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match=r"mask: torch.Tensor \| None"):
        torchscript.export(Unannotated().eval(), tmp_path / "m.pt", options.ToTorchScript(method="script"), context)
    torchscript.export(Annotated().eval(), tmp_path / "m.pt", options.ToTorchScript(method="script"), context)
    arrays = batch_of(context, 2)
    assert_close(run_torchscript(tmp_path / "m.pt", context, arrays), reference(Annotated(), context, arrays))
