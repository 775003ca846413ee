"""ONNX Runtime's own settings, searched in real sessions, and sessions that several threads call."""

import numpy as np
import onnx_models
import onnxruntime
import pytest

import navigator as nav
from navigator_core import core_counts, request, search
from navigator_core import optimize as engine
from navigator_onnx.run import session_options

SAMPLES = [{"x": np.random.default_rng(n).standard_normal((n, 64), np.float32)} for n in (2, 3)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Any setting that is not slower counts as better, so that what follows from one can be seen on any machine."""
    folder = tmp_path_factory.mktemp("search")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "better", lambda *given: True)
        patch.setattr(search, "LEAST", 600.0)  # whatever else the machine does
        yield run(onnx_models.write(folder / "model.onnx", onnx_models.mlp()), folder, search=True)


def run(path, folder, **asked):
    asked = {"workspace": folder / "workspace", "seconds": 0.05, "batch_sizes": [1, 8], **asked}
    asked = {"runners": ["onnxruntime-cpu"], "precisions": ["fp32"], **asked}
    return engine.optimize(str(path), SAMPLES, request.checked(**asked))


def test_every_knob_is_turned_and_every_setting_is_verified(report):
    (name,) = {trial.candidate for trial in report.trials}
    assert name.endswith("@ onnxruntime-cpu")
    for cores in core_counts():
        assert any(f"threads={cores}" in trial.setting for trial in report.trials)
    assert any("graph_optimization_level=basic" in trial.setting for trial in report.trials)
    assert any("allow_spinning=False" in trial.setting for trial in report.trials)
    assert any("execution_mode=parallel" in trial.setting for trial in report.trials)
    assert {(trial.status, trial.reason) for trial in report.trials} == {("ok", None)}
    assert all(trial.value is not None and trial.value.value > 0 for trial in report.trials)


def test_what_is_found_is_a_candidate_with_its_settings_verified_and_selected_from(report):
    (found,) = [c for c in report.candidates if "execution_mode=parallel" in c.name]
    assert found.status == "ok"
    assert found.verdict.ok
    assert [m.batch_size for m in found.measurements] == [1, 8]
    options = found.recipe.runner.built_options()
    assert (options.threads, options.allow_spinning, options.execution_mode) == (core_counts()[-1], False, "parallel")
    native = session_options(options)
    assert native.execution_mode == onnxruntime.ExecutionMode.ORT_PARALLEL
    by_memory = report.select(nav.Objective(minimize="memory", limits=("p50<=1000s",)))
    assert by_memory in report.candidates
    with found.load() as loaded:
        assert loaded(**SAMPLES[0])["y"].shape == (2, 32)


def test_it_is_found_again_and_kept_in_a_package(report, tmp_path):
    opened = nav.load(report.save(tmp_path / "model.nav")).report
    assert opened.trials == report.trials
    assert [c.name for c in opened.candidates] == [c.name for c in report.candidates]


def test_a_session_is_called_by_several_at_once(tmp_path):
    report = run(onnx_models.write(tmp_path / "model.onnx", onnx_models.mlp()), tmp_path, callers=3)
    for candidate in report.candidates:
        if candidate.status == "ok":
            assert [m.callers for m in candidate.measurements] == [3, 3]
    assert report.best is not None
    assert "callers: 3 at once" in str(report)
