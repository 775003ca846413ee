import inspect
import io
import pickle
import subprocess
import sys

import pytest
import torch

import navigator as nav
from navigator_core.errors import NavigatorError, RequestError
from navigator_core.shipping import dumps
from navigator_torch import files, options, plugin, program, source, torchscript

from .conftest import BATCH, context_for


class Both(torch.nn.Module):
    """Takes a container by position and a tensor by name; returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.table = torch.ones(3)

    def forward(self, x, pair, *, scale=None, unused=True):
        y = self.norm(self.layer(x)) + self.table
        return {"scaled": (y * scale).float(), "rest": (pair[0] * 2, None)}


def exported(model=None):
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=64)
    return torch.export.export(
        (model or Both()).eval(),
        (torch.ones(2, 4), (torch.ones(2, 3), torch.ones(1))),
        {"scale": torch.tensor(2.0)},
        dynamic_shapes=({0: batch}, ({0: batch}, None), None),
    )


def call(rows):
    return nav.call(torch.randn(rows, 4), (torch.randn(rows, 3), torch.ones(1)), scale=torch.tensor(2.0))


def test_an_exported_program_is_recognised_and_says_what_it_takes():
    made = exported()
    assert plugin.identify_model(made, None) == "torch"
    assert list(source.parameters(made).parameters) == ["x", "pair", "scale"]
    assert {p.default for p in source.parameters(made).parameters.values()} == {inspect.Parameter.empty}
    assert source.state(made) == ()


def test_arguments_may_be_given_by_position_or_by_name_whatever_the_export_was_made_with():
    made, given = exported(), call(3)
    ready = source.prepare(made)
    expected = made.module()(*given.args, **given.kwargs)["scaled"]
    by_position = ready(*given.args, given.kwargs["scale"])["scaled"]
    by_name = ready(scale=given.kwargs["scale"], pair=given.args[1], x=given.args[0])["scaled"]
    assert torch.equal(by_position, expected)
    assert torch.equal(by_name, expected)


def test_equal_programs_have_equal_fingerprints_and_others_do_not():
    class Other(Both):
        def forward(self, x, pair, *, scale=None, unused=True):
            return {"scaled": self.layer(x) * scale, "rest": (pair[0] * 2, None)}

    other = Both()
    other.table = torch.zeros(3)
    first = source.fingerprint(exported())
    assert first is not None
    assert source.fingerprint(exported()) == first
    assert source.fingerprint(exported(Other())) != first
    assert source.fingerprint(exported(other)) != first


def test_the_truth_of_a_program_is_in_double_and_its_noise_moves_the_weights():
    made, given = exported(), call(3)
    ready = source.prepare(made)
    x, pair = given.args
    wide = source.truth(ready)(x.double(), tuple(t.double() for t in pair), scale=given.kwargs["scale"].double())
    assert wide["scaled"].dtype is torch.float64
    plain = ready(*given.args, **given.kwargs)["scaled"]
    torch.testing.assert_close(wide["scaled"].float(), plain)
    moved = source.noise(ready)(*given.args, **given.kwargs)["scaled"]
    assert not torch.equal(moved, plain)
    torch.testing.assert_close(moved, plain)


def test_a_program_travels_to_a_process_that_does_not_know_its_source(tmp_path):
    made = exported()
    sent = dumps(made, source.reducers())
    (tmp_path / "program.pkl").write_bytes(sent)
    assert torch.equal(pickle.load(io.BytesIO(sent)).state_dict["layer.weight"], made.state_dict["layer.weight"])
    code = "import sys, pickle, torch\nfrom navigator_torch import source\n"
    code += "ready = source.prepare(pickle.load(open(sys.argv[1], 'rb')))\n"
    code += "print(ready(torch.ones(3, 4), (torch.ones(3, 3), torch.ones(1)), torch.tensor(2.0))['scaled'].tolist())"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "program.pkl")],
        capture_output=True, text=True, timeout=100, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected = source.prepare(made)(torch.ones(3, 4), (torch.ones(3, 3), torch.ones(1)), torch.tensor(2.0))
    assert done.stdout.strip() == str(expected["scaled"].tolist())


def test_a_program_is_moved_with_all_it_holds():
    moved = program.move(exported(), "meta")
    assert {t.device.type for t in (*moved.state_dict.values(), *moved.constants.values())} == {"meta"}
    assert program.move(moved, "meta") is moved


def test_a_program_cannot_be_scripted_and_says_so(tmp_path):
    ready = source.prepare(torch.export.export(torch.nn.Linear(4, 3), (torch.ones(2, 4),)))
    context = context_for(torch.nn.Linear(4, 3), torch.ones(2, 4), {"input": {0: BATCH}})
    with pytest.raises(NavigatorError, match="no source that could be scripted; it can be traced"):
        torchscript.export(ready, tmp_path / "m.pt", options.ToTorchScript(method="script"), context)


@pytest.fixture
def written(tmp_path):
    """A file of each kind by its format; weights alone are of none."""
    made = exported()
    torch.export.save(made, tmp_path / "program.pt2")
    torch.save(made.state_dict, tmp_path / "weights.pt")
    with pytest.warns(DeprecationWarning, match="jit"):
        torch.jit.save(torch.jit.script(torch.nn.Linear(4, 3)), tmp_path / "scripted.pt")
    (tmp_path / "nothing.pt").write_text("no archive")
    return tmp_path


def test_files_are_told_apart_by_what_is_inside(written):
    found = {path.name: files.format_of(path) for path in written.iterdir()}
    assert found == {
        "program.pt2": "exported-program",
        "scripted.pt": "torchscript",
        "weights.pt": None,
        "nothing.pt": None,
    }
    assert files.format_of(str(written / "missing.pt2")) is None
    assert files.format_of(3) is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "program.pt2",
            r"'exported-program' cannot be a source: load it with torch\.export\.load, and give the program",
        ),
        ("scripted.pt", r"'torchscript' cannot be a source: load it with torch\.jit\.load, and give the module"),
    ],
)
def test_a_file_that_declares_no_shapes_is_refused_with_the_way_out(written, name, said):
    with pytest.raises(RequestError, match=said):
        nav.optimize(written / name, torch.ones(2, 4), workspace=written / "workspace")
