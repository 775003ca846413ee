"""Candidates far behind are measured less, and nothing that is asked of the report is answered wrongly for it."""

from functools import partial
from pathlib import Path

import pytest

import navigator as nav
from navigator_core import dominance, forecast
from navigator_core.events import StepFinished

from . import paced
from .paced import named

pytestmark = pytest.mark.long  # whole runs, a dozen seconds each

FAST, SLOW = {"seconds": 0.002}, {"seconds": 0.02}
SIZES = {"batch_sizes": [1, 2], "seconds": 0.4}


@pytest.fixture
def optimize(optimize, monkeypatch):
    """Undisturbed, whatever else this machine does; workers find `pacing` beside this file only if we say so."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    monkeypatch.setattr(dominance, "NOTICEABLE", 9.0)
    return partial(paced.run, optimize)


def by_name(report):
    return {candidate.name.removeprefix(paced.PATH).strip("[]"): candidate for candidate in report.candidates}


def test_one_that_is_far_behind_is_measured_briefly_and_the_report_says_behind_whom(optimize):
    report = optimize({"fast": FAST, "slow": SLOW}, **SIZES)
    fast, slow = (by_name(report)[name] for name in ("fast", "slow"))
    assert [one.brief for one in fast.measurements] == [False, False]
    assert [(one.batch_size, one.brief) for one in slow.measurements] == [(1, True), (2, True)]
    assert slow.measurements[0].calls == 10
    assert slow.measurements[0].unstable.endswith(f"times as slow as {named('fast')}")
    assert slow.status == "ok"
    assert "times as slow as" in " ".join(str(report).split())
    assert report.best is fast
    assert report.duels == ()


def test_whatever_is_asked_of_the_report_the_answer_is_that_of_measuring_everything(optimize):
    paces = {"fast": FAST, "slow": SLOW}
    brief = optimize(paces, **SIZES)
    full = optimize(paces, **SIZES, exhaustive=True)
    assert not any(one.brief for one in by_name(full)["slow"].measurements)
    questions = [
        nav.Objective(),
        nav.Objective(maximize="throughput"),
        nav.Objective(batch_size=2),
        nav.Objective(maximize="throughput", limits=("p50<=1s",)),
        nav.Objective(minimize="latency", limits=("p50<=100us",)),
    ]
    for objective in questions:
        chosen = [report.select(objective) for report in (brief, full)]
        assert len({one and one.name for one in chosen}) == 1, objective
    assert by_name(brief)["slow"].measurements[0].p95 is None  # so that a limit on it is unknown, and cannot win


def test_what_was_measured_briefly_is_found_only_where_the_same_rivals_are(optimize):
    told = []
    both = {"fast": FAST, "slow": SLOW}
    first = optimize(both, **SIZES, observe=told.append)
    again = optimize(both, **SIZES, observe=told.append)
    assert statuses(told) == {named("fast"): ["ok", "cached"], named("slow"): ["ok", "cached"]}
    assert by_name(again)["slow"].measurements == by_name(first)["slow"].measurements
    alone = optimize({"slow": SLOW}, **SIZES)
    assert not any(one.brief for one in by_name(alone)["slow"].measurements)
    together = optimize(both, **SIZES)
    assert by_name(together)["slow"].measurements == by_name(alone)["slow"].measurements


def statuses(told):
    found = {}
    for event in told:
        if isinstance(event, StepFinished) and "pacing" in event.step:
            found.setdefault(event.step, []).append(event.status)
    return found


def test_a_plan_knows_what_was_measured_briefly(optimize, tmp_path, monkeypatch):
    paces = {"fast": FAST, "slow": SLOW}
    optimize(paces, **SIZES)

    def planned(model, samples, **asked):
        from navigator_core import request

        asked = {"workspace": tmp_path / "workspace", **asked}
        return forecast.plan(model, samples, request.checked(**asked))

    plan = paced.run(planned, paces, **SIZES)
    assert {named("fast"), named("slow")} <= plan.cached


@pytest.mark.parametrize("objective", [nav.Objective(minimize="memory"), nav.Objective(minimize="p95")])
def test_where_something_else_than_the_median_decides_everything_is_measured(optimize, objective):
    report = optimize({"fast": FAST, "slow": {"seconds": 0.006}}, batch_sizes=[1], seconds=0.3, objective=objective)
    assert not any(one.brief for candidate in report.candidates for one in candidate.measurements)


def test_a_rival_beyond_the_limits_cuts_nobody_short(optimize):
    report = optimize(
        {"fast": FAST, "slow": SLOW}, **SIZES, objective=nav.Objective(maximize="throughput", limits=("memory<=1",))
    )
    assert report.best is None
    assert not any(one.brief for candidate in report.candidates for one in candidate.measurements)


def test_a_sweep_ends_where_a_rival_gets_ever_farther_ahead_and_larger_sizes_say_why_they_are_missing(optimize):
    paces = {"fast": {"seconds": 0.002, "each": 0.0005}, "slow": {"seconds": 0.01, "each": 0.008}}
    report = optimize(paces, batch_sizes=None, seconds=0.2)
    fast, slow = (by_name(report)[name] for name in ("fast", "slow"))
    assert len(fast.measurements) > len(slow.measurements) >= 3
    assert "larger ones were left out" in slow.measurements[-1].unstable
    largest = fast.measurements[-1].batch_size
    assert report.select(nav.Objective(batch_size=largest)) is fast
    assert report.select(nav.Objective(maximize="throughput")) is fast
