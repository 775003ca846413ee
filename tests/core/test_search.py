"""Settings of the best candidates, turned one at a time: what is tried, what is right, and what comes of it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import navigator as nav
from navigator_core import FP32, Knob, Ref, Runner, Variant, core_counts, hookimpl, request, search
from navigator_core import optimize as engine
from navigator_core.errors import RequestError
from navigator_core.events import CandidateFinished, StepFinished
from navigator_core.results import Estimate
from navigator_core.search import better
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("importable")]  # whole runs, a dozen seconds each

SAMPLES = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
PATH = "mini->mini-json->mini-npz[fp32] @ turned"
KNOBS = (
    Knob("seconds", (0.04, 0.002)),
    Knob("off", (1.0,)),
    Knob("odd", (1, 2)),
)


@pytest.fixture(scope="module")
def run(importable, tmp_path_factory):
    """A run with a search, by one runner with knobs, in a workspace of its own."""
    import turning

    def go(knobs=KNOBS, setting=None, **asked):
        folder = tmp_path_factory.mktemp("search")
        asked = {"workspace": folder, "seconds": 0.1, "batch_sizes": [1, 2], "search": True, **asked}
        declared = Runner(
            name="turned",
            formats=("mini-npz",),
            implementation=Ref("turning:load"),
            options=turning.Setting,
            variants=[Variant("", setting or turning.Setting(), FP32)],
            knobs=knobs,
        )
        plugin = SimpleNamespace(__name__="turning plugin", declare_runners=hookimpl(lambda: [declared]))
        weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
        with using(mini, plugin):
            model = mini.Model(weights, np.ones(3, "float32"))
            wanted = request.checked(runners=["turned"], precisions=["fp32"], **asked)
            return engine.optimize(model, SAMPLES, wanted)

    return go


@pytest.fixture(scope="module")
def searched(run, tmp_path_factory):
    """The report of a whole search, what was told of it, and its workspace."""
    events, workspace = [], tmp_path_factory.mktemp("workspace")
    return run(observe=events.append, workspace=workspace), events, workspace


def test_a_better_setting_becomes_a_candidate_of_its_own_and_the_best(searched):
    report, events, _ = searched
    assert report.best.name == f"{PATH}[seconds=0.002]"
    assert report.best.status == "ok"
    assert report.best.verdict.ok
    assert [m.batch_size for m in report.best.measurements] == [1, 2]
    told = [event.candidate.name for event in events if isinstance(event, CandidateFinished)]
    assert told.count(report.best.name) == 1
    with report.load() as loaded:
        assert loaded(SAMPLES[0]).shape == (2, 3)


def test_every_setting_that_is_tried_is_verified_and_told(searched):
    report, _, _ = searched
    tried = {trial.setting: trial for trial in report.trials}
    assert list(tried) == [
        "seconds=0.04",
        "seconds=0.002",
        "seconds=0.002,off=1.0",
        "seconds=0.002,odd=1",
        "seconds=0.002,odd=2",
    ]
    assert [trial.setting for trial in report.trials if trial.better] == ["seconds=0.002"]
    wrong = tried["seconds=0.002,off=1.0"]
    assert wrong.status == "incorrect"
    assert wrong.reason is not None
    assert (wrong.value, wrong.better) == (None, False)
    assert tried["seconds=0.04"].value.value > tried["seconds=0.04"].before.value
    assert {trial.batch_size for trial in report.trials} == {1}
    assert all(trial.candidate == PATH for trial in report.trials)
    assert f"search: {PATH} at batch 1: 5 settings tried, 1 of them not right; seconds=0.002: latency 0." in " ".join(
        str(report).split()
    )


def test_throughput_is_searched_at_the_batch_size_that_is_best_for_it(run):
    report = run(KNOBS[:1], objective=nav.Objective(maximize="throughput"))
    assert {trial.batch_size for trial in report.trials} == {2}
    assert report.best.name == f"{PATH}[seconds=0.002]"


def test_where_nothing_is_better_all_stays_as_it_was(run):
    report = run((Knob("seconds", (0.04,)),))
    assert report.best.name == PATH
    assert [trial.better for trial in report.trials] == [False]
    assert "1 setting tried; none is better than its own" in " ".join(str(report).split())


def test_without_search_nothing_is_tried(run):
    report = run(search=False)
    assert report.trials == ()
    assert report.best.name == PATH


def test_what_the_user_has_set_stays(run):
    report = run(options={"@turned": {"seconds": 0.02}})
    assert [trial.setting for trial in report.trials] == ["off=1.0", "odd=1", "odd=2"]


def test_values_that_do_not_go_together_are_passed_over(run):
    report = run((Knob("even", (True,)), Knob("odd", (1, 2))), options={"@turned": {"even": True}})
    assert [trial.setting for trial in report.trials] == ["odd=2"]


def test_a_later_run_finds_every_setting_again(run, searched):
    first, _, workspace = searched
    events = []
    again = run(observe=events.append, workspace=workspace)
    assert [event.status for event in events if isinstance(event, StepFinished) and event.stage == "search"] == [
        "cached",
        "cached",
        "incorrect",
        "cached",
        "cached",
        "cached",
    ]
    assert again.trials == first.trials
    assert again.best.name == first.best.name


def test_a_search_ends_with_its_share_of_the_time_and_the_same_call_goes_on(run, monkeypatch, tmp_path):
    clock = iter([0.0, 0.0, 1e9, 1e9])
    with monkeypatch.context() as patch:
        patch.setattr(search, "time", SimpleNamespace(monotonic=lambda: next(clock, 1e9)))
        report = run(KNOBS[:1], workspace=tmp_path)
    assert len(report.trials) == 1
    assert any(note.startswith("the search ended after 1 settings") for note in report.notes), report.notes
    assert len(run(KNOBS[:1], workspace=tmp_path).trials) == 2


def test_a_runner_without_knobs_is_said_to_have_none(run):
    report = run(knobs=())
    assert report.trials == ()
    assert any(note.startswith("there was nothing to search") for note in report.notes)


def test_trials_are_kept_in_a_package(searched, tmp_path):
    report, _, _ = searched
    opened = nav.load(report.save(tmp_path / "model.nav")).report
    assert opened.trials == report.trials
    assert json.loads(json.dumps(opened.to_dict()))["trials"][0]["setting"] == "seconds=0.04"
    assert opened.best_name == report.best_name


def test_the_plan_says_that_there_will_be_a_search():
    with using(mini):
        weights = np.ones((4, 3), "float32")
        plan = nav.plan(mini.Model(weights, np.ones(3, "float32")), SAMPLES, search=True)
    assert any("settings of what runs the best of them are tried" in note for note in plan.notes)


def test_search_is_a_yes_or_no(optimize):
    with pytest.raises(RequestError, match="search must be True or False"):
        optimize(lambda x: x, SAMPLES[0], search=10)


@pytest.mark.parametrize(
    ("found", "objective", "expected"),
    [
        (Estimate(0.9, 0.89, 0.91), nav.Objective(), True),
        (Estimate(0.98, 0.97, 0.985), nav.Objective(), False),  # within what counts as a tie
        (Estimate(0.9, 0.8, 1.0), nav.Objective(), False),  # not beyond doubt
        (Estimate(1.1, 1.09, 1.11), nav.Objective(), False),
        (Estimate(1.1, 1.09, 1.11), nav.Objective(maximize="throughput"), True),
        (Estimate(1.1, 1.0, 1.2), nav.Objective(maximize="throughput"), False),
    ],
)
def test_better_is_beyond_doubt_and_by_more_than_a_tie(found, objective, expected):
    assert better(found, Estimate(1.0, 0.99, 1.01), objective) is expected


def test_core_counts_double_up_to_all(monkeypatch):
    for cores, expected in ((1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))):
        monkeypatch.setattr("os.sched_getaffinity", lambda pid, cores=cores: set(range(cores)))
        assert core_counts() == expected
