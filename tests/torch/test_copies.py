import copy
import threading

import pytest
import torch

from navigator_core.errors import NavigatorError
from navigator_torch import source

from .conftest import Mlp, Recurrent, Tied


def snapshot(model):
    return {k: v.clone() for k, v in model.state_dict().items()}, [m.training for m in model.modules()]


def same(a, b):
    return a[1] == b[1] and all(torch.equal(a[0][k], b[0][k]) for k in a[0])


def test_a_model_that_is_ready_is_not_copied(mlp):
    mlp.eval()
    assert source.prepare(mlp) is mlp


def test_a_model_in_training_mode_is_copied_without_its_weights(mlp):
    ready = source.prepare(mlp)
    assert ready is not mlp
    assert mlp.training
    assert not any(m.training for m in ready.modules())
    assert ready.first.weight is mlp.first.weight
    assert ready.shift is mlp.shift


def test_moving_leaves_the_given_model_where_it_was():
    model = Recurrent().eval()
    moved = source.prepare(model, "meta")
    assert {p.device.type for p in moved.parameters()} == {"meta"}
    assert {p.device.type for p in model.parameters()} == {"cpu"}


def test_ties_and_plain_tensors_move_along():
    moved = source.prepare(Tied(), "meta")
    assert moved.head.weight is moved.embedding.weight
    assert moved.plain.device.type == "meta"


def test_a_scripted_model_is_prepared_as_well(mlp):
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(mlp)
    ready = source.prepare(scripted)
    assert scripted.training
    assert not ready.training


def test_what_cannot_be_copied_is_shared_and_everything_else_is_copied(mlp):
    mlp.lock, mlp.kept = threading.Lock(), [iter_once := (n for n in range(3)), torch.ones(1)]
    for made in (source.prepare(mlp), source.truth(mlp), source.noise(mlp)):
        assert made.lock is mlp.lock
        assert made.kept[0] is iter_once
        assert made.first is not mlp.first
    assert mlp.training
    assert source.truth(mlp).first.weight.dtype is torch.float64


def test_a_model_that_cannot_be_copied_says_so(mlp):
    def refuse(memo):
        raise TypeError("there is only one of me")

    mlp.__dict__["__deepcopy__"] = refuse
    with pytest.raises(NavigatorError, match=r"Mlp cannot be copied \(there is only one of me\)"):
        source.prepare(mlp)


def test_state_tells_what_evaluation_changes(mlp):
    assert "was in training mode" in source.state(mlp)[0]
    assert source.state(mlp.eval()) == ()
    mlp.norm.train()
    assert "norm" in source.state(mlp)[0]


def test_the_truth_is_in_double_and_the_model_is_not_touched(mlp):
    before = snapshot(mlp)
    truth = source.truth(mlp)
    x = torch.randn(3, 4)
    out = truth(x.double(), None)
    assert {v.dtype for v in out.values()} == {torch.float64}
    assert same(snapshot(mlp), before)
    expected = copy.deepcopy(mlp).eval()(x, None)
    torch.testing.assert_close(out["logits"].float(), expected["logits"])
    assert source.parameters(truth) == source.parameters(mlp)


class Casts(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.randn(8, 8))

    def forward(self, x):
        x = x.to(torch.float32) @ self.weight
        x = torch.softmax(x.float(), -1, dtype=torch.float32)
        x = x + torch.arange(8, dtype=torch.float32) / 3
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return x @ torch.eye(8)


def test_the_truth_is_not_narrowed_by_casts_constants_or_autocast_inside_forward():
    model = Casts()
    x = torch.randn(2, 8)
    weight = model.weight.detach().double()
    expected = torch.softmax(x.double() @ weight, -1) + torch.arange(8).double() / 3
    torch.testing.assert_close(source.truth(model)(x.double()).detach(), expected, rtol=1e-14, atol=1e-14)
    assert torch.get_default_dtype() is torch.float32


def test_a_recurrent_truth_computes_in_double():
    out, _ = source.truth(Recurrent())(torch.randn(2, 4, 3).double(), tuple(torch.zeros(2, 2, 2, 5).double()))
    assert out.dtype is torch.float64


def test_what_is_double_already_has_no_truth(mlp):
    with pytest.raises(NavigatorError, match="double precision already"):
        source.truth(mlp.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_noise_moves_every_weight_by_one_unit_in_the_last_place(dtype):
    model = torch.nn.Linear(300, 3).to(dtype)
    with torch.no_grad():
        model.bias[0] = 0
        model.bias[1] = float("inf")
    before = snapshot(model)
    moved = source.noise(model)
    assert same(snapshot(model), before)
    integer = {8: torch.int64, 4: torch.int32, 2: torch.int16}[dtype.itemsize]
    steps = moved.weight.detach().view(integer) - model.weight.detach().view(integer)
    assert set(steps.unique().tolist()) == {-1, 1}
    assert moved.bias[0] == 0
    assert moved.bias[1] == float("inf")
    assert torch.equal(moved.weight, source.noise(model).weight)


def test_parameters_leave_out_self_and_know_defaults(mlp):
    assert list(source.parameters(mlp).parameters) == ["x", "unused", "scale"]
    assert source.parameters(mlp).parameters["scale"].default == 1.0


def test_parameters_of_a_scripted_model_come_from_its_schema():
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(Mlp())
    assert list(source.parameters(scripted).parameters) == ["x", "unused", "scale"]
    assert source.parameters(scripted).parameters["scale"].default == 1.0
