"""Models of many kinds, optimized for real: what is right is found right, what is wrong is caught."""

import gc

import models
import numpy as np
import pytest
import torch

import navigator as nav
from navigator_core.structure import flatten

EAGER = "torch @ torch-eager"
TRACE = "torch->torchscript[trace] @ torchscript"
SCRIPT = "torch->torchscript[script] @ torchscript"
ONNX = "torch->onnx[dynamo] @ onnxruntime-cpu"
ONNX_TRACE = "torch->onnx[torchscript] @ onnxruntime-cpu"
ONNX_SCRIPT = "torch->onnx[script] @ onnxruntime-cpu"

# What TorchScript's compiler does not take in a model's source: keyword-only arguments with defaults, a dict of
# tensors and dicts.
NO_SCRIPT = {"detector", "nested", "scaled"}
RIGHT = {
    name: (EAGER, TRACE, ONNX, ONNX_TRACE, *(() if name in NO_SCRIPT else (SCRIPT, ONNX_SCRIPT)))
    for name in ("decoder", "recurrent", "detector", "nested", "scaled", "lookup", "unused", "trained")
} | {"resnet18": (EAGER, ONNX)}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_every_branch_that_is_right_is_found_right(optimized, name):
    found = optimized(name)
    assert found.status(*RIGHT[name]) == dict.fromkeys(RIGHT[name], "ok")
    assert found.report.best in found.report.candidates
    assert [m.batch_size for m in found.report.best.measurements] == list(found.asked["batch_sizes"])


@pytest.mark.parametrize("name", RIGHT)
def test_a_loaded_candidate_answers_as_the_source_does(optimized, name):
    found = optimized(name)
    node = found.report.signature.structure.output
    for candidate in (found.named[branch] for branch in RIGHT[name]):
        with candidate.load() as model:
            for sample in found.samples:
                call, expected = models.as_call(sample), found.expected(sample)
                answer = model(*call.args, **call.kwargs)
                assert type(answer) is type(expected)
                ours, theirs = flatten(node, answer), flatten(node, expected)  # checks containers and constants too
                for leaf, tensor in theirs.items():
                    torch.testing.assert_close(ours[leaf], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", RIGHT)
def test_a_failed_branch_says_why(optimized, name):
    for candidate in optimized(name).report.candidates:
        assert candidate.status in ("ok", "failed", "unavailable", "incorrect", "skipped")
        if candidate.status != "ok":
            assert candidate.reason
            assert candidate.remedy
            assert not candidate.measurements


BATCH_AXES = {
    "decoder": {"ids": 0},
    "recurrent": {"x": 1, "state.0": 1, "state.1": 1},
    "detector": {"image": 0, "scale": None},
    "nested": {"inputs.image": 0, "inputs.words.bag": 0},
    "scaled": {"x": 0, "scale": 0},
    "lookup": {"query": 0, "table": None},
    "unused": {"x": 0, "unused": 0},
    "trained": {"x": 0},
    "resnet18": {"images": 0},
}


@pytest.mark.parametrize("name", BATCH_AXES)
def test_the_batch_axis_of_each_input_is_found(optimized, name):
    signature = optimized(name).report.signature
    assert {spec.name: spec.batch_axis for spec in signature.inputs} == BATCH_AXES[name]


OUTPUTS = {
    "decoder": ["output"],
    "recurrent": ["0", "1.0", "1.1"],
    "detector": ["boxes", "levels.0", "levels.1"],
    "nested": ["pair.0", "pair.1", "fused.both", "extra.0"],
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_are_named_by_where_they_stand(optimized, name):
    found = optimized(name)
    assert [spec.name for spec in found.report.signature.outputs] == OUTPUTS[name]
    assert list(found.report.best.verdict.outputs) == OUTPUTS[name]


# one by one


def test_the_time_axis_of_a_decoder_is_dynamic_in_the_range_of_the_samples(optimized):
    found = optimized("decoder")
    batch, time = found.report.signature.inputs[0].shape
    assert (time.min, time.max) == (5, 12)
    assert [n.name for n in found.report.signature.outputs[0].shape[:2]] == [batch.name, time.name]


def test_no_token_of_a_decoder_sees_the_next_one(optimized):
    ids = torch.randint(0, 100, (2, 9))
    other = ids.clone()
    other[:, 5:] = 0
    with optimized("decoder").report.load() as model:
        torch.testing.assert_close(model(ids)[:, :5], model(other)[:, :5], rtol=1e-3, atol=1e-4)


def test_an_lstm_takes_the_state_that_it_returned(optimized):
    found = optimized("recurrent")
    x, state = found.samples[0]
    expected = found.model
    with found.report.load() as model, torch.inference_mode():
        _, ours = model(x, state)
        _, theirs = expected(x, state)
        assert isinstance(ours, tuple)
        torch.testing.assert_close(model(x, ours)[0], expected(x, theirs)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_export_that_silently_fixed_the_time_axis_cannot_win(optimized):
    found = optimized("recurrent", (5, 9))
    assert {spec.name: spec.batch_axis for spec in found.report.signature.inputs} == BATCH_AXES["recurrent"]
    assert found.status(EAGER, TRACE, SCRIPT) == dict.fromkeys((EAGER, TRACE, SCRIPT), "ok")
    # torch 2.13 writes the example's length into a Reshape behind every LSTM
    assert found.named[ONNX].status == "failed"
    assert "the export fixes axis 0 of '0' at 5" in found.named[ONNX].reason
    assert not found.named[ONNX].measurements
    assert found.status(ONNX_TRACE, ONNX_SCRIPT) == dict.fromkeys((ONNX_TRACE, ONNX_SCRIPT), "ok")


def test_time_is_not_taken_for_the_batch(tmp_path):
    model, samples = models.time_first()
    report = nav.optimize(model, samples, runners=["torch-eager"], batch_sizes=[1], workspace=tmp_path / "w")
    assert report.signature.inputs[0].batch_axis == 1
    assert not any("influence each other" in note for note in report.notes)


def test_constants_in_a_nested_output_come_back(optimized):
    found = optimized("detector")
    x = found.samples[0].args[0]
    with found.report.load() as model:
        out = model(x, scale=torch.tensor(1.0))
    assert out["count"] == 3
    assert out["mask"] is None
    assert isinstance(out["levels"], tuple)
    assert list(out) == ["boxes", "levels", "count", "mask"]


def test_a_keyword_may_be_given_in_any_way_the_source_takes_it(optimized):
    found = optimized("scaled")
    x, scale = torch.randn(3, 4), torch.rand(3, 1)
    with found.report.load() as model:
        by_name = model(x, scale=scale, power=2.0)
        torch.testing.assert_close(model(x, scale, power=2.0), by_name)
        torch.testing.assert_close(model(scale=scale, x=x, power=2.0), by_name)


def test_a_constant_of_the_samples_cannot_be_changed_later(optimized):
    with (
        optimized("scaled").report.load() as model,
        pytest.raises(nav.RequestError, match="argument 'power': it is a constant"),
    ):
        model(torch.randn(3, 4), scale=torch.rand(3, 1), power=3.0)


def test_an_argument_that_the_samples_left_out_cannot_be_used_later(optimized):
    found = optimized("detector")
    with found.report.load() as model, pytest.raises(nav.RequestError, match="'flags' was left out in the samples"):
        model(found.samples[0].args[0], scale=torch.tensor(1.0), flags=("slow",))


def test_one_row_and_many_rows_fit_where_the_samples_had_two_and_four(optimized):
    found = optimized("lookup")
    table = found.samples[0][1]
    with found.report.load() as model:
        for rows in (1, 2, 11):
            query = torch.randn(rows, 6)
            torch.testing.assert_close(model(query, table), found.model(query, table), rtol=1e-3, atol=1e-4)


def test_an_unused_input_is_still_taken(optimized):
    found = optimized("unused")
    with found.report.load() as model:
        assert model(torch.randn(2, 4), torch.randn(2, 7)).shape == (2, 3)
        with pytest.raises(nav.RequestError, match="missing input 'unused'"):
            model(torch.randn(2, 4))


@pytest.mark.slow
def test_a_recorded_branch_is_incorrect_and_a_compiled_one_is_right(optimized):
    found = optimized("branching")
    assert found.status(EAGER, TRACE, SCRIPT) == {EAGER: "ok", TRACE: "incorrect", SCRIPT: "ok"}
    trace = found.named[TRACE]
    assert trace.reason.startswith("sample ")
    assert trace.verdict.outputs["output"].relative_l2 > 0.1
    assert not trace.verdict.ok
    assert not trace.measurements
    assert found.named[ONNX].status == "failed"
    assert "data-dependent" in found.named[ONNX].reason
    follows = ("torch @ ", "torch->torchscript[script]", "torch->onnx[script]")
    assert found.report.best.name.startswith(follows)


# the user's model stays as it was


@pytest.mark.parametrize("training", [True, False])
def test_the_model_comes_back_as_it_was_given(tmp_path, training):
    model, samples = models.trained()
    model.train(training)
    model.drop.train(not training)
    seen = []
    hook = model.register_forward_hook(lambda *_: seen.append(1))
    model.last.bias.requires_grad_(False)
    model(samples[0]).sum().backward()
    seen.clear()
    modes = [module.training for module in model.modules()]
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    addresses = [tensor.data_ptr() for tensor in model.state_dict().values()]
    needed = [p.requires_grad for p in model.parameters()]
    given = [sample.clone() for sample in samples]

    report = nav.optimize(model, samples, runners=["torchscript"], batch_sizes=[1], workspace=tmp_path / "w")
    assert report.best is not None
    with report.load() as loaded:
        loaded(samples[0])

    assert [module.training for module in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == needed
    assert [tensor.data_ptr() for tensor in model.state_dict().values()] == addresses
    for name, parameter in model.named_parameters():
        before = grads[name]
        assert (parameter.grad is None) if before is None else torch.equal(parameter.grad, before)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, state[name])
    assert all(map(torch.equal, samples, given))
    seen.clear()
    model(samples[0])
    assert seen == [1]
    hook.remove()
    assert not model._forward_hooks


def test_a_model_in_training_mode_is_evaluated_in_eval_mode(optimized):
    found = optimized("trained")
    assert found.model.training
    assert any("training mode" in note for note in found.report.notes)
    x = found.samples[0]
    expected = found.expected(x)
    with found.named[EAGER].load() as model:
        torch.testing.assert_close(model(x), expected)
    assert found.model.training


def test_nothing_of_the_model_is_kept_alive_by_the_workspace(tmp_path):
    import weakref

    model, samples = models.scaled()
    kept = weakref.ref(model)
    nav.optimize(model, samples, runners=["torch-eager"], batch_sizes=[1], workspace=tmp_path / "w")
    del model
    gc.collect()
    assert kept() is None


# more ways to ask


@pytest.mark.slow
def test_a_compiled_model_wins_or_loses_by_its_measurements(tmp_path):
    model, samples = models.unused()
    report = nav.optimize(
        model, samples, runners=["torch-eager", "torch-compile"], batch_sizes=[1], workspace=tmp_path / "w"
    )
    compiled = next(c for c in report.candidates if c.runner == "torch-compile")
    assert compiled.status == "ok"
    assert compiled.path is None
    with compiled.load() as loaded:
        torch.testing.assert_close(loaded(*samples[0]), model(*samples[0]), rtol=1e-3, atol=1e-5)


def test_a_repeated_run_finds_every_step_done(optimized):
    found = optimized("unused")
    events = []
    again = nav.optimize(found.model, found.samples, **found.asked, observe=events.append)
    finished = {e.step: e.status for e in events if type(e).__name__ == "StepFinished" and e.stage != "inspect"}
    undone = [c.name for c in found.report.candidates if c.status in ("failed", "skipped")]
    undone += [name.partition(" @ ")[0] for name in undone]  # the step that failed, or had nothing to do
    said = {c.name: [m.unstable or "" for m in c.measurements] for c in found.report.candidates}
    undone += [name for name, texts in said.items() if any("other processes" in text for text in texts)]
    assert {status for step, status in finished.items() if step not in undone} == {"cached"}
    for candidate in again.candidates:
        if candidate.name not in undone:
            assert candidate.measurements == found.named[candidate.name].measurements


def test_a_loader_is_read_once_and_need_not_be_a_list(tmp_path):
    model, samples = models.unused()
    read = []

    def loader():
        for sample in samples:
            read.append(1)
            yield list(sample)  # as default_collate does

    report = nav.optimize(model, loader(), runners=["torch-eager"], batch_sizes=[1], workspace=tmp_path / "w")
    assert len(read) == len(samples)
    assert report.best is not None


def test_names_of_the_users_own(tmp_path):
    model, samples = models.detector()
    report = nav.optimize(
        model, samples, runners=["onnxruntime-cpu"], batch_sizes=[1], workspace=tmp_path / "w",
        input_names=["picture", "factor"], output_names=["boxes", "mean", "max"],
    )  # fmt: skip
    assert [spec.name for spec in report.signature.inputs] == ["picture", "factor"]
    assert list(report.best.verdict.outputs) == ["boxes", "mean", "max"]
    with report.load() as loaded:
        out = loaded(samples[0].args[0], scale=torch.tensor(2.0))
    torch.testing.assert_close(out["levels"][1], samples[0].args[0].amax((2, 3)))


# plain functions


def test_a_plain_function_is_optimized_by_running_it(tmp_path):
    samples = [torch.randn(n, 6) for n in (2, 5)]
    report = nav.optimize(models.softplus, samples, batch_sizes=[1, 2], workspace=tmp_path / "w")
    assert [(c.name, c.status) for c in report.candidates] == [("python @ python", "ok")]
    assert report.signature.inputs[0].batch_axis == 0
    with report.load() as loaded:
        torch.testing.assert_close(loaded(samples[0]), models.softplus(samples[0]))


def test_a_closure_on_numpy_is_profiled(tmp_path):
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    samples = [np.ones((n, 4), "float32") for n in (2, 3)]
    report = nav.profile(lambda x: {"scores": x @ weights}, samples, batch_sizes=[1, 8], workspace=tmp_path / "w")
    (candidate,) = report.candidates
    assert candidate.status == "ok"
    assert candidate.verdict is None
    assert [m.batch_size for m in candidate.measurements] == [1, 8]
    assert all(m.p50.low <= m.p50.value <= m.p50.high for m in candidate.measurements)
