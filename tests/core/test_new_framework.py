"""A whole framework is added by a plugin alone; and whatever its steps do wrong costs their own branch."""

import os
import re
import sys
import time
from importlib import import_module, invalidate_caches
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import navigator as nav
from navigator_core import (
    FP32,
    Context,
    Converter,
    Ref,
    Runner,
    Signature,
    Variant,
    builtin,
    hookimpl,
    plugins,
    shipping,
)
from navigator_core.errors import NoPathError, RequestError
from navigator_core.events import StepFinished
from navigator_core.execution import Done, Failed, Job, Workers
from navigator_core.loading import Source
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

pytestmark = pytest.mark.usefixtures("importable")

SOURCES = Path(builtin.__file__).parent
DENSE = "mini->mini-json->mini-npz"
SAMPLES = [mini.Array(np.random.default_rng(n).standard_normal((2, 4)).astype("float32")) for n in range(4)]


@pytest.fixture(scope="module")
def misbehaving(importable):
    import misbehaving

    return misbehaving


def layer():
    rng = np.random.default_rng(0)
    return mini.Model(rng.standard_normal((4, 3)).astype("float32"), np.ones(3, "float32"))


def optimize(folder, **asked):
    return nav.optimize(layer(), SAMPLES, workspace=folder, **{"batch_sizes": [1, 3], **asked})


def by_name(report):
    return {candidate.name: candidate for candidate in report.candidates}


# the framework


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with using(mini):
        yield optimize(tmp_path_factory.mktemp("mini"))


def test_every_branch_of_the_new_framework_is_tried_and_right(report):
    assert {name: candidate.status for name, candidate in by_name(report).items()} == {
        "mini @ mini-eager": "ok",
        f"{DENSE}[fp32] @ mini-runtime": "ok",
        f"{DENSE}[fp16] @ mini-runtime": "ok",
    }
    assert report.best.precision == "fp32"
    assert [m.batch_size for m in report.best.measurements] == [1, 3]


def test_what_is_loaded_takes_and_returns_the_frameworks_own_tensors(report):
    x = SAMPLES[0]
    for candidate in report.candidates:
        with candidate.load() as loaded:
            answer = loaded(x)
        assert isinstance(answer, mini.Array)
        np.testing.assert_allclose(answer.value, layer()(x).value, rtol=1e-2)


class Noisy(mini.Model):
    """Another answer every time."""

    def __call__(self, x):
        answer = super().__call__(x).value
        return mini.Array(answer + np.random.default_rng().random(answer.shape, answer.dtype))


def test_what_is_converted_from_a_stochastic_source_is_skipped_unless_the_user_says_what_is_right(tmp_path):
    noisy = Noisy(layer().weight, layer().bias)
    asked = {"workspace": tmp_path, "batch_sizes": [1], "precisions": ["fp32"]}
    with using(mini):
        found = by_name(nav.optimize(noisy, SAMPLES, **asked))
        allowed = by_name(nav.optimize(noisy, SAMPLES, verify=lambda references, candidates: True, **asked))
    converted = found[f"{DENSE}[fp32] @ mini-runtime"]
    assert converted.status == "skipped"
    assert converted.reason == "the source is stochastic, so that nothing can be compared with it"
    assert "verify=" in converted.remedy
    assert {name: c.status for name, c in allowed.items()} == dict.fromkeys(found, "ok")


def test_its_reduced_precision_wins_by_rank_and_never_by_a_mask(tmp_path):
    with using(mini):
        report = optimize(tmp_path, tolerance=nav.Tolerance(top1=0.9), batch_sizes=[1])
    assert set(report.precisions) == {"fp16", "fp32"}
    half = by_name(report)[f"{DENSE}[fp16] @ mini-runtime"]
    assert half.reason is None
    assert half.verdict.outputs["output"].top1 > 0.9
    assert report.bar.splitlines()[1].startswith("bar of fp16: 8,192 times that of fp32")
    assert report.bar.splitlines()[2] == "bar of output 'output', as given: the first place in 0.9 of all positions"


def test_its_formats_runners_and_profiler_are_known_like_all_others():
    with using(mini) as found:
        assert set(nav.formats()) == {"python", "mini", "mini-json", "mini-npz"}
        assert set(nav.runners()) == {"python", "mini-eager", "mini-runtime"}
        assert [c.name for c in nav.graph().conversions] == [
            "mini->mini-json",
            f"{DENSE[6:]}[fp16]",
            f"{DENSE[6:]}[fp32]",
        ]
        measure = found.profilers["mini-cpu-time"].implementation.resolve()(Context(signature=Signature(())))
    assert 0.01 <= measure(lambda: sum(range(2_000_000))) < 10


def test_its_profiler_is_an_objective_like_all_others(tmp_path):
    objective = nav.Objective(minimize="mini-cpu-time")
    with using(mini):
        report = optimize(tmp_path, objective=objective, batch_sizes=[1])
    assert report.best is not None
    for candidate in report.candidates:
        assert candidate.measurements[0].others["mini-cpu-time"].value > 0


def test_its_options_and_targets_are_checked_like_all_others(tmp_path):
    with using(mini):
        with pytest.raises(RequestError, match="did you mean 'dtype'"):
            optimize(tmp_path, options={"mini-npz": {"dtyp": "float16"}})
        with pytest.raises(RequestError, match="did you mean 'mini-npz'"):
            optimize(tmp_path, targets=["mini-nzp"])
        with pytest.raises(NoPathError, match="no runner can be reached"):
            optimize(tmp_path, targets=["mini-json"], runners=["mini-runtime"])


def test_the_core_does_not_know_it():
    for module in SOURCES.rglob("*.py"):
        if module.parent.name != "testing":
            assert not re.search(r"\bmini\b|miniframework", module.read_text()), module


def test_it_is_known_only_by_its_plugin():
    with using(mini):
        assert "mini" in plugins.installed().formats
    assert "mini" not in plugins.discover().formats


PLUGIN = """
import json
from navigator_core.testing import miniframework as mini
from navigator_core.testing.miniframework import *

@hookimpl
def declare_converters():
    return [Converter(source="mini-json", target="mini-npz", implementation=Ref(f"{__name__}:changing"))]

def changing(source, output, options, context):
    layer = json.loads(source.read_text())
    layer["bias"][0] += OFF
    source = output.with_name("off.json")
    source.write_text(json.dumps(layer))
    mini.convert(source, output, mini.Storage(), context)
"""


def test_nothing_that_a_plugin_made_is_used_again_once_its_source_has_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for off, status in (("1.0", "incorrect"), ("0", "ok")):
        (tmp_path / "changing_plugin.py").write_text(PLUGIN.replace("OFF", off))
        monkeypatch.delitem(sys.modules, "changing_plugin", raising=False)
        invalidate_caches()
        with using(import_module("changing_plugin")):
            found = by_name(optimize(tmp_path / "workspace", batch_sizes=[1]))
        assert found[f"{DENSE} @ mini-runtime"].status == status


# what goes wrong costs its own branch

CONVERTING = {
    "exits": ("failed", "ended with exit code 7 before it had a result"),
    "floods": ("failed", "ended with exit code 1 .* last lines: .*line 1999.. of a flood"),
    "idle": ("skipped", "^this layer has no bias to take out$"),
    "interrupts": ("failed", "KeyboardInterrupt|exit code 1"),
    "killed": ("failed", "was ended by SIGKILL, as the kernel does when memory runs out"),
    "leaks": ("ok", None),
    "leaves": ("failed", "SystemExit: enough"),
    "loud": ("ok", None),
    "names": ("failed", "returned dict; its author must return Names or None"),
    "nothing": ("failed", r"wrote no model\.npz; its author must write model\.npz"),
    "raises": ("failed", "ValueError: no way to go on in raises"),
    "right": ("ok", None),
    "segfaults": ("failed", "was ended by SIGSEGV, a crash in native code; last lines: about to fall"),
    "threads": ("ok", None),
    "wrong": ("incorrect", "batch 1: .*output 'output'|sample 0: .*"),
}
RUNNING = {
    "exits": ("failed", "exit code 7"),
    "idle": ("skipped", "^this layer has no bias to take out$"),
    "killed": ("failed", "SIGKILL"),
    "other": ("failed", "runner 'bad-runtime' returned function; its author must return a LoadedModel"),
    "raises": ("failed", "raised ValueError: no way"),
    "right": ("ok", None),
    "segfaults": ("failed", "SIGSEGV"),
}


def variants(misbehaving, names):
    return tuple(Variant(name, misbehaving.Deed(name), FP32) for name in names)


def converter(misbehaving, *names):
    declared = Converter(
        source="mini-json",
        target="mini-npz",
        implementation=Ref("misbehaving:convert"),
        options=misbehaving.Deed,
        variants=variants(misbehaving, names),
    )
    return SimpleNamespace(__name__="bad converter", declare_converters=hookimpl(lambda: [declared]))


def runner(misbehaving, *names):
    declared = Runner(
        name="bad-runtime",
        formats=("mini-npz",),
        implementation=Ref("misbehaving:load"),
        options=misbehaving.Deed,
        variants=variants(misbehaving, names),
    )
    return SimpleNamespace(__name__="bad runner", declare_runners=hookimpl(lambda: [declared]))


@pytest.fixture(scope="module")
def converted(tmp_path_factory, misbehaving):
    with using(mini, converter(misbehaving, *CONVERTING)):
        return by_name(optimize(tmp_path_factory.mktemp("converted")))


@pytest.mark.parametrize("deed", CONVERTING)
def test_a_converter_that_misbehaves_costs_its_own_branch(deed, converted):
    candidate = converted[f"{DENSE}[{deed}] @ mini-runtime"]
    status, reason = CONVERTING[deed]
    assert candidate.status == status, candidate.reason
    if reason is None:
        assert candidate.reason is None
        return
    assert re.search(reason, candidate.reason), candidate.reason
    assert len(candidate.reason) < 600
    if status == "failed":
        assert candidate.reason.startswith(f"{DENSE}[{deed}]: ")
        assert "reproduce.py" in candidate.remedy
        assert candidate.log.exists()


def test_what_finds_nothing_to_do_is_skipped_and_nobody_is_sent_to_a_log(tmp_path, misbehaving):
    events = []
    with using(mini, converter(misbehaving, "idle")):
        found = optimize(tmp_path, batch_sizes=[1], budget=300, observe=events.append)
        plan = nav.plan(layer(), SAMPLES, workspace=tmp_path, batch_sizes=[1])
    assert {f"{DENSE}[idle]", f"{DENSE}[idle] @ mini-runtime"} <= plan.cached
    idle = by_name(found)[f"{DENSE}[idle] @ mini-runtime"]
    assert idle.status == "skipped"
    assert idle.remedy == "nothing has to be done: the other candidates do without it"
    told = {(e.step, e.stage): e.status for e in events if isinstance(e, StepFinished) and "idle" in e.step}
    assert told == {
        (f"{DENSE}[idle]", "convert"): "skipped",
        (f"{DENSE}[idle] @ mini-runtime", "verify"): "skipped",
    }
    with pytest.raises(RequestError, match=r"it is skipped \(this layer has no bias to take out\)"):
        idle.load()


def test_a_runner_that_finds_nothing_to_do_is_not_to_be_asked_again(tmp_path, misbehaving):
    with using(mini, runner(misbehaving, "idle")):
        found = optimize(tmp_path, batch_sizes=[1])
        idle = {c.name: c.status for c in found.candidates if c.name.endswith("[idle]")}
        assert set(idle.values()) == {"skipped"}
        assert idle.keys() <= nav.plan(layer(), SAMPLES, workspace=tmp_path, batch_sizes=[1]).cached


def test_what_others_do_wrong_changes_nothing_for_the_rest(converted):
    assert converted["mini @ mini-eager"].status == "ok"
    assert converted[f"{DENSE}[fp32] @ mini-runtime"].status == "ok"


@pytest.fixture(scope="module")
def run(tmp_path_factory, misbehaving):
    with using(mini, runner(misbehaving, *RUNNING)):
        return by_name(optimize(tmp_path_factory.mktemp("run"), options={"mini-npz": {"dtype": "float32"}}))


@pytest.mark.parametrize("deed", RUNNING)
def test_a_runner_that_misbehaves_costs_its_own_branch(deed, run):
    candidate = run[f"{DENSE}[fp32] @ bad-runtime[{deed}]"]
    status, reason = RUNNING[deed]
    assert candidate.status == status, candidate.reason
    assert reason is None or re.search(reason, candidate.reason), candidate.reason


def test_a_hang_takes_half_of_the_budget_at_most_and_leaves_the_others_the_rest(tmp_path, misbehaving):
    with using(mini, converter(misbehaving, "hangs")):
        began = time.monotonic()
        found = by_name(optimize(tmp_path, budget=20, batch_sizes=[1]))
    assert time.monotonic() - began < 50
    hung = found[f"{DENSE}[hangs] @ mini-runtime"]
    assert hung.status == "skipped"
    assert hung.remedy.startswith("give it more time with budget= (--budget), or read ")
    stopped = re.search(r"was stopped after (\d+) s, its time limit; last lines: going to sleep", hung.reason)
    assert int(stopped[1]) <= 10
    assert found["mini @ mini-eager"].status == "ok"


def test_what_a_framework_packs_goes_to_the_workers_in_the_models_place(importable, tmp_path, monkeypatch):
    import settled

    monkeypatch.setattr(settled, "gain", 3.0)
    with using(settled):
        report = nav.optimize(settled.Model(), np.ones((2, 4)), batch_sizes=[1], workspace=tmp_path)
        (candidate,) = report.candidates
        assert candidate.status == "ok", candidate.reason
        batch = report.reference.batches[0]
        answered = batch.reference(report.reference_folder)["output"]
        assert np.array_equal(answered, 3 * batch.inputs(report.reference_folder)["x"])
        with report.load() as loaded:
            assert loaded(np.ones((2, 4))).max() == 3


def test_a_worker_imports_the_packages_of_a_model_and_leaves_the_users_own_modules_to_its_steps(importable, tmp_path):
    import settled

    shipping.ship([settled.Model(), layer()], (), settled, tmp_path)
    found = shipping.modules(Source(format="settled", path=tmp_path, framework=Ref("settled")))
    assert mini.__name__ in found
    assert "settled" not in found


# the workers below


@pytest.fixture(scope="module")
def workers(importable):
    with Workers() as pool:
        yield pool


@pytest.fixture
def perform(workers, misbehaving, tmp_path):
    def perform(deed, timeout=60.0, place=""):
        folder = tmp_path / deed
        (folder / "output").mkdir(parents=True)
        job = Job(
            function=Ref("misbehaving:step"),
            argument=misbehaving.Deed(deed, str(place)),
            result=misbehaving.Answer,
            preload=("misbehaving",),
        )
        return workers.run(job, folder, folder / "output", timeout=timeout)

    return perform


@pytest.mark.parametrize("deed", ["hangs", "stubborn"])
def test_a_step_that_hangs_is_ended_at_its_time_limit_and_the_next_one_runs(deed, perform):
    began = time.monotonic()
    outcome = perform(deed, timeout=1.0)
    assert isinstance(outcome, Failed)
    assert outcome.reason.startswith("was stopped after ")
    assert "its time limit" in outcome.reason
    assert time.monotonic() - began < 10
    assert isinstance(perform("right"), Done)


@pytest.mark.parametrize("deed", ["segfaults", "exits", "killed", "raises", "leaves", "floods"])
def test_a_step_that_fails_leaves_its_worker_as_it_was(deed, perform, workers):
    assert isinstance(perform("right"), Done)
    (process,) = (one.process for one in workers._workers.values())
    outcome = perform(deed)
    assert isinstance(outcome, Failed)
    assert outcome.log.exists()
    assert [one.process for one in workers._workers.values()] == [process]
    assert process.poll() is None


def test_each_step_has_a_process_of_its_own(perform, tmp_path):
    first, second = perform("right"), perform("loud")
    assert first.value.pid != second.value.pid
    assert os.getpid() not in (first.value.pid, second.value.pid)


def test_what_a_step_started_ends_with_it(perform, tmp_path):
    place = tmp_path / "pid"
    assert isinstance(perform("children", place=place), Done)
    child = int(place.read_text())
    for _ in range(100):
        if not running(child):
            return
        time.sleep(0.05)
    pytest.fail(f"process {child} still runs")


def running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
