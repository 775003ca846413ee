"""What a playoff says of its times."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core.duels import LOOKS, MARGIN, judge, settled

TIMES = st.floats(1e-6, 10.0)


def sizes(times):
    return dict.fromkeys(times, 1)


def played(effects, seed, rounds=5, restart=0.01):
    """Times of contestants that differ by ``effects``, in rounds that are slow and fast as a whole."""
    draw = np.random.default_rng(seed)
    mood = np.exp(draw.normal(0, 0.1, rounds))
    return {str(i): tuple(e * mood * np.exp(draw.normal(0, restart, rounds))) for i, e in enumerate(effects)}


def test_a_clear_difference_is_seen_in_three_rounds():
    times = {"fast": (1.0, 1.01, 0.99), "slow": (1.5, 1.51, 1.5)}
    (found,) = judge(times, {"fast": 8, "slow": 4})
    assert (found.candidate, found.rival, found.batch_sizes, found.rounds) == ("fast", "slow", (8, 4), 3)
    assert found.verdict == "better"
    assert found.ratio.low < 1.503 < found.ratio.high
    assert settled([found])


def test_what_slows_a_whole_round_cancels():
    times = {"fast": (1.0, 2.0, 3.0), "slow": (1.2, 2.4, 3.6)}
    (found,) = judge(times, sizes(times))
    assert found.ratio.value == pytest.approx(1.2)
    assert found.verdict == "better"


def test_within_the_margin_is_a_tie_that_is_settled():
    times = {"a": (1.0, 1.001, 1.0), "b": (1.005, 1.006, 1.005)}
    (found,) = judge(times, sizes(times))
    assert found.verdict == "tie"
    assert settled([found])


def test_what_is_not_known_is_a_tie_that_is_not_settled():
    times = {"a": (1.0, 1.4, 1.1), "b": (1.1, 1.2, 1.6)}
    (found,) = judge(times, sizes(times))
    assert found.verdict == "tie"
    assert not settled([found])


def test_one_round_settles_nothing():
    times = {"a": (1.0,), "b": (9.0,)}
    (found,) = judge(times, sizes(times))
    assert (found.verdict, found.ratio.low, found.ratio.high) == ("tie", 0.0, float("inf"))
    assert not settled([found])


@given(
    st.integers(2, 4).flatmap(
        lambda k: st.integers(1, 6).flatmap(lambda n: st.lists(st.tuples(*[TIMES] * n), min_size=k, max_size=k))
    )
)
def test_the_leader_is_the_fastest_and_meets_each_rival_once(rows):
    times = {str(i): row for i, row in enumerate(rows)}
    found = judge(times, sizes(times))
    assert {d.rival for d in found} | {found[0].candidate} == set(times)
    assert len(found) == len(times) - 1
    for duel in found:
        assert duel.ratio.low <= duel.ratio.value <= duel.ratio.high
        assert duel.ratio.value >= 1 - 1e-9
        assert duel.verdict == "tie" or (duel.ratio.low > 1 and duel.ratio.value > 1 + MARGIN)


@pytest.mark.parametrize("contestants", [2, 3, 4])
def test_twins_are_told_apart_in_less_than_one_playoff_in_a_hundred(contestants):
    """400 playoffs, looked at whenever they may be; the chance of more than 9 false ones is under 1 % at 1 %."""
    wrong = 0
    for seed in range(400):
        times = played([1.0] * contestants, seed, rounds=8, restart=0.03)
        looks = [judge({name: row[:n] for name, row in times.items()}, sizes(times)) for n in LOOKS]
        wrong += any(duel.verdict == "better" for look in looks for duel in look)
    assert wrong <= 9


def test_a_tenth_is_found_in_five_rounds_of_fresh_processes_that_differ_by_a_hundredth():
    found = [judge(played([1.0, 1.1, 1.1], seed), dict.fromkeys("012", 1)) for seed in range(100)]
    assert sum(all(d.verdict == "better" and d.candidate == "0" for d in duels) for duels in found) >= 95
