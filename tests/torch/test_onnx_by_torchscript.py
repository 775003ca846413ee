import warnings

import attrs
import numpy as np
import pytest
import torch

from navigator_core import Dim, Names, TensorSpec
from navigator_core.errors import NavigatorError
from navigator_torch import export, onnx_by_torchscript, options, source

from .conftest import BATCH, assert_close, batch_of, context_for, reference
from .test_export import Awkward, needs_onnx, run_onnx

pytestmark = needs_onnx


def write(model, context, folder, **chosen):
    folder.mkdir(exist_ok=True)
    path = folder / "model.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        names = onnx_by_torchscript.onnx(source.prepare(model), path, options.OnnxByTorchScript(**chosen), context)
    return path, names


@pytest.mark.parametrize(
    ("name", "method"),
    [("mlp", "trace"), ("mlp", "script"), ("recurrent", "trace"), ("recurrent", "script"), ("bert", "trace")],
)
def test_the_file_matches_eager_at_several_batch_sizes(name, method, request, tmp_path):
    model, context = request.getfixturevalue(name), request.getfixturevalue(f"{name}_context")
    path, names = write(model, context, tmp_path, method=method)
    assert names is None
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    for size in (1, 3, 8):
        arrays = batch_of(context, size)
        assert_close(run_onnx(path, context, arrays), reference(model, context, arrays))


def test_a_length_that_torch_export_fixes_stays_dynamic(recurrent, recurrent_context, tmp_path):
    path, _ = write(recurrent, recurrent_context, tmp_path)
    arrays = {"x": np.ones((2, 11, 3), np.float32)} | {f"state.{n}": np.zeros((2, 2, 5), np.float32) for n in (0, 1)}
    assert_close(run_onnx(path, recurrent_context, arrays), reference(recurrent, recurrent_context, arrays))


class UnusedFirst(torch.nn.Module):
    def forward(self, unused: torch.Tensor, x: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
        return x * 2


@pytest.mark.parametrize("method", ["trace", "script"])
def test_an_input_that_reaches_nothing_is_still_an_input(method, tmp_path):
    import onnx

    given = (torch.zeros(1, 3, dtype=torch.int64), torch.randn(1, 2), torch.zeros(2, dtype=torch.bool))
    context = context_for(UnusedFirst(), given, {"unused": {0: BATCH, 1: Dim("n", 1, 9)}, "x": {0: BATCH}})
    path, _ = write(UnusedFirst(), context, tmp_path, method=method)
    arrays = batch_of(context, 3)
    assert_close(run_onnx(path, context, arrays), reference(UnusedFirst(), context, arrays))
    unused = onnx.load(path).graph.input[0].type.tensor_type
    assert unused.elem_type == onnx.TensorProto.INT64
    assert [axis.dim_param for axis in unused.shape.dim] == ["batch", "n"]


def test_dynamic_axes_carry_their_names(recurrent, recurrent_context, tmp_path):
    import onnx

    path, _ = write(recurrent, recurrent_context, tmp_path)
    graph = onnx.load(path).graph
    named = [[axis.dim_param for axis in value.type.tensor_type.shape.dim] for value in (*graph.input, *graph.output)]
    state = ["", "batch", ""]
    assert named[:3] == [["batch", "length", ""], state, state]
    assert [axes[0] for axes in named[3:4]] == ["batch"]


class Signed(torch.nn.Module):
    """What is computed depends on the values: a trace follows one branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x + 1
        return x - 1


def test_a_script_keeps_the_control_flow_that_a_trace_loses(tmp_path):
    context = context_for(Signed(), torch.ones(2, 4), {"x": {0: BATCH}})
    below = {"x": -np.ones((3, 4), np.float32)}
    answers = []
    for method in ("script", "trace"):
        path, _ = write(Signed(), context, tmp_path / method, method=method)
        answers.append(run_onnx(path, context, below)["output"])
    np.testing.assert_array_equal(answers[0], below["x"] - 1)
    np.testing.assert_array_equal(answers[1], below["x"] + 1)


class Pools(torch.nn.Module):
    """Puts the number of rows that it is exported with into the shape of what it returns."""

    def forward(self, x):
        return x.reshape(int(x.shape[0]), 2, 2)


def test_an_output_axis_that_became_a_constant_is_named(tmp_path):
    context = context_for(Pools(), torch.ones(2, 4), {"x": {0: BATCH}})
    outputs = (TensorSpec("output", "float32", (BATCH, 2, 2)),)
    context = attrs.evolve(context, signature=attrs.evolve(context.signature, outputs=outputs))
    with pytest.raises(NavigatorError, match="axis 0 of 'output' at 2"):
        write(Pools(), context, tmp_path)


def test_names_that_collide_and_outputs_that_coincide_are_kept_apart(tmp_path):
    axes = {"linear": {0: BATCH}, "levels.0": {0: BATCH}, "levels.1": {0: BATCH}}
    model = Awkward()
    context = context_for(model, (torch.randn(1, 2), [torch.randn(1, 2), torch.randn(1, 1)]), axes)
    path, names = write(model, context, tmp_path)
    assert names == Names(outputs={"levels.0": "levels.0.out1"})
    arrays = batch_of(context, 3)
    assert_close(run_onnx(path, context, arrays, names), reference(model, context, arrays))


@pytest.mark.parametrize("opset", [9, 17, 20])
def test_the_opset_asked_for_is_written(mlp, mlp_context, tmp_path, opset):
    import onnx

    path, _ = write(mlp, mlp_context, tmp_path, opset=opset)
    assert onnx.load(path).opset_import[0].version == opset
    arrays = batch_of(mlp_context, 3)
    assert_close(run_onnx(path, mlp_context, arrays), reference(mlp, mlp_context, arrays))


def test_each_exporter_names_the_other_for_the_opsets_that_it_cannot_write(mlp, mlp_context, tmp_path):
    with pytest.raises(NavigatorError, match=r"writes opset 9 to 20, not 21; torch->onnx\[dynamo\] does"):
        write(mlp, mlp_context, tmp_path, opset=21)
    with pytest.raises(NavigatorError, match=r"writes opset 18 to 25, not 17; .*\(torch->onnx\[torchscript\]\)"):
        export.onnx(source.prepare(mlp), tmp_path / "m.onnx", options.Onnx(opset=17), mlp_context)


def test_a_scripted_source_becomes_onnx_by_both_methods(mlp, tmp_path):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    context = context_for(scripted, {"x": torch.randn(1, 4), "unused": torch.zeros(2)}, {"x": {0: BATCH}})
    for method in ("trace", "script"):
        path, _ = write(scripted, context, tmp_path / method, method=method)
        arrays = batch_of(context, 3)
        assert_close(run_onnx(path, context, arrays), reference(mlp, context, arrays))


def test_large_weights_lie_beside_the_file(mlp, mlp_context, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "LARGEST_FILE", 100)
    path, _ = write(mlp, mlp_context, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    arrays = batch_of(mlp_context, 2)
    assert_close(run_onnx(path, mlp_context, arrays), reference(mlp, mlp_context, arrays))


def test_the_file_holds_no_line_of_the_source_and_no_path(mlp, mlp_context, tmp_path):
    for method in ("trace", "script"):
        data = write(mlp, mlp_context, tmp_path / method, method=method)[0].read_bytes()
        assert not any(secret in data for secret in (b"conftest", b".py", str(tmp_path).encode()))


def test_exporting_leaves_the_model_as_it_was(mlp, mlp_context, tmp_path):
    mlp.eval()
    before = source.fingerprint(mlp), dict(vars(mlp))
    for method in ("trace", "script"):
        write(mlp, mlp_context, tmp_path / method, method=method)
    assert (source.fingerprint(mlp), dict(vars(mlp))) == before
    assert all(parameter.requires_grad for parameter in mlp.parameters())


def test_what_the_exporter_has_no_operator_for_is_said_in_a_sentence(tmp_path):
    class Unknown(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvalsh(x)

    context = context_for(Unknown(), torch.eye(2)[None], {"x": {0: BATCH}})
    with pytest.raises(NavigatorError, match=r"torch\.onnx\.export failed: UnsupportedOperatorError: .*eig"):
        write(Unknown(), context, tmp_path)
    assert not list(tmp_path.iterdir())
