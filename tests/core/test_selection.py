"""Which candidate is best under an objective, who may win at all, and why."""

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core.candidates import Candidate, Recipe
from navigator_core.declarations import FP32, Ref
from navigator_core.errors import RequestError
from navigator_core.loading import RunnerUse
from navigator_core.results import Duel, Estimate, Measurement, Objective
from navigator_core.rules import Rules
from navigator_core.selection import Limit, calls_needed, check, in_order, leaders, parse_limit, quantity, rank, select

EPSILONS = {"fp64": 2.0**-53, "fp32": 2.0**-24, "fp16": 2.0**-11}


def ms(value, spread=0.01):
    return Estimate(value / 1e3, value / 1e3 * (1 - spread), value / 1e3 * (1 + spread))


def measured(size=1, p50=1.0, *, memory=2**20, tails=True, spread=0.01):
    rate = size / p50 * 1e3
    return Measurement(
        batch_size=size,
        p50=ms(p50, spread),
        p95=ms(p50 * 1.2, spread) if tails else None,
        p99=ms(p50 * 1.5, spread) if tails else None,
        throughput=Estimate(rate, rate * (1 - spread), rate * (1 + spread)),
        transfer=None,
        memory={"host": memory},
        calls=100,
        p90=ms(p50 * 1.1, spread) if tails else None,
    )


USE = RunnerUse(name="r", implementation=Ref("m:f"), options_type=None, options=None, tensors=None)


def candidate(name, *measurements, status="ok", precision="fp32", size=None, portable=True, live=False):
    return Candidate(
        name=name,
        runner="r",
        precision=precision,
        device="cpu",
        status=status,
        measurements=measurements or (measured(),),
        size=size,
        recipe=Recipe(runner=USE, format="f", precision=FP32, portable=portable, live=live),
    )


def rules(objective=None, precisions=None):
    return Rules(objective=objective or Objective(), source="fp32", precisions=precisions, epsilons=EPSILONS)


def chosen(candidates, objective=None, precisions=None, duels=()):
    return select(candidates, rules(objective, precisions), duels)


SLOW, FAST = candidate("slow", measured(p50=4)), candidate("fast", measured(p50=2))


def test_by_default_the_lowest_median_latency_wins():
    found = chosen([SLOW, FAST])
    assert (found.best, found.order, found.refused, found.why) == ("fast", ("fast", "slow"), {}, "")


@pytest.mark.parametrize("status", ["incorrect", "failed", "skipped", "unavailable"])
def test_what_is_not_right_never_wins(status):
    assert chosen([SLOW, candidate("wrong", measured(p50=0.1), status=status)]).best == "slow"
    assert chosen([candidate("wrong", status=status)]).best is None


@pytest.mark.parametrize(
    ("objective", "best"),
    [
        (Objective(minimize="latency"), "small"),
        (Objective(minimize="p99"), "small"),
        (Objective(minimize="p90"), "small"),
        (Objective(minimize="latency", limits=("p90<=2.1ms", "p95<=2.2ms", "p99<=2.75ms", "memory<=1MiB")), "lean"),
        (Objective(minimize="size", limits=("p90<=1.2ms",)), "small"),
        (Objective(minimize="memory"), "lean"),
        (Objective(minimize="size"), "tiny"),
        (Objective(maximize="throughput"), "wide"),
        (Objective(minimize="latency", batch_size=8), "wide"),
        (Objective(maximize="throughput", limits=("p50<=3ms",)), "lean"),
        (Objective(minimize="latency", limits=("memory<=5MiB",)), "lean"),
        (Objective(minimize="latency", limits=("size<=60B",)), "tiny"),
        (Objective(minimize="latency", limits=("p50<=0.1ms",)), None),
    ],
)
def test_the_objective_decides(objective, best):
    candidates = [
        candidate("small", measured(1, 1), measured(8, 9), size=100),
        candidate("wide", measured(1, 2), measured(8, 4), size=100),
        candidate("lean", measured(1, 1.8, memory=2**19), measured(8, 9, memory=2**19), measured(4, 2.9), size=100),
        candidate("tiny", measured(1, 3), measured(8, 12), size=50),
    ]
    heavy = {"host": 2**23}
    candidates = [
        c
        if c.name == "lean"
        else attrs.evolve(c, measurements=tuple(attrs.evolve(m, memory=heavy) for m in c.measurements))
        for c in candidates
    ]
    assert chosen(candidates, objective).best == best


# limits


def test_a_limit_holds_only_if_its_intervals_upper_end_does():
    loose = candidate("a", measured(p50=9.9, spread=0.05))
    found = chosen([loose], Objective(limits=("p50<=10ms",)))
    assert found.best is None
    assert found.refused == {"a": "over the limit: p50<=10ms does not hold at batch size 1 (0.0104)"}
    assert chosen([candidate("a", measured(p50=9.9, spread=0.001))], Objective(limits=("p50<=10ms",))).best == "a"


def test_throughput_at_least_holds_only_if_the_lower_end_does():
    objective = Objective(limits=("throughput>=1000",))
    assert chosen([candidate("a", measured(p50=1, spread=0.01))], objective).best is None
    assert chosen([candidate("a", measured(p50=0.9, spread=0.01))], objective).best == "a"


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("p99<=20ms", "unknown: 100 calls do not support p99 at batch size 1, which leaves p99<=20ms undecided"),
        ("p90<=20ms", "unknown: 100 calls do not support p90 at batch size 1, which leaves p90<=20ms undecided"),
        (
            "size<=1MB",
            "unknown: what exists only in memory has no size at batch size 1, which leaves size<=1MB undecided",
        ),
    ],
)
def test_a_limit_that_cannot_be_decided_is_unknown_and_cannot_win(limit, reason):
    found = chosen([candidate("a", measured(tails=False))], Objective(limits=(limit,)))
    assert found.best is None
    assert found.refused["a"].startswith(reason)


@pytest.mark.parametrize(
    ("objective", "reason"),
    [
        (Objective(minimize="p99"), "unknown: 100 calls do not support p99"),
        (Objective(minimize="size"), "unknown: what exists only in memory has no size"),
        (Objective(batch_size=64), "was not measured at batch size 64"),
    ],
)
def test_what_was_not_found_out_cannot_win(objective, reason):
    assert chosen([candidate("a", measured(tails=False))], objective).refused == {"a": reason}


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("p99<=20ms", ("p99", True, 0.02)),
        (" p50 <= 1.5 s ", ("p50", True, 1.5)),
        ("latency<=250us", ("latency", True, 250e-6)),
        ("latency<=250µs", ("latency", True, 250e-6)),
        ("memory<=2GiB", ("memory", True, 2.0**31)),
        ("size<=5MB", ("size", True, 5e6)),
        ("throughput>=1e3", ("throughput", False, 1000.0)),
        ("p95<=.5", ("p95", True, 0.5)),
        ("p90<=5ms", ("p90", True, 0.005)),
        ("memory<=1TiB", ("memory", True, 2.0**40)),
    ],
)
def test_a_limit_is_read_with_its_unit(text, limit):
    found = parse_limit(text)
    assert (found.quantity, found.at_most, found.bound) == (limit[0], limit[1], pytest.approx(limit[2]))
    assert isinstance(found, Limit)


@pytest.mark.parametrize(
    ("text", "unit", "bound"),
    [
        ("chip-energy<=2.5J", "J", 2.5),
        ("chip-energy<=2.5j", "J", 2.5),
        ("chip-energy<=3", "J", 3.0),
        ("chip-energy<=20us", "ms", 0.02),
        ("chip-energy<=1MiB", "B", 2.0**20),
        ("chip-energy<=40%", "%", 40.0),
    ],
)
def test_what_a_plugin_measures_is_limited_in_its_unit_or_one_of_the_same_family(text, unit, bound):
    assert parse_limit(text, {"chip-energy": unit}).bound == pytest.approx(bound)


def test_what_a_plugin_measures_is_not_limited_in_other_units():
    with pytest.raises(RequestError, match="unknown unit in the limit 'chip-energy<=2ms' 'ms'"):
        parse_limit("chip-energy<=2ms", {"chip-energy": "J"})


@pytest.mark.parametrize(
    ("objective", "calls"),
    [
        (Objective(), 6),
        (Objective(minimize="p90"), 50),
        (Objective(limits=("p95<=1ms",)), 100),
        (Objective(minimize="p90", limits=("p99<=1s",)), 500),
    ],
)
def test_as_many_calls_are_asked_for_as_the_percentile_needs(objective, calls):
    assert calls_needed(objective) == calls


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p99<20ms", "cannot read the limit"),
        ("fast", "cannot read the limit"),
        ("p99<=1.2.3ms", "cannot read the limit"),
        ("p99<=.", "cannot read the limit"),
        ("p99<=-1ms", "cannot read the limit"),
        ("p98<=20ms", "unknown quantity in limits 'p98'; did you mean"),
        ("p99<=20min", "unknown unit in the limit 'p99<=20min' 'min'"),
        ("p99<=20MiB", "unknown unit in the limit 'p99<=20MiB' 'MiB'"),
        ("memory<=20ms", "unknown unit in the limit 'memory<=20ms' 'ms'"),
        ("throughput>=3ms", "unknown unit"),
        ("throughput<=100", "points the wrong way: throughput needs >="),
        ("p99>=20ms", "points the wrong way: p99 needs <="),
    ],
)
def test_a_limit_that_cannot_be_read_is_an_error(text, message):
    with pytest.raises(RequestError, match=message):
        parse_limit(text)


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (Objective(minimize="latency", maximize="throughput"), "minimizes or maximizes one quantity"),
        (Objective(minimize="throughput"), "unknown quantity to minimize 'throughput'"),
        (Objective(maximize="latency"), "unknown quantity to maximize 'latency'"),
        (Objective(batch_size=0), "batch_size must be at least 1, not 0"),
        (Objective(limits="p99<=20ms"), r"limits must be a tuple, such as \('p99<=20ms',\), not a str"),
    ],
)
def test_an_objective_that_makes_no_sense_is_an_error(objective, message):
    with pytest.raises(RequestError, match=message):
        check(objective)


# precisions


@pytest.mark.parametrize(
    ("precision", "precisions", "why_not"),
    [
        ("fp32", None, None),
        ("fp64", None, None),
        ("fp16", None, "reduced precision: allow it with precisions=('fp32', 'fp16')"),
        ("fp16", ("fp32", "fp16"), None),
        ("fp32", ("fp16",), "its precision fp32 is not among precisions=('fp16',)"),
    ],
)
def test_a_reduced_precision_may_win_only_by_the_users_word(precision, precisions, why_not):
    found = chosen([candidate("a", precision=precision)], precisions=precisions)
    assert found.refused == ({} if why_not is None else {"a": why_not})
    assert found.best == (None if why_not else "a")


def test_a_precision_that_nobody_knows_is_taken_as_reduced():
    assert rules().why_not("mxfp4") is not None


# ties


@pytest.mark.parametrize(
    ("first", "second", "best", "because"),
    [
        (
            candidate("a", measured(memory=2**25)),
            candidate("b", measured(p50=1.02)),
            "b",
            "needs less memory, 1 MiB and not 32 MiB",
        ),
        (
            candidate("a", size=9000),
            candidate("b", measured(p50=1.02), size=5),
            "b",
            "is smaller, 5 bytes and not 9,000",
        ),
        (candidate("a", live=True), candidate("b", measured(p50=1.02), size=5), "b", "can be stored"),
        (candidate("a", portable=False), candidate("b", measured(p50=1.02)), "b", "is portable"),
        (candidate("a", live=True), candidate("b", measured(p50=1.02)), "b", "is portable"),
        (
            candidate("b"),
            candidate("a", measured(p50=1.02)),
            "a",
            "is the first by name, alike in memory, size and portability",
        ),
        (candidate("a", measured(memory=2**25)), candidate("b", measured(p50=1.04)), "a", None),
    ],
    ids=["memory", "size", "unstored", "portable", "live", "name", "no tie"],
)
def test_a_tie_is_broken_by_memory_then_size_then_portability_and_says_so(first, second, best, because):
    found = chosen([first, second])
    other = "a" if best == "b" else "b"
    assert found.best == best
    assert found.why == ("" if because is None else f"a tie with {other}; {best} {because}")
    assert found.ties == (() if because is None else (other,))


def test_the_memory_that_breaks_a_tie_is_that_at_the_batch_size_asked_for():
    first = candidate("a", measured(1, memory=2**20), measured(8, memory=2**25))
    second = candidate("b", measured(1, memory=2**21), measured(8, memory=2**24))
    assert chosen([first, second]).best == "a"
    assert chosen([first, second], Objective(batch_size=8)).best == "b"


def test_a_tie_in_throughput_counts_too():
    found = chosen(
        [candidate("a", measured(p50=1.0, memory=2**25)), candidate("b", measured(p50=1.02))],
        Objective(maximize="throughput"),
    )
    assert (found.best, found.ties) == ("b", ("a",))


def test_what_is_measured_for_comparison_only_cannot_win():
    found = chosen([attrs.evolve(FAST, comparison=True), SLOW])
    assert found.best == "slow"
    assert found.refused == {"fast": "not asked for: speed-ups are relative to it"}


# a playoff


def duel(candidate, rival, ratio, verdict="better", sizes=(1, 1)):
    found = Estimate(ratio, ratio * 0.98, ratio * 1.02)
    return Duel(candidate=candidate, rival=rival, batch_sizes=sizes, ratio=found, verdict=verdict, rounds=3)


TRIO = [
    candidate("a", measured(p50=1.0, memory=2**25)),
    candidate("b", measured(p50=1.1, memory=2**24)),
    candidate("c", measured(p50=1.2, memory=2**23)),
]


def test_a_playoff_counts_more_than_measurements_taken_apart():
    found = chosen(TRIO, duels=[duel("b", "a", 1.08), duel("b", "c", 1.2)])
    assert (found.best, found.order, found.ties) == ("b", ("b", "a", "c"), ())
    assert found.why == "1.08 times [1.06, 1.10] as fast as a in a playoff of 3 rounds"


def test_a_tie_in_the_playoff_is_broken_by_memory():
    found = chosen(TRIO, duels=[duel("b", "a", 1.01, "tie"), duel("b", "c", 1.2)])
    assert (found.best, found.ties) == ("b", ("a",))
    assert found.why == (
        "a tie with a in a playoff of 3 rounds, where b looked 1.01 times [0.99, 1.03] as fast as a; "
        "b needs less memory, 16 MiB and not 32 MiB"
    )


def test_a_playoffs_own_margin_says_what_it_could_not_tell():
    noisy = attrs.evolve(duel("a", "b", 1.05, "tie"), margin=0.06)
    assert chosen(TRIO[:2], duels=[noisy]).best == "b"
    assert chosen(TRIO[:2], duels=[attrs.evolve(noisy, margin=0.03)]).best == "a"


def test_where_a_playoff_could_not_tell_the_one_that_looks_faster_is_preferred():
    found = chosen(TRIO, duels=[duel("a", "b", 1.2, "tie"), duel("a", "c", 1.3)])
    assert (found.best, found.order, found.ties) == ("a", ("a", "b", "c"), ("b",))
    said = "it looked 1.20 times [1.18, 1.22] as fast as b in a playoff of 3 rounds, which could not tell them apart"
    assert found.why == said


def test_who_lost_a_playoff_stands_before_who_was_not_worth_one():
    slow = candidate("slow", measured(p50=1.15))
    assert chosen([*TRIO, slow], duels=[duel("c", "a", 1.3), duel("c", "b", 1.2)]).order == ("c", "b", "a", "slow")


@pytest.mark.parametrize(
    ("objective", "duels"),
    [
        (Objective(minimize="memory"), [duel("a", "c", 1.5)]),
        (Objective(), [duel("c", "a", 1.5, sizes=(8, 8))]),
        (Objective(), [duel("c", "gone", 1.5)]),
    ],
)
def test_a_playoff_about_another_question_counts_for_nothing(objective, duels):
    assert chosen(TRIO, objective, duels=duels) == chosen(TRIO, objective)


@pytest.mark.parametrize(
    ("objective", "times", "names"),
    [
        (Objective(), {"a": 1.0, "b": 1.09, "c": 1.5}, ["a", "b"]),
        (Objective(maximize="throughput"), {"a": 1.0, "b": 1.09, "c": 1.5}, ["a", "b"]),
        (Objective(minimize="memory"), {"a": 1.0, "b": 1.0}, []),
        (Objective(), {}, []),
    ],
)
def test_leaders_are_those_that_may_be_the_fastest_in_truth(objective, times, names):
    ranking = rank([candidate(name, measured(p50=p50)) for name, p50 in times.items()], rules(objective))
    assert [one.candidate.name for one in leaders(ranking.scored, objective)] == names


def test_a_wide_interval_makes_a_leader():
    found = [candidate("a", measured(p50=1.0)), candidate("b", measured(p50=1.4, spread=0.3))]
    assert len(leaders(rank(found, rules()).scored, Objective())) == 2


# guarantees

candidates = st.lists(
    st.builds(
        lambda name, status, precision, measurements, size: attrs.evolve(
            candidate(f"c{name}", status=status, precision=precision, size=size), measurements=measurements
        ),
        st.integers(0, 99),
        st.sampled_from(["ok", "ok", "ok", "incorrect", "failed", "skipped", "unavailable"]),
        st.sampled_from(["fp32", "fp16", "fp64"]),
        st.lists(
            st.builds(
                measured,
                st.integers(1, 3),
                st.floats(0.1, 10),
                memory=st.integers(0, 2**24),
                tails=st.booleans(),
                spread=st.floats(0, 0.5),
            ),
            max_size=3,
            unique_by=lambda m: m.batch_size,
        ).map(tuple),
        st.none() | st.integers(0, 1000),
    ),
    max_size=6,
    unique_by=lambda c: c.name,
)
limits = st.sets(st.sampled_from(["p50<=5ms", "p99<=8ms", "memory<=8MiB", "size<=500B", "throughput>=300"])).map(tuple)
objectives = st.builds(
    lambda quantity, size, limits: Objective(
        minimize=None if quantity == "throughput" else quantity,
        maximize=quantity if quantity == "throughput" else None,
        batch_size=size,
        limits=limits,
    ),
    st.sampled_from(["latency", "p99", "memory", "size", "throughput"]),
    st.none() | st.integers(1, 3),
    limits,
)


@given(candidates, objectives, st.sampled_from([None, ("fp32",), ("fp32", "fp16")]))
def test_whatever_is_asked_the_best_is_right_allowed_and_within_the_limits(found, objective, precisions):
    asked = rules(objective, precisions)
    selection = select(found, asked)
    by_name = {c.name: c for c in found}
    assert set(selection.order) | set(selection.refused) == {c.name for c in found if c.status == "ok"}
    assert not set(selection.order) & set(selection.refused)
    for name in selection.order:
        assert asked.why_not(by_name[name].precision) is None
        assert any(_within(by_name[name], m, objective) for m in by_name[name].measurements)
    if selection.best is not None:
        best = by_name[selection.best]
        assert best.status == "ok"
        assert selection.order[0] == best.name
        worst_tie = 1.031
        ours = _score(best, objective)
        for name in selection.order:
            theirs = _score(by_name[name], objective)
            assert ours <= max(theirs * worst_tie, theirs / worst_tie) or math.isclose(ours, theirs)


def _counts(measurement, found, objective):
    if objective.batch_size is not None:
        return measurement.batch_size == objective.batch_size
    return objective.maximize is not None or measurement is found.measurements[0]


def _within(found, measurement, objective):
    if not _counts(measurement, found, objective):
        return False
    for limit in map(parse_limit, objective.limits):
        value = quantity(limit.quantity, found, measurement)
        if value is None or not (value.high <= limit.bound if limit.at_most else value.low >= limit.bound):
            return False
    return quantity(objective.maximize or objective.minimize, found, measurement) is not None


def _score(found, objective):
    name = objective.maximize or objective.minimize
    values = [quantity(name, found, m).value for m in found.measurements if _within(found, m, objective)]
    return min(-value if objective.maximize else value for value in values)


def test_candidates_come_in_order_of_merit_the_refused_with_their_reason_and_the_others_last():
    found = [
        candidate("gone", status="unavailable"),
        candidate("half", precision="fp16"),
        candidate("bad", status="incorrect"),
        SLOW,
        candidate("late", status="skipped"),
        FAST,
        candidate("broken", status="failed"),
    ]
    ordered = in_order(found, chosen(found))
    assert [c.name for c in ordered] == ["fast", "slow", "half", "bad", "broken", "late", "gone"]
    assert ordered[2].reason.startswith("reduced precision")
    assert ordered[0].reason is None
