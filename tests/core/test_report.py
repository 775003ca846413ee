"""What a run found: the best, the others with their reasons, in words and as data."""

import html
import json
import os
import shutil
from pathlib import Path

import attrs
import pytest

from navigator_core import (
    FP16,
    FP32,
    Dim,
    Ref,
    Signature,
    TensorSpec,
    outcome,
    rendering,
    selection,
    serde,
    verification,
)
from navigator_core.calibration import Calibration
from navigator_core.candidates import Candidate, Recipe
from navigator_core.errors import NothingCorrectError, RequestError
from navigator_core.loading import RunnerUse
from navigator_core.report import Report, from_dict
from navigator_core.results import Duel, Estimate, Measurement, Objective, OutputError, SlowCalls, Tolerance, Verdict
from navigator_core.rules import Rules


def estimate(value, share=0.01):
    return Estimate(value, value * (1 - share), value * (1 + share))


def measured(size, p50, memory, unstable=None):
    return Measurement(
        batch_size=size,
        p50=estimate(p50),
        p95=estimate(p50 * 1.2),
        p99=None,
        throughput=estimate(size / p50),
        transfer=1e-5,
        memory={"host": memory},
        calls=120,
        unstable=unstable,
    )


def judged(ok, error, bar):
    tolerance = Tolerance(rtol=bar, atol=bar)
    return Verdict(ok, {"logits": OutputError(error, error, error, 1.0, tolerance, ok)}, {"sample 0": "ok"}, {})


def recipe(name, format, precision=FP32, live=False):
    use = RunnerUse(name=name, implementation=Ref("m:f"), options_type=None, options={"threads": 4}, tensors=None)
    return Recipe(runner=use, format=format, precision=precision, live=live)


EAGER = Candidate(
    name="torch @ torch-eager",
    runner="torch-eager",
    precision="fp32",
    device="cpu",
    status="ok",
    verdict=judged(True, 0.0, 9.5e-7),
    measurements=(measured(1, 4e-3, 2**28), measured(8, 16e-3, 2**29, "the times changed by +9 %")),
    recipe=recipe("torch-eager", "torch", live=True),
)
ORT = Candidate(
    name="torch->onnx[dynamo] @ onnxruntime-cpu",
    runner="onnxruntime-cpu",
    precision="fp32",
    device="cpu",
    status="ok",
    verdict=judged(True, 2.5e-7, 9.5e-7),
    measurements=tuple(measured(size, 1e-3 * size**0.9, 2**27) for size in (1, 2, 4, 8)),
    path=Path("/workspace/objects/ab/model.onnx"),
    size=10_000_000,
    recipe=recipe("onnxruntime-cpu", "onnx"),
)
HALF = attrs.evolve(
    ORT,
    name="torch->onnx[dynamo]->onnx[fp16] @ onnxruntime-cpu",
    precision="fp16",
    verdict=judged(True, 3e-4, 7.8e-3),
    measurements=(measured(1, 0.0005, 2**26),),
    reason="reduced precision: allow it with precisions=('fp32', 'fp16')",
    recipe=recipe("onnxruntime-cpu", "onnx", FP16),
)
WRONG = Candidate(
    name="torch->torchscript @ torchscript",
    runner="torchscript",
    precision="fp32",
    device="cpu",
    status="incorrect",
    reason="sample 0: output 'logits' has relative error 3.0e-02, allowed 9.5e-07",
    remedy="leave it, or say what you accept with tolerance= or verify=",
    verdict=judged(False, 3e-2, 9.5e-7),
)
BROKEN = Candidate(
    name="torch->onnx[trace] @ onnxruntime-cpu",
    runner="onnxruntime-cpu",
    precision="fp32",
    device="cpu",
    status="failed",
    reason="torch->onnx[trace]: was ended by SIGSEGV, a crash in native code",
    remedy="read log.txt",
)
ABSENT = Candidate(
    name="torch->onnx[dynamo]->tensorrt",
    runner="",
    precision="fp32",
    device="cpu",
    status="unavailable",
    reason="needs a cuda device, and none was found here",
    remedy="run it where there is a cuda device",
)
REPORT = Report(
    candidates=(ORT, EAGER, HALF, WRONG, BROKEN, ABSENT),
    signature=Signature(
        (TensorSpec("ids", "int64", (Dim("batch", 1, 8), 128)),),
        (TensorSpec("logits", "float32", (Dim("batch", 1, 8), 2)),),
    ),
    environment={"navigator-core": "0.1.0", "python": "3.12.1", "device": "cpu: a CPU, 8 cores"},
    notes=("taken as fixed, because equal in every sample: ids axis 1 = 128",),
    epsilons={"fp32": 2.0**-24, "fp16": 2.0**-11},
    baseline=EAGER.name,
    best_name=ORT.name,
    bar="bar: 10 times the source's own fp32 error against the truth",
    run="20250101-120000-abcdef",
    elapsed=12.5,
)


def test_a_report_in_words(golden):
    golden("report.txt", rendering.text(REPORT, width=150))


def concluded(*candidates, duels=()):
    """The report on these, its best selected and its notes written as in a run."""
    rules = Rules(objective=Objective(), source="fp32", epsilons=REPORT.epsilons)
    chosen = selection.select(candidates, rules, duels)
    judged = {c.precision for c in candidates if c.verdict}
    bars = [verification.explain_bar(FP32), *([verification.explain_reduced(FP32, FP16)] if "fp16" in judged else [])]
    made = attrs.evolve(
        REPORT,
        candidates=selection.in_order(candidates, chosen),
        best_name=chosen.best,
        why=chosen.why,
        duels=duels,
        bar="\n".join(bars),
    )
    return attrs.evolve(made, notes=(*made.notes, *outcome.offers(made)))


PLAIN = attrs.evolve(HALF, reason=None)
WRONG_SOURCE = attrs.evolve(
    EAGER,
    status="incorrect",
    reason="verify: the user's verify function said no",
    remedy=WRONG.remedy,
    measurements=(),
)
LATE = attrs.evolve(
    BROKEN,
    name="torch->aotinductor @ aotinductor",
    runner="aotinductor",
    status="skipped",
    reason="the time budget was spent",
    remedy="give it more time with budget=",
)
NEAR = attrs.evolve(
    EAGER,
    name="torch @ torch-compile",
    runner="torch-compile",
    measurements=(measured(1, 1.01e-3, 2**26),),
    recipe=recipe("torch-compile", "torch", live=True),
)
SIDE_BY_SIDE = Duel(
    candidate=ORT.name, rival=NEAR.name, batch_sizes=(1, 1), ratio=Estimate(1.01, 0.99, 1.02), verdict="tie", rounds=6
)
WON = attrs.evolve(SIDE_BY_SIDE, ratio=Estimate(1.12, 1.08, 1.15), verdict="better")


@pytest.mark.parametrize(
    ("name", "candidates", "duels"),
    [
        ("winner", (ORT, NEAR, EAGER), (WON,)),
        ("tie", (ORT, NEAR, EAGER), (SIDE_BY_SIDE,)),
        ("all-wrong", (WRONG_SOURCE, WRONG, BROKEN), ()),
        ("nothing-available", (EAGER, ABSENT), ()),
        ("reduced-offered", (ORT, PLAIN, EAGER), ()),
        ("only-reduced-right", (PLAIN, WRONG, BROKEN), ()),
        ("budget-spent", (EAGER, LATE), ()),
    ],
)
def test_a_report_for_every_way_in_which_a_run_can_end(golden, name, candidates, duels):
    golden(f"report-{name}.txt", rendering.text(concluded(*candidates, duels=duels), width=150))


def test_a_playoff_that_cannot_tell_the_best_from_the_source_claims_no_speed_up():
    wide = attrs.evolve(SIDE_BY_SIDE, rival=EAGER.name, ratio=Estimate(8.3, 1e-31, 1e32))
    told = " ".join(rendering.text(concluded(ORT, EAGER, duels=(wide,)), width=150).split())
    assert "not told apart from the source side by side" in told
    assert "8.30 times the source's speed" not in told
    assert "8.30 times [0.00, over 100]" in told


def test_a_reason_that_many_share_is_said_once_with_the_first_of_their_names():
    many = [attrs.evolve(ABSENT, name=f"torch->onnx[{number}]->tensorrt") for number in range(6)]
    told = rendering.text(attrs.evolve(REPORT, candidates=(*REPORT.candidates[:-1], *many)), width=150)
    assert told.count("needs a cuda device") == 1
    assert [f"torch->onnx[{number}]->tensorrt" in told for number in range(6)] == [True] * 3 + [False] * 3
    assert "and 3 more" in told


def test_a_gate_of_the_users_stands_where_there_is_no_bar():
    outputs = {"logits": OutputError(1e-3, 1e-3, 3e-4, 1.0, Tolerance(rtol=float("inf"), atol=float("inf")), True)}
    gated = attrs.evolve(HALF, verdict=Verdict(True, outputs, {}, {"accuracy": 0.98125}))
    assert rendering.error_and_bar(gated) == "3.0e-04 / accuracy 0.9812"
    assert rendering.error_and_bar(attrs.evolve(gated, verdict=Verdict(True, outputs, {}, {}))) == "3.0e-04 / verify="


def test_what_decides_is_shown_where_it_is_not_the_relative_error():
    asked = Tolerance(rtol=1e-6, atol=1e-5, top1=0.99)
    off = OutputError(7e-5, 1.0, 5e-7, 1.0, asked, False, excess=7.0, top1=1.0)
    shown = {
        "7.0e-05 at most, 7 times the bar": off,
        "5.0e-07 / top-1 0.98 of 0.99": attrs.evolve(off, excess=0.5, top1=0.98),
        "5.0e-07 / 1.0e-06": attrs.evolve(off, excess=0.5, ok=True),
        "5.0e-07 / top-1 1 of 0.99": attrs.evolve(off, ok=True, tolerance=attrs.evolve(asked, rtol=float("inf"))),
    }
    for text, output in shown.items():
        assert rendering.error_and_bar(attrs.evolve(HALF, verdict=Verdict(output.ok, {"y": output}, {}))) == text


def test_slow_calls_are_said_once_where_they_are_most_and_a_few_are_not_worth_a_word():
    few = attrs.evolve(measured(1, 1e-3, 2**27), slow=SlowCalls(1, 2.0, {"unknown": 1}))
    some = attrs.evolve(few, batch_size=2, slow=SlowCalls(2, 3.0, {"unknown": 2}))
    many = attrs.evolve(few, batch_size=4, slow=SlowCalls(6, 4.23, {"page faults": 1, "preempted": 5}))
    told = rendering.text(attrs.evolve(REPORT, candidates=(attrs.evolve(ORT, measurements=(few, some, many)),)))
    assert told.count("slow calls") == 1
    assert (
        f"slow calls: 5.0% of {ORT.name} at batch 4 took 4.2 times the median (1 page faults, 5 preempted); "
        "1 % or more in 2 of 3 measurements, all of them counted"
    ) in " ".join(told.split())
    assert "slow calls" not in rendering.text(
        attrs.evolve(REPORT, candidates=(attrs.evolve(ORT, measurements=(few,)),))
    )


def test_what_the_machine_can_tell_apart_is_part_of_the_environment():
    known = Calibration(noise_floor=0.0234, timer_overhead=1.2e-7, rounds=8)
    assert outcome.told_apart(known) == {
        "noise floor": "2.3% between equals in a playoff of three rounds",
        "timer overhead": "0.12 µs a call, not subtracted",
    }
    assert outcome.told_apart(None) == {}


def test_where_reading_the_clock_is_a_part_of_the_calls_the_report_says_so():
    known = Calibration(noise_floor=0.02, timer_overhead=1.2e-7, rounds=8)
    tiny = attrs.evolve(EAGER, measurements=(measured(1, 5e-6, 2**20),))
    assert outcome.hasty((EAGER, ORT), known) == []
    assert outcome.hasty((tiny,), None) == []
    assert outcome.hasty((ORT, tiny, attrs.evolve(tiny, name="another")), known) == [
        f"timing a call adds 0.12 µs, the same for all: more than 2% of some calls of {EAGER.name} and 1 more, "
        "which are farther apart than their ratios say"
    ]


def test_a_report_as_data(golden):
    golden("report.json", json.dumps(REPORT.to_dict(), indent=1, allow_nan=False))


def test_a_report_survives_being_written_down():
    again = from_dict(json.loads(json.dumps(REPORT.to_dict(), allow_nan=False)))
    assert again == REPORT
    assert again.best == REPORT.best
    assert again.to_dict() == REPORT.to_dict()


@pytest.mark.parametrize(
    "broken", [{"candidates": 3}, {"candidates": [3]}, {"unheard_of": 1}, {"elapsed": "12"}, {"signature": None}]
)
def test_data_of_another_form_is_an_error(broken):
    with pytest.raises(ValueError):
        from_dict({**REPORT.to_dict(), **broken})


def test_nothing_of_the_text_is_taken_for_markup():
    odd = attrs.evolve(WRONG, name="torch->a[b] @ r[/c]", precision="fp8[e4m3]", reason="[red]no[/red]")
    text = rendering.text(attrs.evolve(REPORT, candidates=(odd,), notes=("[bold]note",), bar="[x]bar"), width=200)
    for part in ("torch->a[b] @ r[/c]", "fp8[e4m3]", "[red]no[/red]", "note: [bold]note", "[x]bar"):
        assert part in text


def test_where_no_terminal_is_no_name_wraps(monkeypatch):
    names = ["torch->onnx[torchscript,opset=17]->onnx[bf16]->onnx[slim] @ onnxruntime-cpu[threads=2]" + n for n in "ab"]
    reason = "for a reason that takes many words to be told, " * 9
    ok, wrong = (attrs.evolve(one, name=name) for one, name in zip((ORT, WRONG), names, strict=True))
    report = attrs.evolve(REPORT, candidates=(ok, attrs.evolve(wrong, reason=reason, remedy=reason)))
    monkeypatch.setattr(shutil, "get_terminal_size", lambda fallback: os.terminal_size(fallback))
    for name in names:
        assert name in str(report)
        assert name in html.unescape(report._repr_html_())
    assert max(map(len, str(report).splitlines())) <= rendering.WIDEST
    monkeypatch.setattr(shutil, "get_terminal_size", lambda fallback: os.terminal_size((120, 40)))
    assert max(map(len, str(report).splitlines())) <= 120


def test_it_can_be_printed_and_shown_and_written_as_a_page(tmp_path):
    assert str(REPORT).startswith("candidate")
    page = REPORT.html(tmp_path / "report.html").read_text()
    assert page == REPORT._repr_html_()
    assert "onnxruntime-cpu" in page
    assert "<script" not in rendering.html(attrs.evolve(REPORT, notes=("<script>alert(1)</script>",)))


# the best


def test_the_best_is_the_one_of_that_name():
    assert REPORT.best is ORT
    assert attrs.evolve(REPORT, best_name=None).best is None


@pytest.mark.parametrize(
    ("objective", "precisions", "best"),
    [
        (Objective(), None, ORT),
        (Objective(), ("fp32", "fp16"), HALF),
        (Objective(minimize="size"), None, ORT),
        (Objective(maximize="throughput"), None, ORT),
        (Objective(batch_size=64), None, None),
        (Objective(), ("int8",), None),
        (Objective(limits=("p99<=1s",)), None, None),
    ],
)
def test_another_question_is_answered_by_the_same_measurements(objective, precisions, best):
    assert REPORT.select(objective, precisions=precisions) is best


def test_a_question_that_makes_no_sense_is_an_error():
    with pytest.raises(RequestError, match="unknown quantity to minimize"):
        REPORT.select(Objective(minimize="beauty"))


def test_without_a_best_loading_says_what_happened_to_every_branch():
    report = attrs.evolve(REPORT, best_name=None)
    with pytest.raises(NothingCorrectError) as caught:
        report.load()
    assert len(caught.value.exceptions) == len(REPORT.candidates)
    assert "torch->onnx[trace] @ onnxruntime-cpu: failed: torch->onnx[trace]: was ended by SIGSEGV" in str(caught.value)
    with pytest.raises(RequestError, match="there is nothing to deploy"):
        report.deploy("triton", "models", name="m")
    assert "best: none" in str(report)


def test_a_candidate_that_is_no_more_than_a_record_cannot_be_loaded():
    with pytest.raises(RequestError, match="cannot be loaded"):
        BROKEN.load()


def test_the_speed_up_is_relative_to_the_sources_own_candidate_at_the_same_batch():
    assert REPORT.speed_up(ORT, 1) == pytest.approx(4)
    assert REPORT.speed_up(ORT, 8) == pytest.approx(16e-3 / (1e-3 * 8**0.9))
    assert REPORT.speed_up(ORT, 2) is None
    assert attrs.evolve(REPORT, baseline=None).speed_up(ORT, 1) is None


# words for quantities


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (estimate(2.0), "2 s ±1.0 %"),
        (estimate(0.00123), "1.23 ms ±1.0 %"),
        (estimate(4.56e-6), "4.56 µs ±1.0 %"),
        (estimate(4.56e-8), "0.0456 µs ±1.0 %"),
        (Estimate(0.0, 0.0, 0.0), "0 µs ±0.0 %"),
        (Estimate(1.0, 0.1, float("inf")), "1 s ±>100 %"),
    ],
)
def test_a_duration_is_in_a_unit_that_reads_well(value, text):
    assert rendering.duration(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (1023, "1023 B"), (2048, "2 KiB"), (5 * 2**20, "5 MiB"), (3 * 2**29, "1.50 GiB")],
)
def test_a_size_is_in_a_unit_that_reads_well(number, text):
    assert rendering.size(number) == text


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"a": (1e-8, 1e-6, True), "b": (5e-7, 1e-6, True)}, "5.0e-07 / 1.0e-06"),
        ({"a": (9e-7, 1e-6, True), "b": (0.0, 1e-6, False)}, "0.0e+00 / 1.0e-06"),
        ({"a": (0.0, 0.0, True)}, "0.0e+00 / 0.0e+00"),
        ({}, ""),
    ],
)
def test_the_error_shown_is_that_of_the_output_nearest_to_its_bar(outputs, text):
    errors = {
        name: OutputError(error, error, error, 1.0, Tolerance(rtol=bar), ok)
        for name, (error, bar, ok) in outputs.items()
    }
    assert rendering.error_and_bar(attrs.evolve(ORT, verdict=Verdict(True, errors, {}))) == text


def test_a_report_is_plain_data():
    data = REPORT.to_dict()
    assert data["schema"] == 1
    assert data["best"] == ORT.name
    assert "home" not in data["candidates"][0]
    assert serde.canonical(data)
