"""Several threads that call one model at once: what is counted, who waits, and what they are answered."""

import itertools
import threading
import time
from collections import Counter
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from navigator_core import FP32, Ref, Runner, Variant, hookimpl
from navigator_core.callers import measure_slice, time_together
from navigator_core.errors import RequestError
from navigator_core.events import StepFinished
from navigator_core.one_at_a_time import OneAtATime
from navigator_core.statistics import throughput
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("importable")]  # whole runs, a dozen seconds each

SAMPLES = [np.full((2, 4), value, np.float32) for value in (1, -3)]
PATH = "mini->mini-json->mini-npz[fp32]"


class Inside:
    """A call of 5 ms that knows how many are in it."""

    def __init__(self):
        self.most = self.now = 0
        self.by = Counter()
        self.mutex = threading.Lock()

    def __call__(self, place, number):
        with self.mutex:
            self.now += 1
            self.most = max(self.most, self.now)
            self.by[place] += 1
        time.sleep(0.005)
        with self.mutex:
            self.now -= 1


def test_all_are_in_the_call_at_once_and_the_throughput_is_that_of_all():
    inside = Inside()
    found = time_together([partial(inside, place) for place in range(4)], seconds=0.3)
    assert inside.most == 4
    latency = float(np.mean(found.timing.samples))
    assert latency >= 0.005
    assert throughput(found.cycles, 4).value == pytest.approx(4 / latency, rel=0.2)


def test_who_must_take_turns_waits_and_the_wait_is_part_of_the_latency():
    inside = Inside()
    call = OneAtATime(inside)
    found = time_together([partial(call, place) for place in range(3)], seconds=0.4)
    assert inside.most == 1
    assert np.median(found.timing.samples) >= 3 * 0.005
    assert throughput(found.cycles, 3).value <= 1 / 0.005
    assert max(inside.by.values()) - min(inside.by.values()) <= 3, "nobody is let in again before who waits"


def test_six_calls_of_each_are_made_however_short_the_time_is():
    inside = Inside()
    found = time_together([partial(inside, place) for place in range(3)], seconds=0.0)
    assert len(found.timing.samples) >= 18
    assert len(found.cycles) == len(found.timing.samples) // 3


def test_as_many_calls_as_a_percentile_needs_are_made():
    inside = Inside()
    found = time_together([partial(inside, place) for place in range(4)], seconds=0.0, min_calls=100)
    assert len(found.timing.samples) >= 100


def test_inputs_rotate_for_each_caller():
    numbers = [[], []]
    calls = [lambda number, row=row: row.append(number) or time.sleep(0.001) for row in numbers]
    time_together(calls, seconds=0.02)
    assert [row[:2] for row in numbers] == [[0, 1], [0, 2]]  # the first alone, then each from another place on
    for row in numbers:
        assert all(after > before for before, after in itertools.pairwise(row))


def test_what_a_call_raises_ends_all_and_is_raised():
    began = time.monotonic()

    def fails(number):
        if number > 3:
            raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        time_together([lambda number: time.sleep(0.001), fails], seconds=60)
    assert time.monotonic() - began < 30
    assert not [thread for thread in threading.enumerate() if thread.name == "navigator-caller"]


def test_a_slice_is_the_median_of_all_callers_later_calls():
    inside = Inside()
    assert 0.005 <= measure_slice([partial(inside, place) for place in range(2)], 0.06) < 0.05
    assert inside.most == 2


def test_a_turn_that_is_interrupted_is_passed_on():
    class Interrupted(BaseException):
        pass

    order = []
    entered, leave = threading.Event(), threading.Event()

    def work(name):
        order.append(name)
        entered.set()
        assert leave.wait(10)

    call = OneAtATime(work)
    first = threading.Thread(target=call, args=("first",))
    first.start()
    assert entered.wait(10)
    gate = SimpleNamespace(acquire=lambda: (_ for _ in ()).throw(Interrupted()), release=lambda: order.append("passed"))
    call._waiting.append(gate)
    with pytest.raises(Interrupted):
        call._wait(gate)
    assert list(call._waiting) == []
    leave.set()
    first.join()
    call("second")
    assert order == ["first", "second"]


# whole runs


@pytest.fixture
def run(importable, optimize):
    """A run by the runners of `turning`, called by two."""
    import turning

    runners = [
        Runner(
            name="careful",
            formats=("mini-npz",),
            implementation=Ref("turning:load_with_one_buffer"),
            options=turning.Manners,
            variants=[Variant("", turning.Manners(thread_safe=False), FP32)],
        ),
        Runner(
            name="careless",
            formats=("mini-npz",),
            implementation=Ref("turning:load_with_one_buffer"),
            options=turning.Manners,
            variants=[Variant("", turning.Manners(thread_safe=True), FP32)],
        ),
        Runner(
            name="paced",
            formats=("mini-npz",),
            implementation=Ref("turning:load"),
            options=turning.Setting,
            variants=[Variant("a", turning.Setting(0.004), FP32), Variant("b", turning.Setting(0.0041), FP32)],
        ),
    ]
    plugin = SimpleNamespace(__name__="turning plugin", declare_runners=hookimpl(lambda: runners))
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")

    def go(*names, **asked):
        with using(mini, plugin):
            return optimize(
                mini.Model(weights, np.ones(3, "float32")),
                SAMPLES,
                **{"runners": names, "precisions": ["fp32"], "batch_sizes": [2], "callers": 2, **asked},
            )

    return go


def by_runner(report):
    return {candidate.runner: candidate for candidate in report.candidates}


def test_who_mixes_up_calls_made_at_once_is_caught_and_who_takes_turns_is_right(run):
    found = by_runner(run("careful", "careless"))
    assert found["careful"].status == "ok", found["careful"].reason
    assert found["careless"].status == "incorrect"
    assert found["careless"].reason.startswith("right when verified, wrong when 2 called at once at ")


def test_called_by_one_it_is_right(run):
    assert by_runner(run("careless", callers=1))["careless"].status == "ok"


def test_callers_are_recorded_and_said_and_the_leaders_are_compared_so(run, tmp_path):
    report = run("paced")
    both = [candidate for candidate in report.candidates if candidate.runner == "paced"]
    for candidate in both:
        (measurement,) = candidate.measurements
        assert measurement.callers == 2
    (duel,) = report.duels
    assert {duel.candidate, duel.rival} == {candidate.name for candidate in both}
    assert "callers: 2 at once; latency is that of each call, throughput that of all together" in str(report)


def test_what_was_measured_with_other_callers_is_not_found_again(run):
    def statuses(**asked):
        events = []
        run("careful", observe=events.append, **asked)
        ended = [event for event in events if isinstance(event, StepFinished) and " @ careful" in event.step]
        return {event.status for event in ended}

    assert statuses(callers=1) == {"ok"}
    assert statuses(callers=2) == {"ok"}
    assert statuses(callers=2) == {"cached"}


@pytest.mark.parametrize("callers", [0, -1, 1.5, True, "2"])
def test_callers_that_cannot_be_are_an_error(optimize, callers):
    with pytest.raises(RequestError, match="callers must be a positive number of threads"):
        optimize(lambda x: x, np.ones((2, 3), np.float32), callers=callers)
