"""Real models against each other, on a machine that does something else as well: who is named, and who is not."""

import subprocess
import sys
import time
from collections import Counter
from itertools import permutations

import models
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import navigator as nav
from navigator_core import playoff, plugins
from navigator_core.contestant import Contestant
from navigator_core.duels import judge
from navigator_core.entrant import Entrant
from navigator_core.loading import Kinds, Source
from navigator_core.playoff import LIMIT, WARM_UP
from navigator_core.request import DEFAULT_SECONDS
from navigator_core.turns import Playoff, play

pytestmark = pytest.mark.long

BUSY = "while True: pass"


@pytest.fixture
def busy():
    """One core does something else meanwhile."""
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        yield
        process.kill()


def convolutions(path, number):
    """So many convolutions of the same size, one after the other."""
    draw = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array((draw.standard_normal((32, 32, 3, 3)) / 17).astype(np.float32), f"w{i}")
        for i in range(number)
    ]
    nodes = [
        helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"x{i + 1}"], name=f"conv{i}", pads=[1, 1, 1, 1])
        for i in range(number)
    ]
    shape = ["n", 32, 24, 24]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x0", f"x{number}")]
    graph = helper.make_graph(nodes, "convolutions", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def entrant(folder, number):
    """An ONNX model of so many convolutions, as a playoff loads it."""
    path = convolutions(folder / f"{number}.onnx", number)
    sample = np.random.default_rng(1).standard_normal((1, 32, 24, 24)).astype(np.float32)
    report = nav.optimize(
        path, [sample], runners=["onnxruntime-cpu"], batch_sizes=[1], workspace=folder / f"workspace-{number}"
    )
    best = report.best
    return Entrant(
        source=Source(format=best.recipe.format, path=best.path),
        runner=best.recipe.runner,
        kinds=Kinds(declared=tuple(plugins.installed().tensors.values())),
        reference=report.reference,
        reference_folder=report.reference_folder,
        names=best.recipe.names,
        precision=best.recipe.precision,
    )


def duel(entrants, folder, seed):
    """A playoff of two, with a run's own limits."""
    contestants = [
        Contestant(
            name=name,
            entrant=one,
            batch_size=1,
            warm_up=WARM_UP * DEFAULT_SECONDS,
            preload=("navigator_onnx.run",),
        )
        for name, one in entrants.items()
    ]
    limit = LIMIT * DEFAULT_SECONDS
    began = time.monotonic()
    played = play(
        Playoff(contestants=tuple(contestants), seconds=DEFAULT_SECONDS, limit=limit, seed=seed), folder, lambda _: None
    )
    assert played.lost == {}
    (found,) = judge(played.times, dict.fromkeys(entrants, 1))
    print(f"{time.monotonic() - began:.0f} s, {found}", flush=True)
    return found


def test_a_model_against_itself_is_a_tie_in_19_of_20_playoffs_on_a_busy_machine(tmp_path, busy):
    same = entrant(tmp_path, 10)
    found = [duel({"one": same, "same": same}, tmp_path, seed) for seed in range(20)]
    assert Counter(one.verdict for one in found)["tie"] >= 19


def test_a_tenth_more_work_is_called_slower_in_20_of_20_playoffs(tmp_path):
    less, more = entrant(tmp_path, 10), entrant(tmp_path, 11)
    found = [duel({"less": less, "more": more}, tmp_path, seed) for seed in range(20)]
    assert Counter((one.candidate, one.verdict) for one in found) == {("less", "better"): 20}


def tied(report):
    """The best and what the playoff calls a tie with it."""
    leader = {one.candidate for one in report.duels}
    return {report.best_name} | leader | {one.rival for one in report.duels if one.verdict == "tie"}


def test_ten_runs_with_one_core_busy_name_the_same_winner_or_one_that_the_others_call_a_tie(
    busy, tmp_path, monkeypatch
):
    monkeypatch.setattr(playoff, "MOST", 4)
    model, samples = models.resnet18()
    reports = [
        nav.optimize(
            model,
            samples,
            runners=["torch-eager", "torchscript", "onnxruntime-cpu"],
            batch_sizes=[1],
            precisions=["fp32"],
            workspace=tmp_path / f"{number}",
        )
        for number in range(10)
    ]
    for report in reports:
        print(report.best_name, report.why)
    assert all(other.best_name in tied(report) for report, other in permutations(reports, 2))
