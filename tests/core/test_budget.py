"""With a time budget a run comes back in time, with what it has, and says of the rest that there was no time."""

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import navigator as nav
from navigator_core import dominance
from navigator_core.events import Measured, RunStarted, StepFinished

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


def test_what_was_measured_when_the_time_was_up_counts_and_the_rest_is_said_to_be_missing(optimize):
    paces = {"slow": {"seconds": 0.02, "each": 0.05}}
    report = within(20, partial(optimize, paces), batch_sizes=[1, 2, 64, 128], seconds=0.2)
    (slow,) = [one for one in report.candidates if one.name == named("slow")]
    assert slow.status == "ok", (slow.reason, report.notes)
    sizes = [one.batch_size for one in slow.measurements]
    assert sizes in ([1], [1, 2], [1, 2, 64])
    missing = f"{slow.name}: the time budget was spent before batches larger than {sizes[-1]} could be measured"
    assert missing in report.notes
    assert report.best is slow


def test_what_is_not_complete_for_want_of_time_is_measured_again(optimize):
    told = []
    run = partial(optimize, {"slow": {"seconds": 0.02, "each": 0.05}}, batch_sizes=[1, 128], seconds=0.2)
    within(15, run)
    report = run(budget=300, observe=told.append)
    (slow,) = [one for one in report.candidates if one.name == named("slow")]
    assert [one.batch_size for one in slow.measurements] == [1, 128]
    assert [e.status for e in told if isinstance(e, StepFinished) and e.step == slow.name] == ["ok"]
    assert [e.measurement.batch_size for e in told if isinstance(e, Measured) and e.candidate == slow.name] == [1, 128]


def test_a_candidate_for_which_no_time_is_left_is_skipped_and_told_what_helps(optimize):
    paces = {"fast": {"seconds": 0.001}, "slow": {"seconds": 1.0}}
    report = within(12, partial(optimize, paces), seconds=0.1)
    slow = next(one for one in report.candidates if one.name == named("slow"))
    assert slow.status == "skipped"
    assert slow.reason.startswith("the time budget was ")
    assert slow.remedy.startswith("give it more time with budget=")
    assert report.best.name == named("fast")


def test_what_nothing_can_stop_is_not_begun_when_it_may_not_end_in_time(tmp_path):
    held = sys.stdin  # cannot leave this process
    budget = 12.0

    def model(x):
        time.sleep(0.05)
        return x * (held is not None)

    def dawdle(event):
        if isinstance(event, RunStarted):
            time.sleep(max(0.0, budget - event.elapsed - 0.3))

    asked = {"samples": np.ones((2, 3), np.float32), "workspace": tmp_path, "batch_sizes": [1]}
    report = within(budget, partial(nav.optimize, model), observe=dawdle, **asked)
    (candidate,) = report.candidates
    assert candidate.status == "skipped"
    assert "in this process, where nothing can stop it" in candidate.reason
    assert candidate.remedy == "give it more time with budget="
    assert report.best is None
