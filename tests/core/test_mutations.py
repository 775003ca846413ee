"""Wrong conversions are caught and right ones are not refused: the engine's own evaluation of made mistakes."""

import importlib
from pathlib import Path

import attrs
import numpy as np
import pytest

from navigator_core import INT8, gates, testing
from navigator_core.results import Tolerance

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
FEWEST = 30
FAMILIES = ("classifier", "convolution", "recurrent", "detector")
"""All but the one of the default run."""


@pytest.fixture
def mutants(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("mutants")


def told(found):
    return [f"{one.way}: {one.effect:.3g} times the noise, {one.reason or 'taken'}" for one in found]


def demand_no_mistake(found):
    assert told(one for one in found if one.mistaken) == []
    noticeable = [one for one in found if not one.honest and one.caught]
    assert len({one.way for one in noticeable}) > FEWEST
    assert sum(one.honest for one in found) > 5


def test_what_is_wrong_with_an_encoder_is_caught_and_what_is_honest_is_taken(mutants, tmp_path):
    trial = mutants.trial("encoder", tmp_path)
    demand_no_mistake([trial.of(way, honest) for way, honest in trial.ways()])


@pytest.mark.long
@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_wrong_with_any_family_is_caught_and_what_is_honest_is_taken(mutants, tmp_path, family):
    trial = mutants.trial(family, tmp_path)
    demand_no_mistake([trial.of(way, honest) for way, honest in trial.ways()])


def test_the_families_are_those_that_are_tried(mutants):
    assert {*FAMILIES, "encoder"} == set(mutants.FAMILIES)


def test_a_mistake_loses_in_a_whole_run_as_well(optimize, mutants):
    ways = ["as it is", "a square weight transposed", "rows off by one", "the result of the call before"]
    model, given = mutants.FAMILIES["encoder"].net("encoder"), mutants.given("encoder")
    with testing.using(mutants):
        report = optimize(model, given, options={"@net-runtime": {"way": ways}}, batch_sizes=[1])
    found = {way: c.status for way in ways for c in report.candidates if way in c.name}
    assert found == {"as it is": "ok", **dict.fromkeys(ways[1:], "incorrect")}


# what the user says


@pytest.fixture
def padded(mutants, monkeypatch):
    """A conversion of the encoder that is right but for what stands on padding."""

    def garbage(outputs, inputs, facts):
        return {**outputs, "hidden": np.where(inputs["mask"][..., None] == 0, np.float32("nan"), outputs["hidden"])}

    monkeypatch.setitem(mutants.CALLS, "padded", mutants.after(garbage))
    return "padded"


def test_positions_that_do_not_count_may_hold_anything(mutants, tmp_path, padded):
    assert "NaN or inf" in mutants.trial("encoder", tmp_path).evaluated(padded).reason
    trial = mutants.trial("encoder", tmp_path, {"": "mask"})
    assert trial.reference.masks == {"hidden": "mask"}
    trial = attrs.evolve(trial, tolerance=dict.fromkeys(("hidden", "pooled"), Tolerance(mask="mask")))
    found = trial.evaluated(padded)
    assert found.reason is None
    assert found.verdict.outputs["hidden"].tolerance.mask == "mask"
    assert found.verdict.outputs["hidden"].tolerance.rtol < 1e-5
    assert trial.of("slightly off everywhere", False).caught


def test_a_rank_decides_about_a_reduced_precision_and_stands_beside_the_bar_of_the_sources_own(mutants, tmp_path):
    trial = mutants.trial("classifier", tmp_path)
    asked = dict.fromkeys(("logits", "probabilities", "label"), Tolerance(top1=0.9))
    coarse = attrs.evolve(trial, tolerance=asked, precision=INT8)
    found = coarse.evaluated("weights in int8")
    assert found.reason is None
    assert 0.9 <= found.verdict.outputs["logits"].top1 <= 1
    assert found.verdict.checks["top-1 of logits"] == "ok"
    stale = coarse.evaluated("weights of another checkpoint")
    assert stale.reason.startswith("top-1 of logits: output 'logits' ranks first as the truth does in 0.")
    assert not stale.verdict.outputs["label"].ok
    assert "relative error" in attrs.evolve(coarse, precision=trial.precision).evaluated("weights in int8").reason


@pytest.mark.parametrize(
    ("way", "check"),
    [
        ("the result of the call before", "order of calls"),
        ("rows off by one", "rows independent"),
        ("only batch 1 is right", "batch sizes agree"),
        ("only the first row is computed", "rows independent"),
        ("the first result for ever", "batch sizes agree"),
    ],
)
def test_properties_hold_for_a_reduced_precision_that_the_users_gate_decides_about(mutants, tmp_path, way, check):
    trial = mutants.trial("classifier", tmp_path)
    gate = gates.store(lambda references, candidates: True, tmp_path)
    free = attrs.evolve(trial, verify=gate, precision=INT8, tolerance={"label": Tolerance(top1=0.001)})
    assert free.evaluated("weights in int8").reason is None
    found = free.evaluated(way)
    assert found.reason is not None
    assert found.verdict.checks.get(check, "ok") != "ok"


def test_a_format_that_couples_rows_says_so_and_is_not_refused(mutants, tmp_path, monkeypatch):
    monkeypatch.setitem(mutants.CALLS, "coupled", mutants.after(lambda y, x, f: f.each_row(y, mutants._leak(1e-3))))
    found = attrs.evolve(mutants.trial("classifier", tmp_path), precision=INT8).evaluated("coupled")
    assert found.reason is None
    assert any("in int8 rows influence each other (output" in note for note in found.verdict.notes)
