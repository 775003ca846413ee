"""Who is so far behind that less is measured, when larger batches are left out, and what that never changes."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from navigator_core.dominance import Rival, behind, hopeless, rival
from navigator_core.profiling import time_calls
from navigator_core.results import Conditions, Estimate, Measurement


def about(seconds: float, share: float = 0.02) -> Estimate:
    return Estimate(seconds, seconds * (1 - share), seconds * (1 + share))


def fast(**times: float) -> Rival:
    """``fast(_1=0.001)``: the medians by batch size."""
    return Rival(
        name="fast", sizes=tuple(int(name[1:]) for name in times), times=tuple(about(value) for value in times.values())
    )


def measured(size: int, seconds: float, brief: bool = False, others: float = 0.0) -> Measurement:
    return Measurement(
        batch_size=size,
        p50=about(seconds),
        p95=None,
        p99=None,
        throughput=about(size / seconds),
        transfer=None,
        memory={},
        calls=50,
        brief=brief,
        conditions=Conditions(cpu="x", cores=2, others=others),
    )


@pytest.mark.parametrize(
    ("seconds", "share", "said"),
    [
        (2.0, 0.02, "at least 1.9 times as slow as fast"),
        (1.5, 0.02, None),  # beyond the margin, but not interval to interval
        (2.0, 0.30, None),  # as far, but nobody knows
        (0.5, 0.02, None),
    ],
)
def test_one_is_behind_where_the_intervals_are_half_as_much_again_apart(
    seconds: float, share: float, said: str | None
) -> None:
    assert behind(about(seconds, share), 1, [fast(_1=1.0)]) == said


def test_the_fastest_rival_is_named_and_other_batch_sizes_say_nothing() -> None:
    faster = attrs.evolve(fast(_1=0.5), name="faster")
    assert behind(about(2.0), 1, [fast(_1=1.0), faster]) == "at least 3.8 times as slow as faster"
    assert behind(about(2.0), 4, [fast(_1=1.0, _2=1.0)]) is None
    assert behind(about(2.0), 1, []) is None


def test_larger_batches_are_left_out_where_the_lines_move_apart() -> None:
    own = [(1, about(4.0)), (2, about(7.0)), (4, about(13.0))]
    text = hopeless(own, [fast(_1=1.0, _2=1.6, _4=3.0)])
    assert text == "fast is far faster at every size so far, and by more the larger: larger ones were left out"


@pytest.mark.parametrize(
    ("own", "ahead"),
    [
        ((4.0, 7.0), {"_1": 1.0, "_2": 1.6}),  # two sizes are no line
        ((4.0, 4.1, 4.2), {"_1": 1.0, "_2": 1.6, "_4": 3.0}),  # a call costs much, a sample little: it will catch up
        ((4.0, 4.6, 6.0), {"_1": 1.0, "_2": 1.6, "_4": 3.0}),  # parallel lines
        ((1.2, 7.0, 13.0), {"_1": 1.0, "_2": 1.6, "_4": 3.0}),  # not behind at the first
        ((4.0, 7.0, 13.0), {"_1": 1.0, "_2": 1.6}),  # the rival was not measured as far
    ],
)
def test_larger_batches_are_tried_where_they_may_turn_it_round(own: tuple[float, ...], ahead: dict[str, float]) -> None:
    assert hopeless([(2**k, about(value)) for k, value in enumerate(own)], [fast(**ahead)]) is None


def test_an_interval_that_is_wide_leaves_nothing_out() -> None:
    own = [(1, about(4.0, 0.3)), (2, about(7.0, 0.3)), (4, about(13.0, 0.3))]
    assert hopeless(own, [fast(_1=1.0, _2=1.6, _4=3.0)]) is None


def test_only_what_was_measured_in_full_and_in_quiet_is_a_rival() -> None:
    found = rival("a", [measured(1, 1.0), measured(2, 2.0, brief=True)])
    assert found is not None
    assert (found.sizes, found.at(1), found.at(2)) == ((1,), about(1.0), None)
    assert rival("a", [measured(1, 1.0, brief=True)]) is None
    assert rival("a", [measured(1, 1.0), measured(2, 2.0, others=0.3)]) is None
    assert rival("a", []) is None


def test_no_luck_cuts_a_candidate_short_that_is_as_fast_as_its_rival() -> None:
    """Or a quarter slower, with noise of 30 %: ten calls are few, but their interval knows that."""
    rng = np.random.default_rng(3)
    ahead = [Rival(name="rival", sizes=(1,), times=(Estimate(0.01, 0.0098, 0.0102),))]
    for _ in range(60):
        machine = Paced(0.0125 * np.exp(0.3 * rng.standard_normal(2000)))
        timing = time_calls(
            machine.call, seconds=0.5, clock=machine.clock, enough=lambda found: behind(found, 1, ahead)
        )
        assert not timing.brief


class Paced:
    """A clock that only the calls move."""

    def __init__(self, times: np.ndarray):
        self.times = times
        self.now = 0.0

    def call(self, i: int) -> None:
        self.now += float(self.times[i])

    def clock(self) -> float:
        return self.now


def test_the_first_look_ends_the_timing_with_its_reason() -> None:
    machine = Paced(np.full(100, 0.05))
    reason = "at least 9 times as slow as x"
    timing = time_calls(machine.call, seconds=1.0, clock=machine.clock, enough=lambda found: reason)
    assert timing.brief
    assert timing.unstable == reason
    assert len(timing.samples) == 10


def test_it_is_looked_at_once_and_one_that_is_not_behind_is_measured_in_full() -> None:
    looks: list[Estimate] = []
    machine = Paced(np.full(100, 0.05))
    timing = time_calls(machine.call, seconds=1.0, clock=machine.clock, enough=looks.append)
    assert (len(looks), timing.brief) == (1, False)
    assert len(timing.samples) in (20, 21)
