"""What a run would do, told without running it."""

import sys

import numpy as np
import pytest

import navigator as nav
from navigator_core.errors import RequestError
from navigator_core.forecast import Plan
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

SAMPLES = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
DENSE = "mini->mini-json->mini-npz"


def layer():
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    return mini.Model(weights, np.ones(3, "float32"))


@pytest.fixture
def asked(tmp_path):
    with using(mini):
        yield {"workspace": tmp_path / "w", "batch_sizes": [1]}


def test_before_the_first_run_nothing_is_cached_and_the_plan_says_why(asked):
    plan = nav.plan(layer(), SAMPLES, **asked)
    assert plan.steps == ("mini->mini-json", f"{DENSE}[fp16]", f"{DENSE}[fp32]")
    assert plan.candidates == (
        "mini @ mini-eager",
        f"{DENSE}[fp16] @ mini-runtime",
        f"{DENSE}[fp32] @ mini-runtime",
    )
    assert plan.cached == frozenset()
    assert plan.unavailable == {}
    assert any("nothing is cached" in note for note in plan.notes)
    assert list((asked["workspace"] / "runs").iterdir()) == []


def test_after_a_run_all_of_it_is_cached_and_what_is_new_is_not(asked):
    first = nav.optimize(layer(), SAMPLES, **asked, runners=["mini-eager"])
    plan = nav.plan(layer(), SAMPLES, **asked)
    assert {"mini @ mini-eager"} - disturbed(first) <= plan.cached <= {"mini @ mini-eager"}
    second = nav.optimize(layer(), SAMPLES, **asked)
    plan = nav.plan(layer(), SAMPLES, **asked)
    everything = {*plan.steps, *plan.candidates}
    assert everything - disturbed(second) <= plan.cached <= everything
    assert ("to do" in str(plan)) == (plan.cached != everything)
    other = nav.plan(layer(), SAMPLES, **{**asked, "batch_sizes": [2]})
    assert other.cached == frozenset()


def disturbed(report):
    """What the next run may measure again, since other processes took part of the machine."""
    return {c.name for c in report.candidates for m in c.measurements if "other processes" in (m.unstable or "")}


def test_what_is_unavailable_says_why_and_what_helps(asked):
    from types import SimpleNamespace

    from navigator_core import Converter, Ref, hookimpl

    declared = Converter(
        source="mini-json", target="mini-npz", implementation=Ref("m:f"), requirements=("no-such-thing>=2",)
    )
    with using(mini, SimpleNamespace(__name__="more", declare_converters=hookimpl(lambda: [declared]))):
        plan = nav.plan(layer(), SAMPLES, **asked)
    ((name, (reason, remedy)),) = plan.unavailable.items()
    assert (name, remedy) == (DENSE, "pip install 'no-such-thing>=2'")
    assert "no-such-thing" in reason
    assert f"unavailable      {name}: {reason} (what helps: {remedy})" in str(plan)
    assert plan.to_dict()["unavailable"] == [{"name": name, "reason": reason, "remedy": remedy}]


def test_what_is_unavailable_for_one_reason_is_told_in_one_line():
    why = {f"a @ r{number}": ("no such device", None) for number in range(5)}
    told = str(
        Plan(steps=("a",), candidates=("a @ s",), cached=frozenset("a"), unavailable={**why, "b": ("other", "x")})
    )
    assert told.splitlines() == [
        "cached  build    a",
        "to do   measure  a @ s",
        "unavailable      a @ r0, a @ r1, a @ r2, and 2 more: no such device",
        "unavailable      b: other (what helps: x)",
    ]


def test_a_model_that_cannot_leave_this_process_is_planned_too(asked):
    stdin = sys.stdin
    plan = nav.plan(lambda x: x * (stdin is not None), SAMPLES, **asked)
    assert plan.candidates == ("python @ python",)
    assert plan.cached == frozenset()


def test_what_optimize_would_refuse_is_refused(asked):
    with pytest.raises(RequestError, match="did you mean 'mini-npz'"):
        nav.plan(layer(), SAMPLES, **asked, targets=["mini-nzp"])
    with pytest.raises(TypeError, match="bogus"):
        nav.plan(layer(), SAMPLES, **asked, bogus=1)


def test_options_for_what_is_not_tried_are_said_to_change_nothing(asked):
    options = {"mini-npz": {"dtype": "float32"}}
    idle = "options['mini-npz'] changes nothing"
    plan = nav.plan(layer(), SAMPLES, **asked, options=options, runners=["mini-eager"])
    assert [note for note in plan.notes if idle in note]
    report = nav.optimize(layer(), SAMPLES, **asked, options=options, runners=["mini-eager"])
    assert [note for note in report.notes if idle in note]
    assert not [note for note in nav.plan(layer(), SAMPLES, **asked, options=options).notes if idle in note]
