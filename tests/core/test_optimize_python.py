"""Whole runs on plain Python functions: the engine with no framework at all."""

import collections
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest

import navigator as nav
from navigator_core.errors import WorkspaceError
from navigator_core.events import CandidateFinished, Measured, RunFinished, RunStarted, StepFinished, StepStarted
from navigator_core.samples import read

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((4, 3)).astype(np.float32)
BASELINE = "python @ python"


class Pair(NamedTuple):
    first: object
    second: object


@dataclass
class Record:
    scores: object
    label: str


class Encoding(collections.UserDict):
    """As tokenizers return."""


def same(a, b):
    """The same containers holding equal arrays."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, dict):
        return type(a) is type(b) and a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Record):
        return type(a) is type(b) and same(a.scores, b.scores) and a.label == b.label
    return a == b


# a run


def test_a_function_is_verified_measured_and_given_back(optimize):
    def model(x):
        return np.tanh(x @ W)

    report = optimize(model, X)
    best = report.best
    assert (best.name, best.status, best.precision, best.path, best.reason) == (BASELINE, "ok", "fp32", None, None)
    assert best.verdict.ok
    assert best.verdict.checks == dict.fromkeys(best.verdict.checks, "ok")
    calls = {"sample 0", "batch 1", "batch 2", "batch 3"}
    alone = {"order of calls", "repeated call", "rows independent", "batch sizes agree"}
    assert set(best.verdict.checks) == calls | alone
    assert [m.batch_size for m in best.measurements] == [1, 2]
    for measurement in best.measurements:
        assert measurement.p50.low <= measurement.p50.value <= measurement.p50.high
        assert measurement.calls >= 6
        assert measurement.memory["host"] >= 0
    assert report.baseline == BASELINE
    assert report.speed_up(best, 1) == 1
    with report.load() as loaded:
        assert same(loaded(X), model(X))
        assert same(loaded(x=X[:1]), model(X[:1]))
    with pytest.raises(nav.RequestError, match="is closed"):
        loaded(X)


def test_the_users_api_is_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("navigator_core.request.DEFAULT_SECONDS", 0.02)
    asked = {"workspace": tmp_path / "workspace", "batch_sizes": [1, 2]}
    assert nav.optimize(lambda x: x * 2, X, **asked).best.name == BASELINE
    report = nav.profile(lambda x: x * 2, X, **asked)
    (candidate,) = report.candidates
    assert candidate.verdict is None
    assert [m.batch_size for m in candidate.measurements] == [1, 2]


@pytest.mark.parametrize(
    ("function", "sample"),
    [
        (lambda a, b=None, *, c=3: a * c, X),
        (lambda *args: args[0] + args[1], (X, X)),
        (lambda **kwargs: {"sum": kwargs["a"] + kwargs["b"]}, [{"a": X, "b": X}, {"b": X, "a": X}]),
        (lambda pair, n: Pair(pair.first + pair[1], [pair.first, n, None]), nav.call(Pair(X, X), 2)),
        (lambda batch: Record(batch["ids"] * 2, "label"), nav.call(Encoding(ids=X, mask=X))),
        (lambda batch: {0: batch[0], "rest": (batch[7],)}, nav.call({0: X, 7: X})),
        (lambda record: record.scores, nav.call(Record(X, "a"))),
        (lambda made: made["a"], nav.call(collections.defaultdict(list, {"a": X}))),
        (np.add, (X, X)),
        (lambda x, s: x * s, (X, np.float32(2))),
    ],
    ids=[
        "defaults",
        "args",
        "kwargs",
        "namedtuple",
        "userdict",
        "int keys",
        "dataclass",
        "defaultdict",
        "ufunc",
        "0-d",
    ],
)
def test_it_is_called_and_answers_as_the_source_does(optimize, function, sample):
    report = optimize(function, sample, batch_sizes=[1])
    call = read(sample)[0][0]
    with report.load() as loaded:
        assert same(loaded(*call.args, **call.kwargs), function(*call.args, **call.kwargs))


@pytest.mark.parametrize(
    ("function", "status", "reason"),
    [
        (lambda x: np.where(x > 0, x, np.nan), "ok", None),
        (lambda x: (x.argmax(1), x > 0), "ok", None),
        (lambda x: (x - x.mean(0)) @ W, "ok", None),
        (lambda x: x + np.random.standard_normal(x.shape), "ok", None),
        (lambda x: (x * 2, np.zeros((0,), np.int64)), "ok", None),
        (lambda x: x @ W + 1j, "ok", None),
        (lambda x: x, "ok", None),
    ],
    ids=["nan", "integers", "coupled", "stochastic", "empty", "complex", "identity"],
)
def test_functions_of_every_kind_are_their_own_best(optimize, function, status, reason):
    (candidate,) = optimize(function, X).candidates
    assert (candidate.status, candidate.reason) == (status, reason)
    assert len(candidate.measurements) == 2


def test_made_up_values_will_do_where_there_are_no_samples(optimize):
    report = optimize(lambda x: x * 2, nav.TensorSpec("x", "float32", (nav.Dim("batch"), nav.Dim("time", 2, 8))))
    assert report.signature.inputs[0].batch_axis == 0
    assert report.signature.inputs[0].shape[1].max == 8
    assert any("made up from shapes" in note for note in report.notes)


# what the user says


def test_verify_gates_the_source_too_and_gets_what_the_source_returns(optimize):
    def verify(references, candidates):
        assert len(references) == len(candidates) == 2
        assert all(isinstance(one["y"], np.ndarray) for one in (*references, *candidates))
        return not np.allclose(references[0]["y"], candidates[0]["y"])

    report = optimize(lambda x: {"y": x * 2}, [X, X[:2]], verify=verify)
    (candidate,) = report.candidates
    assert (candidate.status, candidate.reason) == ("incorrect", "verify: the user's verify function said no")
    assert report.best is None
    with pytest.raises(nav.NothingCorrectError) as caught:
        report.load()
    assert "python @ python: incorrect: verify: the user's verify function said no" in str(caught.value)


@pytest.mark.parametrize(
    ("metric", "status", "reason"),
    [
        (nav.Metric("mean", lambda model: model(X).mean(), minimum=-9), "ok", None),
        (lambda references, candidates: None, "incorrect", "verify: the user's verify function returned None"),
        (lambda references, candidates: {}["no such key"], "failed", "verify: raised KeyError: 'no such key'"),
    ],
)
def test_what_a_gate_finds_is_the_reason(optimize, metric, status, reason):
    (candidate,) = optimize(lambda x: x @ W, X, verify=metric).candidates
    assert candidate.status == status
    assert (candidate.reason or "").startswith(reason or "")


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (nav.Metric("mean", lambda model: 1.0, minimum=9), "verify asks for: mean is 1, below the minimum 9"),
        (nav.Metric("mean", lambda model: float("nan")), "verify asks for: mean is nan"),
    ],
)
def test_a_metric_that_the_source_itself_misses_is_said_before_anything_is_tried(optimize, metric, message):
    told = []
    with pytest.raises(nav.RequestError, match=f"the source itself does not hold what {message}"):
        optimize(lambda x: x @ W, X, verify=metric, observe=told.append)
    assert told == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("accuracy", 0.5), r"the metric 'accuracy' needs a function\(model\) -> float, not 0.5; a bound is given by"),
        ((len, len), "a metric's name must be a str, such as 'accuracy'"),
        (("", len), "a metric's name must be a str"),
        (("a", len, "0.9"), "minimum of the metric 'a' must be a number, not '0.9'"),
        (("a", len, float("nan")), "minimum of the metric 'a' must be a number, not nan"),
        (("a", len, None, -0.1), "max_drop of the metric 'a' must be a number that is not negative, not -0.1"),
        (("a", len, None, True), "max_drop of the metric 'a' must be a number"),
    ],
)
def test_a_metric_that_makes_no_sense_is_refused_when_it_is_made(given, message):
    with pytest.raises(nav.RequestError, match=message):
        nav.Metric(*given)


def test_a_metric_that_is_called_as_a_check_is_hides_none(optimize):
    metric = nav.Metric("batch 1", lambda model: 1.0)
    checks = optimize(lambda x: x @ W, X, verify=metric).best.verdict.checks
    assert checks["batch 1"] == checks["metric batch 1"] == "ok"


def test_a_misspelt_name_is_an_error_before_anything_is_made(tmp_path):
    for asked in ({"targets": ["onxn"]}, {"runners": ["pyhton"]}, {"device": "gpu"}, {"precisions": ["fp31"]}):
        with pytest.raises(nav.RequestError, match="unknown"):
            nav.optimize(lambda x: x @ W, X, workspace=tmp_path / "untouched", **asked)
    assert not (tmp_path / "untouched").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batching": {"x": 1}}, r"batching=\{'x': 1\} does not hold"),
        ({"batching": False}, r"batch_sizes=\[1, 2\], but the model has no batch axis"),
        ({"runners": ["pyhton"]}, "unknown runner 'pyhton'; did you mean 'python'"),
        ({"targets": ["onxn"]}, "unknown format in targets 'onxn'"),
        ({"options": {"@python": {"threads": 4}}}, r"options\['@python'\]: python has no options"),
        ({"precisions": ["fp31"]}, "unknown precision 'fp31'"),
        ({"tolerance": {"logits": nav.Tolerance()}}, "unknown output in tolerance 'logits'"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"device": "cpu:7"}, "no device 'cpu:7' was found here; there is cpu"),
        ({"format": "pyton"}, "unknown format 'pyton'; did you mean 'python'"),
    ],
)
def test_what_cannot_be_done_is_an_error_that_says_so(optimize, asked, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(lambda x: x @ W, X, **asked)


@pytest.mark.parametrize(
    ("model", "samples", "message"),
    [
        (lambda x: x, None, "a live model needs samples"),
        (int, X, "no installed plugin recognises the class builtins.int itself"),
        (3, X, "a builtins.int is no model"),
        ({}, X, "a builtins.dict is no model; if it holds weights, make the model and load them into it"),
        (lambda x: x, [(X, X)], "labels"),
        (lambda x: None, X, "the model returned None, which holds no tensor"),
    ],
)
def test_a_model_that_cannot_be_tried_is_an_error_that_says_so(optimize, model, samples, message):
    with pytest.raises(nav.RequestError, match=message):
        optimize(model, samples)


# the user's own exceptions and processes


class UsersError(LookupError):
    """Defined beside the model."""


def test_the_users_own_exception_is_what_the_user_sees(optimize):
    def model(x):
        raise UsersError("my own words")

    with pytest.raises(UsersError, match="my own words") as caught:
        optimize(model, X)
    assert caught.value.__notes__[0].startswith("the model raised on sample 0")
    assert "raise UsersError" in caught.value.__notes__[0]


def test_a_function_that_cannot_run_three_rows_is_not_asked_to(optimize):
    def model(x):
        if len(x) == 3:
            raise ValueError("three")
        return x * 2

    report = optimize(model, X)
    assert report.best.name == BASELINE
    assert "the source itself cannot run batch 3: ValueError: three" in report.notes


def test_a_function_that_crashes_on_the_samples_is_an_error(optimize):
    def model(x):
        os.kill(os.getpid(), signal.SIGSEGV)

    with pytest.raises(nav.NavigatorError, match="was ended by SIGSEGV, a crash in native code"):
        optimize(model, X)


def test_a_function_that_crashes_later_costs_its_own_branch(optimize, tmp_path):
    stop = tmp_path / "stop"

    def model(x):
        if stop.exists():
            os._exit(7)
        return x * 2

    def on_plan(event):
        if isinstance(event, RunStarted):
            stop.touch()

    (candidate,) = optimize(model, X, observe=on_plan).candidates
    assert candidate.status == "failed"
    assert candidate.reason.startswith("ended with exit code 7 before it had a result")
    assert "reproduce.py" in candidate.remedy


def test_a_function_that_cannot_leave_this_process_runs_in_it(optimize, capfd):
    lock, process = threading.Lock(), os.getpid()

    def model(x):
        with lock:
            print("said by the model")
            assert os.getpid() == process
            return x * 2

    report = optimize(model, X)
    assert report.best.name == BASELINE
    assert any("cannot be sent to a worker" in note and "run in this process" in note for note in report.notes)
    assert "said by the model" not in capfd.readouterr().out
    with report.load() as loaded:
        assert same(loaded(X), X * 2)


def test_a_gate_that_cannot_leave_this_process_is_an_error(optimize):
    lock = threading.Lock()
    with pytest.raises(nav.RequestError, match="verify cannot be sent to a worker"):
        optimize(lambda x: x * 2, X, verify=lambda references, candidates: lock.locked())


SCRIPT = """
import sys
from dataclasses import dataclass

import numpy as np

import navigator as nav
from beside import double
from navigator_core import optimize, request

class ScriptError(Exception):
    pass

@dataclass
class Inputs:
    x: object

@dataclass
class Outputs:
    y: object

FAIL = len(sys.argv) > 1

def model(inputs):
    if FAIL:
        raise ScriptError("from the script")
    assert isinstance(inputs, Inputs)
    return Outputs(double(inputs.x))

x = np.ones((3, 2), np.float32)
asked = request.checked(batch_sizes=[1], seconds=0.02)
try:
    report = optimize.optimize(model, nav.call(Inputs(x)), asked)
except ScriptError as error:
    print("caught", error)
else:
    with report.load() as loaded:
        print(report.best.name, type(loaded(Inputs(x))).__name__, loaded(Inputs(x)).y.sum())
print("the script ran to its end")
"""


def test_a_script_needs_no_guard_and_may_use_modules_beside_it_and_classes_of_its_own(tmp_path):
    (tmp_path / "beside.py").write_text("def double(x):\n    return x * 2\n")
    (tmp_path / "script.py").write_text(SCRIPT)

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "script.py", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    assert run() == ["python @ python Outputs 12.0", "the script ran to its end"]
    assert run("fail") == ["caught from the script", "the script ran to its end"]


# runs


def test_observers_hear_everything_in_order_and_one_that_raises_is_set_aside(optimize):
    heard = []

    def broken(event):
        heard.append(event)
        if len(heard) == 3:
            raise RuntimeError("enough")

    report = optimize(lambda x: x * 2, X, observe=broken)
    assert len(heard) == 3
    assert any("an observer raised and was set aside: RuntimeError: enough" in note for note in report.notes)

    events = []
    report = optimize(lambda x: x * 2, X, observe=events.append)
    kinds = [type(event) for event in events]
    assert kinds[0] is RunStarted
    assert kinds[-1] is RunFinished
    assert events[-1].report.best == report.best
    assert kinds.count(Measured) == 2
    assert kinds.count(CandidateFinished) == 1
    assert kinds.index(StepStarted) < kinds.index(Measured) < kinds.index(StepFinished) < kinds.index(CandidateFinished)
    assert [event.elapsed for event in events] == sorted(event.elapsed for event in events)


def test_with_next_to_no_budget_every_branch_is_skipped_and_there_is_a_report(optimize):
    report = optimize(lambda x: x * 2, X, budget=1e-6)
    assert [(c.status, c.reason) for c in report.candidates] == [("skipped", "the time budget was spent")]
    assert report.best is None
    assert report.signature.inputs[0].batch_axis == 0


def test_a_budget_ends_what_hangs(optimize, tmp_path):
    stop = tmp_path / "stop"

    def model(x):
        if stop.exists():
            time.sleep(1000)
        return x * 2

    def on_plan(event):
        if isinstance(event, RunStarted):
            stop.touch()

    begun = time.monotonic()
    (candidate,) = optimize(model, X, budget=4, observe=on_plan).candidates
    assert candidate.status in ("failed", "skipped")
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("kind", ["foreign", "file"])
def test_a_workspace_that_is_somebody_elses_stays_untouched(optimize, tmp_path, kind):
    place = tmp_path / "theirs"
    if kind == "file":
        place.write_text("precious")
    else:
        place.mkdir()
        (place / "precious.txt").write_text("precious")
    with pytest.raises(WorkspaceError):
        optimize(lambda x: x, X, workspace=place)
    assert [path.name for path in tmp_path.rglob("*")] == (["theirs"] if kind == "file" else ["theirs", "precious.txt"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_workspace_that_cannot_be_written_is_an_error(optimize, tmp_path):
    place = tmp_path / "readonly"
    place.mkdir(mode=0o500)
    with pytest.raises(WorkspaceError, match="cannot be written"):
        optimize(lambda x: x, X, workspace=place)


def test_a_limit_that_does_not_hold_leaves_no_best_but_says_why(optimize):
    report = optimize(lambda x: x @ W, X, objective=nav.Objective(limits=("p50<=1ns",)))
    assert report.best is None
    assert report.candidates[0].status == "ok"
    assert report.candidates[0].reason.startswith("over the limit: p50<=1ns does not hold at batch size 1")
    assert report.select(nav.Objective()).name == BASELINE


def test_the_models_own_random_state_and_inputs_stay_as_they_were(optimize):
    samples = X.copy()
    state = np.random.get_state()[1].copy()

    def model(x):
        x += np.random.standard_normal()
        return x

    optimize(model, samples, batch_sizes=[1])
    np.testing.assert_array_equal(samples, X)
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.mark.parametrize("device", ["banana", "cuda", "cuda:3"])
def test_a_candidate_is_not_loaded_on_a_device_that_it_does_not_run_on(tmp_path, device):
    samples = [np.ones((n, 3), "float32") for n in (1, 2)]
    report = nav.optimize(lambda x: 2 * x, samples, batch_sizes=[1], workspace=tmp_path / "w")
    with pytest.raises(nav.RequestError, match=f"python @ python runs on .*, not on '{device}'"):
        report.load(device=device)


def test_a_file_that_is_missing_is_said_to_be(tmp_path):
    with pytest.raises(nav.RequestError, match=r"there is no file .*nope\.pt"):
        nav.optimize(tmp_path / "nope.pt", [np.ones(3, "float32")])


@pytest.mark.parametrize(
    ("detect", "device", "said"),
    [
        ("builtins:list", "npu", "there is no npu here"),
        ("tests_npu:one", "npu", None),
        ("tests_npu:one", "npu:0", None),
        ("tests_npu:one", "npu:3", "there is no npu:3 here"),
        ("tests_npu:broken", "npu", "detecting npu devices failed: OSError: no driver"),
    ],
)
def test_a_device_is_here_by_its_name_or_by_its_kind(monkeypatch, detect, device, said):
    from types import SimpleNamespace

    from navigator_core import Device, DeviceInfo, Ref
    from navigator_core.candidates import device_missing
    from navigator_core.plugins import Plugins

    def broken():
        raise OSError("no driver")

    module = SimpleNamespace(one=lambda: [DeviceInfo("npu:0", "an NPU", 1)], broken=broken)
    monkeypatch.setitem(sys.modules, "tests_npu", module)
    found = Plugins(devices=(Device(kind="npu", detect=Ref(detect)),))
    monkeypatch.setattr("navigator_core.plugins.installed", lambda: found)
    assert device_missing(device) == said
