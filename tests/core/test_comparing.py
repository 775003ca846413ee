"""Two packages side by side: real workers answer and take turns; what is allowed decides what comes of it."""

import json
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from attrs import evolve
from click.testing import CliRunner

import navigator as nav
from navigator_core import (
    FP32,
    Dim,
    Ref,
    Runner,
    Signature,
    TensorSpec,
    Variant,
    comparing,
    drift,
    hookimpl,
    pairing,
    plugins,
    signing,
)  # fmt: skip
from navigator_core.cli import commands
from navigator_core.comparing import Asked
from navigator_core.errors import NavigatorError, PackageError, RequestError
from navigator_core.package import reopen
from navigator_core.results import Tolerance
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using
from navigator_core.turns import Played

HERE = str(Path(__file__).parent)
WEIGHTS = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
SAMPLES = [np.random.default_rng(1).standard_normal((n, 4)).astype("float32") for n in (2, 3)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    """Packages of one model and of others, made once: ``desk("a")`` is the path of one."""
    import importlib

    folder = tmp_path_factory.mktemp("desk")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("NAVIGATOR_PROGRESS", "0")
        pacing = importlib.import_module("pacing")
        declared = Runner(
            name="pacing",
            formats=("mini-npz",),
            implementation=Ref("pacing:load"),
            options=pacing.Pace,
            variants=[Variant("plain", pacing.Pace(), FP32)],
        )
        plugin = SimpleNamespace(__name__="pacing plugin", declare_runners=hookimpl(lambda: [declared]))
        with using(mini, plugin):
            made = {}

            def package(name, *, weights=WEIGHTS, samples=SAMPLES, batch_sizes=(1, 2), **pace):
                if name not in made:
                    model = mini.Model(weights, np.full(weights.shape[1], 0.5, "float32"))
                    report = nav.optimize(
                        model,
                        samples,
                        runners=["pacing"],
                        precisions=["fp32"],
                        batch_sizes=batch_sizes,
                        options={"@pacing": pace} if pace else None,
                        workspace=folder / "workspace",
                    )
                    made[name] = report.save(folder / f"{name}.nav")
                return made[name]

            yield package


@pytest.fixture
def even(monkeypatch):
    """The playoff says that both are as fast, but for what ``even`` is told: seconds by label."""
    times = {"A": 1.0, "B": 1.0}

    def play(both, entrants, size, share, margin, folder, workers):
        noise = (1.0, 1.001, 0.999)
        return Played({label: tuple(times[label] * one for one in noise) for label in ("A", "B")})

    monkeypatch.setattr(pairing, "play", play)
    return times.update


def compare(a, b, samples=None, **asked):
    return comparing.compare(a, b, samples, Asked(**{"seconds": 0.1, "batch_sizes": (1,), **asked}))


def test_a_package_against_itself_is_a_tie(desk):
    a = desk("steady", seconds=0.004)
    made = compare(a, a)
    assert (made.verdict, made.worse, made.reasons) == ("tie", False, ())
    assert made.ratio.low < 1.0 < made.ratio.high or abs(made.ratio.value - 1) < 0.03
    assert made.drift["output"].max_absolute == 0.0
    assert made.drift["output"].ok
    assert made.a == made.b or made.a.candidate == made.b.candidate
    assert "tie: B is as good as A" in str(made)
    assert "mini-npz[fp32] @ pacing" in made.a.candidate


def test_one_that_takes_half_as_long_again_is_worse_and_the_other_way_round_better(desk):
    a, b = desk("steady", seconds=0.004), desk("slow", seconds=0.006)
    made = compare(a, b)
    (pace,) = made.paces
    assert (made.verdict, made.worse, pace.verdict) == ("worse", True, "worse")
    assert 1.2 < pace.ratio.low <= pace.ratio.value < 1.8
    assert pace.rounds >= 3
    assert pace.latency_b > pace.latency_a > 0.004
    assert made.reasons == (f"it takes {100 * (pace.ratio.value - 1):.1f} % longer at batch size 1, allowed +3 %",)
    back = compare(b, a)
    assert (back.verdict, back.worse, back.reasons) == ("better", False, ())
    assert back.ratio.high < 1


@pytest.mark.parametrize(
    ("seconds", "allowed", "verdict"),
    [(1.02, 1.03, "tie"), (1.05, 1.03, "worse"), (1.05, 1.1, "tie"), (0.95, 1.03, "better"), (0.98, 1.03, "tie")],
)
def test_the_latency_ratio_says_how_much_longer_it_may_take(desk, even, seconds, allowed, verdict):
    even(B=seconds)
    made = compare(desk("a"), desk("a"), latency_ratio=allowed)
    assert made.verdict == verdict
    assert made.ratio.value == pytest.approx(seconds, rel=1e-6)


def test_the_batch_sizes_are_those_that_both_measured(desk, even):
    made = nav.compare(desk("a"), desk("more", batch_sizes=(2, 4)))
    assert [pace.batch_size for pace in made.paces] == [2]
    apart = nav.compare(desk("a"), desk("large", batch_sizes=(4,)))
    assert [pace.batch_size for pace in apart.paces] == [1]
    assert any("no batch size that both measured" in note for note in apart.notes)
    assert [pace.batch_size for pace in nav.compare(desk("a"), desk("a"), batch_sizes=[8, 3]).paces] == [3, 8]


def test_other_answers_than_before_are_worse_and_say_where_and_by_how_much(desk, even):
    made = compare(desk("a"), desk("other", weights=WEIGHTS * np.float32(1.01)))
    assert made.verdict == "worse"
    assert not made.drift["output"].ok
    assert made.drift["output"].excess > 1
    assert made.drift["output"].relative_l2 == pytest.approx(0.01, rel=0.5)
    (reason,) = made.reasons
    assert reason.startswith("its outputs drifted: sample 0: output 'output' is off by")
    assert "beyond" in str(made)
    allowed = compare(desk("a"), desk("other"), tolerance=Tolerance(rtol=0.05, atol=0.05))
    assert allowed.verdict == "tie"
    by_name = compare(desk("a"), desk("other"), tolerance={"output": Tolerance(atol=1e-6)})
    assert by_name.worse


def test_rounding_is_no_drift(desk, even):
    assert not compare(desk("a"), desk("ulp", weights=np.nextafter(WEIGHTS, np.float32(9)))).worse


def test_samples_may_be_given_and_are_then_all_that_counts(desk, even):
    other = desk("other", weights=WEIGHTS * np.float32(1.01))
    flat = np.zeros((2, 4), "float32")
    assert not compare(desk("a"), other, samples=flat).worse
    assert compare(desk("a"), other, samples=[flat, {"x": SAMPLES[0]}]).worse


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((2, 4)), "is float64, but the model takes float32"),
        (np.zeros((2, 5), "float32"), r"input 'x' is of shape \[2, 5\], the model takes \[batch, 4\]"),
        ({"y": np.zeros((2, 4), "float32")}, "y"),
        (TensorSpec("x", "float32", (2, 4)), "TensorSpec makes none up here"),
    ],
)
def test_samples_that_the_model_does_not_take_are_refused(desk, samples, said):
    with pytest.raises(RequestError, match=said):
        compare(desk("a"), desk("a"), samples=samples)


def test_memory_and_size_decide_only_where_a_ratio_says_so(desk, even):
    small = evolve(reopen(desk("a")).best, size=100)
    large = evolve(small, size=150)
    asked = {"samples": SAMPLES}
    assert not compare(small, large, **asked).worse
    assert not compare(small, large, size_ratio=1.5, **asked).worse
    made = compare(small, large, size_ratio=1.4, **asked)
    assert made.reasons == ("its size is 150 B, A's 100 B: allowed +40 %",)
    assert (made.a.size, made.b.size) == (100, 150)
    hungry = compare(desk("a"), desk("a"), memory_ratio=0.5)
    assert hungry.worse
    assert hungry.reasons[0].startswith("its memory is ")
    assert hungry.a.memory > 2**16


def test_one_that_cannot_run_a_batch_in_the_playoff_is_worse(desk, monkeypatch):
    lost = {"B": "raised MemoryError"}
    monkeypatch.setattr(pairing, "play", lambda *given: Played({}, dict(lost)))
    made = compare(desk("a"), desk("a"))
    assert made.reasons == ("B fell out of the playoff at batch size 1: it raised MemoryError",)
    assert (made.verdict, made.ratio, made.paces) == ("worse", None, ())
    lost.clear()
    lost["A"] = "raised MemoryError"
    with pytest.raises(NavigatorError, match="nothing could be compared side by side:\nA fell out"):
        compare(desk("a"), desk("a"))


BATCHED = (Dim("batch"), 4)


def spec(name="x", dtype="float32", shape=BATCHED):
    return TensorSpec(name, dtype, shape)


@pytest.mark.parametrize(
    ("b", "told"),
    [
        (Signature((spec(),), (spec("y"),)), []),
        (Signature((spec(shape=(Dim("n"), Dim("m"))),), (spec("y"),)), []),
        (Signature((spec(), spec("mask")), (spec("y"),)), ["input 'mask' is only in B"]),
        (Signature((), (spec("y"),)), ["input 'x' is only in A"]),
        (Signature((spec(dtype="float16"),), (spec("y"),)), ["input 'x' is float32 in A and float16 in B"]),
        (Signature((spec(shape=(1, 4)),), (spec("y"),)), ["input 'x' is [batch, 4] in A and [1, 4] in B"]),
        (Signature((spec(),), (spec("y", shape=(4,)), spec("z"))), [
            "output 'z' is only in B", "output 'y' is [batch, 4] in A and [4] in B",
        ]),
    ],
)  # fmt: skip
def test_what_b_does_not_take_or_return_as_a_does_is_told(b, told):
    assert drift.differences(Signature((spec(),), (spec("y"),)), b) == told


def test_packages_that_take_something_else_are_not_compared(desk):
    other = desk("narrow", weights=WEIGHTS[:3], samples=[s[:, :3] for s in SAMPLES])
    with pytest.raises(RequestError, match=r"B cannot stand in A's place.*\n  input 'x' is \[batch, 4\] in A and"):
        compare(desk("a"), other)


def test_reports_packages_and_candidates_are_compared_too(desk, even, tmp_path):
    package = reopen(desk("a"))
    for one in (package, package.report, package.best):
        assert not compare(desk("a"), one).worse
    with pytest.raises(RequestError, match="neither side holds samples"):
        compare(package.best, package.best)
    with pytest.raises(RequestError, match=r"A is .*; expected the path of a \.nav package"):
        compare(3, package)


def test_a_runner_that_is_not_installed_is_named_and_another_must_be_asked_for(desk):
    a = desk("a")
    with using(mini), pytest.raises(PackageError, match=r"cannot be run here: .*needs the runner 'pacing'"):
        compare(a, a)
    with pytest.raises(RequestError, match=r"unknown runner among those of .*a\.nav: 'pacin'; did you mean 'pacing'"):
        compare(a, a, runner="pacin")


def test_a_strangers_format_that_can_execute_code_needs_trust(desk, even, monkeypatch):
    a = desk("a")
    found = plugins.installed()
    formats = {**found.formats, "mini-npz": evolve(found.formats["mini-npz"], executes_code=True)}
    monkeypatch.setattr(plugins, "installed", lambda: evolve(found, formats=formats))
    assert not compare(a, a).worse
    monkeypatch.setattr(signing, "signed_here", lambda *given: False)
    with pytest.raises(PackageError, match=r"can execute code when it is loaded; .*\(here: trust=True, or --trust\)"):
        compare(a, a)
    assert not compare(a, a, trust=True).worse
    assert (typed(a, a).exit_code, typed(a, a, "--batch-size", 1, "--trust").exit_code) == (2, 0)


def test_another_runner_in_the_package_may_be_asked_for(desk, even, tmp_path, monkeypatch):
    monkeypatch.setenv("NAVIGATOR_PROGRESS", "0")
    report = nav.optimize(
        mini.Model(WEIGHTS, np.ones(3, "float32")), SAMPLES, batch_sizes=[1], workspace=tmp_path / "w"
    )
    both = report.save(tmp_path / "both.nav")
    made = compare(both, both, runner="mini-runtime")
    assert {made.a.runner, made.b.runner} == {"mini-runtime"}
    best = reopen(both).report.best_name
    assert best == made.a.candidate or any(best in note for note in made.notes)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"latency_ratio": 0.9}, "latency_ratio must be at least 1, such as 1.05"),
        ({"memory_ratio": -1.0}, "memory_ratio must be at least 0"),
        ({"size_ratio": "2"}, "size_ratio must be at least 0"),
        ({"batch_sizes": []}, "batch_sizes must be positive integers"),
        ({"batch_sizes": [0]}, "batch_sizes must be positive integers"),
        ({"tolerance": {"outputs": Tolerance(atol=1)}}, "unknown output in tolerance 'outputs'; did you mean 'output'"),
    ],
)
def test_what_cannot_be_asked_says_what_can(desk, asked, said):
    with pytest.raises(RequestError, match=said):
        nav.compare(desk("a"), desk("a"), **asked)


def typed(*arguments):
    return CliRunner().invoke(commands, ["compare", *map(str, arguments)])


def test_the_command_exits_with_1_where_b_is_worse(desk, even, tmp_path):
    a, other = desk("a"), desk("other", weights=WEIGHTS * np.float32(1.01))
    good = typed(a, a, "--batch-size", 1)
    assert (good.exit_code, good.stderr) == (0, "")
    assert "tie: B is as good as A" in good.stdout
    bad = typed(a, other, "--batch-size", 1, "--json", "--html", tmp_path / "page.html")
    assert bad.exit_code == 1
    told = json.loads(bad.stdout)
    assert (told["schema"], told["verdict"], told["worse"]) == (1, "worse", True)
    assert told["paces"][0]["batch_size"] == 1
    assert told["drift"]["output"]["ok"] is False
    assert "its outputs drifted" in (tmp_path / "page.html").read_text()
    assert typed(a, other, "--batch-size", 1, "--rtol", 0.05, "--atol", 0.05).exit_code == 0
    np.savez(tmp_path / "samples.npz", x=np.zeros((2, 4), "float32"))
    assert typed(a, other, "--batch-size", 1, "--samples", tmp_path / "samples.npz").exit_code == 0
    even(B=1.5)
    assert typed(a, a, "--batch-size", 1).exit_code == 1
    assert typed(a, a, "--batch-size", 1, "--latency-ratio", 2).exit_code == 0
    assert typed(a, a, "--batch-size", 1, "--latency-ratio", 2, "--memory-ratio", 0.1).exit_code == 1


def test_misuse_is_one_message_and_exit_code_2(desk, tmp_path):
    a = desk("a")
    cut = tmp_path / "cut.nav"
    cut.write_bytes(a.read_bytes()[:-100])
    for arguments, said in (
        ([a, "nowhere.nav"], "nowhere.nav is not there"),
        ([a, cut], "cut.nav: is damaged, cut short or no .nav file"),
        ([a, a, "--latency-ratio", "0.5"], "latency_ratio must be at least 1"),
        ([a, a, "--samples", "nowhere.npz"], "there are no samples"),
        ([a, a, "--html", tmp_path / "no" / "page.html"], "its folder must exist"),
    ):
        done = typed(*arguments)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("error: ")
        assert said in done.stderr


def test_ctrl_c_ends_it_at_once_and_leaves_nothing(desk, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    main = threading.main_thread().ident

    def interrupt():
        while not list(tmp_path.glob("navigator-playoff-*/1/job.json")):
            time.sleep(0.02)
        signal.pthread_kill(main, signal.SIGINT)

    waiting = threading.Thread(target=interrupt, daemon=True)
    try:
        waiting.start()
        begun = time.monotonic()
        with pytest.raises(nav.Interrupted):
            nav.compare(desk("steady", seconds=0.004), desk("steady"), batch_sizes=[1, 2])
        assert time.monotonic() - begun < 30
    finally:
        signal.signal(signal.SIGINT, before)
    assert list(tmp_path.glob("navigator-compare-*")) == []


def test_progress_is_shown_where_it_is_wanted(desk, even, monkeypatch, capfd):
    monkeypatch.setenv("NAVIGATOR_PROGRESS", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
    compare(desk("a"), desk("a"))
    shown = capfd.readouterr()
    assert shown.out == ""
    assert "measuring A against B at batch size 1" in shown.err
