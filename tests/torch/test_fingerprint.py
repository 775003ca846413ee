import functools
import subprocess
import sys
import textwrap

import pytest
import torch

from navigator_torch import source

from .conftest import Mlp, Tied

MODEL = """
import sys, torch
import helper
from navigator_torch.source import fingerprint

FACTOR = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0

class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.settings = {"kinds": ("a", "b"), "eps": 1e-5, "names": {"x", "y", "z"}}
        self.dtype = torch.float32
        self.activation = torch.nn.functional.gelu
        self.register_buffer("table", torch.arange(3.0), persistent=False)

    def forward(self, x):
        return helper.scaled(self.activation(self.linear(x))) * FACTOR + self.table

if __name__ == "__main__":
    torch.manual_seed(0)
    print(fingerprint(Block()))
"""
HELPER = "def scaled(x):\n    return x * 2\n"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "helper.py").write_text(HELPER)
    (tmp_path / "script.py").write_text(MODEL)
    return tmp_path


def run(folder, *arguments):
    command = [sys.executable, "-W", "ignore", *(arguments or ("script.py",))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=True)
    return done.stdout.strip()


def test_another_process_finds_the_same_and_any_local_line_or_value_changes_it(project):
    first = run(project)
    assert len(first) == 64
    assert run(project) == first
    assert run(project, "script.py", "2.0") != first
    (project / "helper.py").write_text(HELPER.replace("2", "3"))
    assert run(project) != first


def test_code_that_has_no_file_is_told_by_what_it_compiles_to(project):
    def of(text):
        return run(project, "-c", textwrap.dedent(text))

    first = of(MODEL)
    assert len(first) == 64
    assert of(MODEL + "\n# a comment\n") == first
    assert of(MODEL.replace("+ self.table", "- self.table")) != first


def test_training_mode_and_gradients_do_not_matter(mlp):
    before = source.fingerprint(mlp)
    mlp.eval()
    mlp.first.weight.grad = torch.ones_like(mlp.first.weight)
    assert source.fingerprint(mlp) == before


def nudge(m):
    m.first.weight.data[0, 0] = torch.nextafter(m.first.weight.data[0, 0], torch.tensor(9.0))


@pytest.mark.parametrize(
    "change",
    [
        nudge,
        lambda m: setattr(m.norm, "eps", 1e-6),
        lambda m: m.shift.add_(1),
        lambda m: setattr(m, "extra", torch.zeros(1)),
        lambda m: setattr(m, "nested", {"a": [1, (2, None)]}),
        lambda m: setattr(m, "forward", functools.partial(m.forward, scale=2.0)),
        lambda m: setattr(m, "last", torch.nn.Sequential(m.last)),
        lambda m: m.first.weight.data.copy_(m.first.weight.data.flip(0)),
        lambda m: m.half(),
    ],
    ids=["weight", "epsilon", "buffer", "tensor", "nested", "forward", "structure", "order", "dtype"],
)
def test_what_can_reach_the_results_changes_it(mlp, change):
    before = source.fingerprint(mlp)
    change(mlp)
    assert source.fingerprint(mlp) not in (before, None)


def scale_by(factor):
    return lambda x: x * factor


def test_functions_are_told_by_their_code_and_what_they_close_over(mlp):
    found = []
    for function in (scale_by(1), scale_by(1), scale_by(2), torch.relu, torch.sin):
        mlp.activation = function
        found.append(source.fingerprint(mlp))
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_hooks_and_what_cannot_be_told_are_never_reused(mlp):
    mlp.secret = iter([1])
    assert source.fingerprint(mlp) is None
    del mlp.secret
    assert source.fingerprint(mlp) is not None
    mlp.register_forward_hook(lambda *_: None)
    assert source.fingerprint(mlp) is None


def test_ties_views_and_bfloat16_are_covered():
    torch.manual_seed(0)
    model = Tied()
    before = source.fingerprint(model)
    model.plain[0] = 3
    assert source.fingerprint(model) not in (before, None)


def test_transformers_models_are_told_with_their_configuration(bert):
    before = source.fingerprint(bert)
    assert before is not None
    assert source.fingerprint(bert) == before
    bert.config.layer_norm_eps = 1e-3
    try:
        assert source.fingerprint(bert) != before
    finally:
        bert.config.layer_norm_eps = 1e-12


def test_scripted_models_are_told_by_their_archive(mlp):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        a, b = torch.jit.script(mlp), torch.jit.script(mlp)
    before = source.fingerprint(a)
    assert before is not None
    a.eval()
    assert source.fingerprint(a) == before
    assert source.fingerprint(b) == before
    b.last.bias.data[0] += 1
    assert source.fingerprint(b) != before


def test_two_models_of_one_seed_are_the_same():
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(source.fingerprint(Mlp()))
    assert found[0] == found[1]
