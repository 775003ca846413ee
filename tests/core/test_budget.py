"""With a time budget a run comes back in time, with what it has, and says of the rest that there was no time."""

import importlib
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from attrs import frozen

import navigator as nav
from navigator_core import Ref, dominance, rivalry, serde
from navigator_core.evaluation import Evaluated
from navigator_core.events import RunStarted, StepFinished
from navigator_core.execution import Done, Failed, Job
from navigator_core.results import Estimate, Measurement, Verdict
from navigator_core.rivalry import Question
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

from . import paced
from .paced import named

GRACE = 5.0


@pytest.fixture
def optimize(optimize, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(dominance, "NOTICEABLE", 9.0)
    return partial(paced.run, optimize)


def within(budget, call, **asked):
    began = time.monotonic()
    report = call(budget=budget, **asked)
    assert time.monotonic() - began < max(budget * 1.1, budget + GRACE)
    return report


def test_what_was_measured_when_the_time_was_up_counts_and_the_next_run_measures_it_again(optimize):
    """Its times vary so much that it takes its whole share, 1 s a batch size, 6 s for all of them."""
    sizes = [1, 2, 3, 4, 5, 6]
    told = []
    paces = {"uneven": {"seconds": 0.003, "jitter": 0.9}}
    run = partial(optimize, paces, batch_sizes=sizes, seconds=0.7)
    report = within(8, run)
    hurried = the(report, "uneven")
    if hurried.status == "ok":
        measured = [one.batch_size for one in hurried.measurements]
        assert measured == sizes[: len(measured)] != sizes
        missing = f"the time budget was spent before batches larger than {measured[-1]} could be measured"
        assert f"{named('uneven')}: {missing}" in report.notes
    else:  # other work kept it from being measured at all
        assert_skipped(hurried)
    complete = the(run(budget=300, observe=told.append), "uneven")
    assert [one.batch_size for one in complete.measurements] == sizes
    assert [e.status for e in told if isinstance(e, StepFinished) and e.step == complete.name] == ["ok"]


def the(report, name):
    return next(one for one in report.candidates if one.name == named(name))


def assert_skipped(candidate):
    assert candidate.status == "skipped"
    assert "the time budget was " in candidate.reason
    assert candidate.remedy.startswith("give it more time with budget=")


SLOW = """
import time
from navigator_core import Converter, Ref, hookimpl
from navigator_core.testing import miniframework as mini
from navigator_core.testing.miniframework import *

@hookimpl
def declare_converters():
    work = Ref("slow_plugin:convert")
    return [Converter(source="mini-json", target="mini-npz", implementation=work, options=Storage)]

def convert(source, output, options, context):
    time.sleep(60)
"""


def test_the_source_is_measured_before_the_time_goes_into_conversions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow_plugin.py").write_text(SLOW)
    with using(importlib.import_module("slow_plugin")):
        model = mini.Model(np.ones((4, 3), np.float32), np.ones(3, np.float32))
        run = partial(nav.optimize, model, paced.SAMPLES, workspace=tmp_path / "workspace", batch_sizes=[1])
        report = within(12, run)
    assert report.best.name == report.baseline
    assert report.best.measurements
    late = [one for one in report.candidates if "mini-npz" in one.name]
    assert late
    for candidate in late:
        assert_skipped(candidate)


def test_a_run_without_time_says_so(optimize):
    report = within(0.01, partial(optimize, {"fast": {"seconds": 0.001}}))
    assert report.best is None
    assert "best: none; no candidate could be tried to its end" in str(report)


def test_nothing_has_failed_for_want_of_time(optimize):
    report = within(10, partial(optimize, {"fast": {"seconds": 0.001}, "slow": {"seconds": 1.0}}), seconds=0.1)
    for candidate in report.candidates:
        if candidate.status != "ok":
            assert_skipped(candidate)
    assert_skipped(the(report, "slow"))


class Stopped:
    """A session whose step is stopped by the budget, after it has said that it is right and measured one size."""

    share = 3.0

    def __init__(self, messages):
        self.messages = messages
        self.told = []

    def tell(self, make, **fields):
        self.told.append(make)

    def perform(self, name, stage, job, key, *, heard, **how):
        assert job.argument.within == self.share
        for message in self.messages:
            heard(message)
        return Failed("the time budget was too short: it was stopped", 3.0, skipped=True, timed_out=True), None


MEASURED = Measurement(4, *[Estimate(1.0, 0.9, 1.1)] * 4, None, {}, 50)
RIGHT = {"stage": "profile", "judged": serde.to_data(Evaluated(verdict=Verdict(True, {}, {})))}


@pytest.mark.parametrize(
    ("messages", "counts"),
    [
        ((RIGHT, {"measured": serde.to_data(MEASURED)}), True),
        ((RIGHT,), False),
        (({"stage": "verify"},), False),
    ],
)
def test_of_a_step_that_had_to_be_stopped_what_was_heard_counts(messages, counts):
    job = Job(function=Ref("m:f"), argument=Within(), result=Evaluated)
    outcome = rivalry.perform("a @ r", Question(job, None, None), False, 0.0, Stopped(messages))
    assert isinstance(outcome, Done) is counts
    if counts:
        assert outcome.value.measurements == (MEASURED,)
        assert outcome.value.status == "ok"
        assert not rivalry.lasting(outcome.value)
        assert outcome.value.unfinished.endswith("before batches larger than 4 could be measured")


@frozen
class Within:
    """As much of an `Evaluation` as is looked at."""

    within: float | None = None


def test_what_nothing_can_stop_is_not_begun_when_it_may_not_end_in_time(tmp_path):
    held = (number for number in range(3))  # a generator cannot leave this process
    budget = 12.0

    def model(x):
        time.sleep(0.1)
        return x * (held is not None)

    def dawdle(event):
        if isinstance(event, RunStarted):
            time.sleep(max(0.0, budget - event.elapsed - 0.7))

    asked = {"samples": np.ones((2, 3), np.float32), "workspace": tmp_path, "batch_sizes": [1]}
    report = within(budget, partial(nav.optimize, model), observe=dawdle, **asked)
    (candidate,) = report.candidates
    assert candidate.status == "skipped"
    assert "in this process, where nothing can stop it" in candidate.reason
    assert candidate.remedy == "give it more time with budget= (--budget)"
    assert report.best is None
