"""Leaders compared side by side: real processes that take turns."""

import sys
from functools import partial

import numpy as np
import pytest

import navigator as nav
from navigator_core.calibration import Calibration
from navigator_core.contestant import measure_slice
from navigator_core.events import StepFinished, StepStarted

from . import paced
from .paced import named

pytestmark = pytest.mark.usefixtures("importable")


@pytest.fixture
def optimize(importable, optimize):
    """A run with runners of these paces, by name."""
    return partial(paced.run, optimize)


def test_leaders_take_turns_and_the_report_says_what_came_of_it(optimize, tmp_path):
    events = []
    paces = {"slow": {"seconds": 0.0043}, "fast": {"seconds": 0.004}, "far": {"seconds": 0.02}}
    report = optimize(paces, observe=events.append)
    (duel,) = report.duels
    assert {duel.candidate, duel.rival} == {named("fast"), named("slow")}
    assert duel.rounds >= 3
    assert 1.0 <= duel.ratio.value < 1.3
    stages = [(type(e), e.step) for e in events if getattr(e, "stage", None) == "playoff"]
    assert [kind for kind, _ in stages] == [StepStarted, StepFinished]
    assert " against " in stages[0][1]
    assert "far" not in stages[0][1]
    assert "in a playoff of" in " ".join(str(report).split())
    again = optimize(paces, observe=events.append)
    assert again.duels == report.duels
    assert [e.status for e in events if isinstance(e, StepFinished) and e.stage == "playoff"] == ["ok", "cached"]
    assert again.best.name == report.best.name
    assert report.save(tmp_path / "model.nav")
    opened = nav.load(tmp_path / "model.nav").report
    assert opened.duels == report.duels
    assert opened.select(nav.Objective()).name == report.best.name


def test_every_round_is_a_fresh_process_of_each(optimize, tmp_path):
    """Beside the rounds, each is loaded once to be measured."""
    paces = {name: {"seconds": 0.002, "book": str(tmp_path / name)} for name in ("one", "two")}
    (duel,) = optimize(paces).duels
    assert [(tmp_path / name).stat().st_size for name in paces] == [1 + duel.rounds] * 2


def test_within_what_the_machine_cannot_tell_apart_is_a_tie(optimize, monkeypatch):
    monkeypatch.setattr(Calibration, "margin", 0.5)
    (duel,) = optimize({"slow": {"seconds": 0.0043}, "fast": {"seconds": 0.004}}).duels
    assert (duel.verdict, duel.margin) == ("tie", 0.5)


def test_a_clear_leader_needs_no_playoff(optimize):
    report = optimize({"fast": {"seconds": 0.001}, "far": {"seconds": 0.02}})
    assert report.duels == ()
    assert report.best.name == named("fast")


def test_who_was_unlucky_when_it_was_measured_wins_all_the_same(optimize, tmp_path):
    paces = {
        "fast": {"seconds": 0.003, "unlucky": 0.0018, "book": str(tmp_path / "book")},
        "slow": {"seconds": 0.004},
    }
    report = optimize(paces)
    times = {c.name: c.at(1).p50.value for c in report.candidates if c.status == "ok" and c.measurements}
    assert times[named("slow")] < times[named("fast")]
    (duel,) = report.duels
    assert (duel.candidate, duel.rival, duel.verdict) == (named("fast"), named("slow"), "better")
    assert report.best.name == named("fast")


def test_an_outsider_that_is_no_faster_in_turns_leaves_after_a_round_and_nothing_is_said(optimize, tmp_path):
    paces = {"fast": {"seconds": 0.004}, "slow": {"seconds": 0.012, "unlucky": -0.0063, "book": str(tmp_path / "book")}}
    report = optimize(paces)
    loads = (tmp_path / "book").stat().st_size
    assert 2 <= loads <= 5  # measured and played for a round, both once more where others disturbed it
    assert report.duels == ()
    assert report.best.name == named("fast")
    assert not any("side by side" in note or "playoff" in note for note in report.notes)


def test_who_does_not_survive_falls_out_and_the_report_says_so(optimize, tmp_path):
    """Its fp32 and its fp16 artifact are loaded once each to be measured; the first load in the playoff is the end."""
    paces = {"one": {"seconds": 0.002}, "two": {"seconds": 0.002, "book": str(tmp_path / "book"), "lives": 2}}
    report = optimize(paces)
    assert report.duels == ()
    fell = f"{named('two')} fell out of the playoff: it ended with exit code 9 before it had a result"
    assert any(note.startswith(fell) for note in report.notes), report.notes
    assert "the leaders were not compared side by side" in report.notes


def test_a_model_that_cannot_leave_the_process_is_compared_with_nothing(optimize_python):
    report = optimize_python()
    assert report.best is not None
    assert report.duels == ()


@pytest.fixture
def optimize_python(tmp_path):
    def run():
        lock = sys.stdin  # cannot be pickled
        return nav.profile(lambda x: x * (lock is not None), np.ones((2, 3), np.float32), workspace=tmp_path / "w")

    return run


def test_the_first_third_of_a_slice_counts_for_nothing():
    now = iter([0.0, 0.0, 5.0, 5.0, 6.0, 6.0, 7.0, 7.0, 12.0])
    times = iter([5.0, 1.0, 1.0, 5.0])
    assert measure_slice(lambda i: next(times), 12, clock=lambda: next(now)) == 1.0
