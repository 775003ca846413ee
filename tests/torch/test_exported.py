import subprocess
import sys
import zipfile

import attrs
import numpy as np
import pytest
import torch

from navigator_core import Dim
from navigator_core.errors import NavigatorError, RequestError
from navigator_torch import exported, options, source

from .conftest import BATCH, as_torch, assert_close, batch_of, context_for, reference
from .test_export import Adds, Awkward, Branches


def export(model, context, folder):
    exported.export(source.prepare(model), folder / "model.pt2", options.ToExportedProgram(), context)
    return folder / "model.pt2"


def loaded(model, context, folder, **chosen):
    return exported.run(export(model, context, folder), options.ExportedProgram(**chosen), context)


@pytest.mark.parametrize("name", ["mlp", "bert"])
def test_an_exported_program_matches_eager_at_several_batch_sizes(name, request, tmp_path):
    model, context = request.getfixturevalue(name), request.getfixturevalue(f"{name}_context")
    run = loaded(model, context, tmp_path)
    for size in (1, 3, 8):
        arrays = batch_of(context, size)
        assert_close(run.call(as_torch(context.signature, arrays)), reference(model, context, arrays))


def test_another_length_is_right_too(bert, bert_context, tmp_path):
    run = loaded(bert, bert_context, tmp_path)
    for length in (2, 13):
        arrays = {n: np.ones((2, length), np.int64) for n in ("input_ids", "attention_mask")}
        assert_close(run.call(as_torch(bert_context.signature, arrays)), reference(bert, bert_context, arrays))


def test_inputs_handed_through_and_outputs_given_twice_are_kept_apart(tmp_path):
    axes = {"linear": {0: BATCH}, "levels.0": {0: BATCH}, "levels.1": {0: BATCH}}
    model = Awkward()
    context = context_for(model, (torch.randn(1, 2), [torch.randn(1, 2), torch.randn(1, 1)]), axes)
    run = loaded(model, context, tmp_path)
    arrays = batch_of(context, 3)
    assert_close(run.call(as_torch(context.signature, arrays)), reference(model, context, arrays))


@pytest.mark.parametrize("kind", [Adds, Branches])
def test_an_axis_the_model_fixes_is_named(tmp_path, kind):
    model = kind().eval()
    with pytest.raises(NavigatorError, match="axis 0 of 'x' at 2"):
        export(model, context_for(model, torch.randn(2, 4), {"x": {0: BATCH}}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_an_lstm_fixes_is_named(recurrent, recurrent_context, tmp_path):
    with pytest.raises(NavigatorError, match="axis 1 of 'x' at 6"):
        export(recurrent, recurrent_context, tmp_path)


def test_a_scripted_module_cannot_be_exported_and_says_so(mlp, mlp_context, tmp_path):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    with pytest.raises(NavigatorError, match="scripted"):
        export(scripted, mlp_context, tmp_path)


def test_the_file_holds_no_line_of_the_source_and_no_path(mlp, mlp_context, tmp_path):
    with zipfile.ZipFile(export(mlp, mlp_context, tmp_path)) as archive:
        parts = [archive.read(name) for name in archive.namelist()]
    for secret in (b"self.norm(self.first(x))", b"conftest.py", b"site-packages", b"stack_trace"):
        assert not any(secret in part for part in parts)


def test_it_runs_where_nothing_of_the_model_or_of_navigator_is_known(mlp, mlp_context, tmp_path):
    path = export(mlp, mlp_context, tmp_path)
    code = "import sys, torch\nprogram = torch.export.load(sys.argv[1])\n"
    code += "print([o.tolist() for o in program.module()(torch.ones(5, 4), torch.zeros(2))])\n"
    code += "assert not any('navigator' in name for name in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)],
        capture_output=True, text=True, timeout=100, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with torch.no_grad():
        expected = source.prepare(mlp)(torch.ones(5, 4), torch.zeros(2), scale=0.5)
    assert done.stdout.strip() == str([expected["logits"].tolist(), expected["hidden"].tolist()])


def test_a_tensor_in_another_memory_order_is_taken_as_it_is_meant(mlp, mlp_context, tmp_path):
    run = loaded(mlp, mlp_context, tmp_path)
    x = torch.randn(4, 3).T
    assert not x.is_contiguous()
    found = run.call({"x": x, "unused": torch.zeros(2)})
    assert_close(found, reference(mlp, mlp_context, {"x": x.numpy(), "unused": np.zeros(2, np.float32)}))


LENGTH = Dim("length", 2, 32)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ({"x": (3, 5, 4)}, r"'x' has the shape \(3, 5, 4\), .* for \(batch from 1, length from 2 to 32, 3\)"),
        ({"x": (3, 33, 3)}, "length from 2 to 32"),
        ({"x": (3, 1, 3)}, "length from 2 to 32"),
        ({"x": (0, 5, 3)}, "batch from 1,"),
        ({"x": (5, 3)}, r"the shape \(5, 3\)"),
        ({"mask": (2, 5)}, r"'mask' has the shape \(2, 5\), .*; batch is 3 in this call"),
        ({"mask": (3, 6)}, r"'mask' .*; length is 5 in this call"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_with_what_would(sizes, said):
    def forward(x, mask):
        return x

    model = torch.nn.Identity()
    model.forward = forward
    axes = {"x": {0: BATCH, 1: LENGTH}, "mask": {0: BATCH, 1: LENGTH}}
    context = context_for(model, (torch.zeros(1, 4, 3), torch.zeros(1, 4)), axes)
    ordered = exported.in_order(context.signature)
    given = {"x": torch.zeros(3, 5, 3), "mask": torch.zeros(3, 5)}
    assert list(map(id, ordered(given))) == list(map(id, given.values()))
    with pytest.raises(RequestError, match=said):
        ordered({**given, **{name: torch.zeros(shape) for name, shape in sizes.items()}})


def test_exporting_leaves_the_model_as_it_was(mlp, mlp_context, tmp_path):
    ready = mlp.eval()
    before = source.fingerprint(mlp), dict(vars(mlp))
    export(ready, mlp_context, tmp_path)
    assert (source.fingerprint(mlp), dict(vars(mlp))) == before
    assert all(parameter.requires_grad for parameter in mlp.parameters())


class MakesItsOwn(torch.nn.Module):
    """Holds a constant and makes another on the device of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.table = torch.arange(4.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.table.to(x.device) + torch.ones(4, device=x.device)


@pytest.mark.parametrize("device", ["meta", pytest.param("cuda:0", marks=pytest.mark.gpu)])
def test_a_program_moves_to_another_device_with_all_it_holds(tmp_path, device):
    if device.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = torch.nn.Sequential(MakesItsOwn(), torch.nn.Linear(4, 3))
    context = context_for(model, torch.randn(1, 4), {"input": {0: BATCH}})
    run = exported.run(
        export(model, context, tmp_path), options.ExportedProgram(), attrs.evolve(context, device=device)
    )
    found = run.call({"input": torch.ones(3, 4, device=device)})["output"]
    assert found.device == torch.device(device)
    if device != "meta":
        assert_close({"output": found.cpu()}, reference(model, context, {"input": np.ones((3, 4), np.float32)}))


def test_a_bfloat16_model_stays_one(tmp_path):
    model = torch.nn.Linear(3, 3).eval().bfloat16()
    context = context_for(model, torch.randn(1, 3).bfloat16(), {"input": {0: BATCH}})
    found = loaded(model, context, tmp_path).call({"input": torch.ones(2, 3, dtype=torch.bfloat16)})
    assert found["output"].dtype is torch.bfloat16


def test_weights_that_are_tied_are_stored_once(tmp_path):
    untied, tied = torch.nn.Sequential(*map(torch.nn.Linear, [64] * 2, [64] * 2)), torch.nn.Sequential()
    tied.append(untied[0])
    tied.append(untied[0])
    sizes = []
    for number, model in enumerate((tied, untied)):
        folder = tmp_path / str(number)
        folder.mkdir()
        sizes.append(
            export(model, context_for(model, torch.randn(1, 64), {"input": {0: BATCH}}), folder).stat().st_size
        )
    assert sizes[0] < sizes[1] - 10_000


def test_a_batch_that_never_grows_beyond_the_size_of_another_axis_is_exported(tmp_path):
    """The example needs a batch of a size of its own: here one above all that the signature allows."""
    model = torch.nn.Sequential(torch.nn.Conv1d(2, 2, 1), torch.nn.Flatten(), torch.nn.Linear(6, 2)).eval()
    context = context_for(model, torch.randn(2, 2, 3), {"input": {0: Dim("batch", 1, 3)}})
    run = loaded(model, context, tmp_path)
    for size in (1, 2, 3):
        arrays = batch_of(context, size)
        assert_close(run.call(as_torch(context.signature, arrays)), reference(model, context, arrays))


def test_a_batch_may_be_larger_than_any_that_was_seen(mlp, mlp_context, tmp_path):
    run = loaded(mlp, mlp_context, tmp_path)
    arrays = batch_of(mlp_context, BATCH.max + 1)
    assert_close(run.call(as_torch(mlp_context.signature, arrays)), reference(mlp, mlp_context, arrays))
