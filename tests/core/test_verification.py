"""Right or wrong: errors against the truth, the bar, and the sentence that says so."""

import math

import attrs
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from navigator_core import BF16, FP16, FP32, FP64, INT8, Precision, TensorSpec
from navigator_core.errors import RequestError
from navigator_core.results import Tolerance
from navigator_core.verification import (
    FLOOR_EPSILONS,
    LARGEST_REDUCED,
    NOISE_FACTOR,
    Noise,
    bar,
    deviations,
    disagreement,
    explain_bar,
    explain_given,
    explain_reduced,
    measure_noise,
    sentence,
    source_precision,
    verdict,
    within,
)

RNG = np.random.default_rng(0)
Y = RNG.standard_normal((4, 8)).astype(np.float32)
EPSILON = 2.0**-23
NAN, INF = math.nan, math.inf


def judge(found, ref=Y, truth=None, *, precision=FP32, given=None, others=None):
    """The verdict on one output, whose noise is that of ``others`` (default: none)."""
    reference = {"y": np.asarray(ref)}
    truths = {"y": np.asarray(ref if truth is None else truth)}
    noise = measure_noise([reference], [truths if others is None else {"y": others}])
    bars = {name: bar(one, FP32, precision) for name, one in noise.items()}
    given = {} if given is None else {"y": given}
    candidate = {} if found is None else {"y": np.asarray(found)}
    off = deviations(candidate, reference, truths, noise, given)
    return verdict(off, {}, bars, given, {}), "; ".join(
        sentence(d, bars, given) for d in off if not within(d, bars, given)
    )


def changed(array, index, value):
    copy = array.copy()
    copy[index] = value
    return copy


IDS = np.arange(6).reshape(2, 3)
SPECIAL = np.array([1, NAN, INF, -INF], np.float32)


@pytest.mark.parametrize(
    ("found", "ref", "message"),
    [
        (Y, Y, ""),
        (Y.astype(np.float64), Y, ""),
        (Y * (1 + 2 * EPSILON), Y, ""),
        (Y * 1.001, Y, r"output 'y' has relative error 1.0e-03, allowed 9.5e-07"),
        (changed(Y, (0, 0), Y[0, 0] + 1e-5), Y, "output 'y' "),
        (None, Y, "output 'y' is missing; there are none"),
        (Y[:2], Y, r"output 'y' has shape \(2, 8\), expected \(4, 8\)"),
        (Y[None], Y, "has shape"),
        (Y.astype(np.int64), Y, "output 'y' is int64, expected float32"),
        (np.zeros_like(Y), Y, "relative error"),
        (Y * 0, Y * 0, ""),
        (changed(Y * 0, (0, 0), 1e-30), Y * 0, "relative error"),
        (Y[:0], Y[:0], ""),
        (np.float32(2), np.float32(2), ""),
        (np.float32(3), np.float32(2), "relative error"),
        (IDS, IDS, ""),
        (IDS.astype(np.int32), IDS, ""),
        (changed(IDS, (0, 0), 7), IDS, "differs in 1 of 6 values, which must match exactly"),
        (np.array([True]), np.array([False]), "differs in 1 of 1 values"),
        (SPECIAL, SPECIAL, ""),
        (changed(SPECIAL, 1, 0), SPECIAL, "has NaN or inf at 1 places where the source has not, or lacks it"),
        (changed(SPECIAL, 0, NAN), SPECIAL, "NaN or inf at 1 places"),
        (changed(SPECIAL, 2, -INF), SPECIAL, "NaN or inf at 1 places"),
        (changed(SPECIAL, 0, 2), SPECIAL, "relative error"),
        (Y + 1j, Y + 1j, ""),
        (Y + 2j, Y + 1j, "relative error"),
        (changed(Y + 1j, (0, 0), complex(Y[0, 0], NAN)), Y + 1j, "NaN or inf at 1 places"),
    ],
)
def test_an_output_is_right_or_the_sentence_says_what_is_wrong(found, ref, message):
    result, text = judge(found, ref)
    assert result.ok is (message == "")
    assert result.outputs["y"].ok is result.ok
    if message:
        with pytest.raises(AssertionError, match=message):
            raise AssertionError(text)


floats = hnp.arrays(
    np.float32, hnp.array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e6, 1e6, width=32, allow_subnormal=False)
)


@given(floats, st.floats(0, 1e-3), st.integers(0, 2**16), st.sampled_from([1, -1]))
def test_an_output_off_by_a_hundred_times_the_bar_is_never_right(ref, noisiness, position, sign):
    others = ref * (1 + noisiness)
    noise = measure_noise([{"y": ref}], [{"y": others}])["y"]
    allowed = bar(noise, FP32, FP32)
    found = ref.astype(np.float64)
    where = np.unravel_index(position % ref.size, ref.shape)
    found[where] += sign * 100 * max(allowed.atol, 1e-30)
    assert not judge(found, ref, others=others)[0].ok


@given(floats, st.floats(0, 0.9))
def test_an_error_below_the_floor_is_always_right(ref, share):
    scale = float(np.abs(ref).max())
    rms = float(np.sqrt(np.mean(ref.astype(np.float64) ** 2)))
    found = ref.astype(np.float64) + share * FLOOR_EPSILONS * EPSILON * min(scale, rms)
    assume(np.isfinite(found).all())
    assert judge(found, ref)[0].ok


@given(floats, floats)
def test_no_two_different_integer_outputs_are_equal(a, b):
    a, b = a.astype(np.int64), b.astype(np.int64)
    assert judge(a, b)[0].ok is (a.shape == b.shape and bool((a == b).all()))


def test_errors_are_measured_against_the_truth_and_not_the_source():
    truth = Y.astype(np.float64) * (1 + 1e-6)
    nearer = judge(truth, Y, truth)[0].outputs["y"]
    source = judge(Y, Y, truth)[0].outputs["y"]
    assert nearer.relative_l2 < 1e-9 < source.relative_l2


def test_where_the_truth_is_not_finite_the_source_stands_in():
    truth = changed(Y.astype(np.float64), (0, 0), NAN)
    assert judge(Y, Y, truth)[0].ok
    assert not judge(changed(Y, (0, 0), 1e6), Y, truth)[0].ok


# the bar


def test_the_bar_is_ten_times_the_noise_with_a_floor():
    noisy = Noise(rms=2.0, scale=5.0, relative_l2=1e-4, max_absolute=1e-3)
    assert bar(noisy, FP32, FP32) == Tolerance(rtol=NOISE_FACTOR * 1e-4, atol=NOISE_FACTOR * 1e-3)
    quiet = attrs.evolve(noisy, relative_l2=0.0, max_absolute=0.0)
    assert bar(quiet, FP32, FP32) == Tolerance(rtol=8 * EPSILON, atol=8 * EPSILON * 5)


@pytest.mark.parametrize("coarse", [FP16, BF16, INT8])
def test_the_bar_of_a_reduced_precision_grows_with_its_unit_roundoff(coarse):
    noise = Noise(rms=1.0, scale=1.0, relative_l2=1e-7, max_absolute=1e-7)
    growth = coarse.epsilon / FP32.epsilon
    assert bar(noise, FP32, coarse).rtol == pytest.approx(
        max(NOISE_FACTOR * 1e-7 * growth, FLOOR_EPSILONS * 2 * coarse.epsilon)
    )


@pytest.mark.parametrize("coarse", [FP16, BF16, INT8, Precision("fp4", 0.25)])
def test_a_reduced_precision_explains_an_eighth_of_the_output_at_most(coarse):
    sensitive = Noise(rms=1.0, scale=4.0, relative_l2=1e-4, max_absolute=1e-3)
    assert bar(sensitive, FP32, coarse) == Tolerance(rtol=LARGEST_REDUCED, atol=2 * LARGEST_REDUCED * 4.0)
    assert "at most 12.5% of the output and 25% of its scale" in explain_reduced(FP32, coarse)


def test_a_source_that_is_less_certain_than_that_allows_as_much_as_it_is():
    chaotic = Noise(rms=1.0, scale=2.0, relative_l2=0.03, max_absolute=0.1)
    assert bar(chaotic, FP32, INT8) == bar(chaotic, FP32, FP32) == Tolerance(rtol=NOISE_FACTOR * 0.03, atol=1.0)


def test_a_finer_precision_than_the_sources_gets_the_sources_bar():
    noise = Noise(rms=1.0, scale=1.0, relative_l2=1e-6, max_absolute=1e-6)
    assert bar(noise, FP32, FP64) == bar(noise, FP32, FP32)


@pytest.mark.parametrize("broken", [INF, NAN])
def test_a_noise_that_is_not_finite_allows_nothing_beyond_the_floor(broken):
    noise = Noise(rms=1.0, scale=1.0, relative_l2=broken, max_absolute=broken)
    assert bar(noise, FP32, FP32) == Tolerance(rtol=8 * EPSILON, atol=8 * EPSILON)


def test_the_noise_is_the_worst_over_the_batches_and_outputs_of_another_shape_have_an_infinite_one():
    references = [{"y": Y, "n": IDS}, {"y": Y, "n": IDS}]
    noise = measure_noise(references, [{"y": Y, "n": IDS}, {"y": Y + np.float32(0.5), "n": IDS}])
    assert noise["n"].exact
    assert noise["y"].max_absolute == pytest.approx(0.5, rel=1e-5)
    assert noise["y"].scale == pytest.approx(float(np.abs(Y).max()))
    assert math.isinf(measure_noise([{"y": Y}], [{"y": Y[:2]}])["y"].relative_l2)


def test_values_that_are_not_finite_have_no_part_in_the_noise():
    noise = measure_noise([{"y": SPECIAL}], [{"y": changed(SPECIAL, 0, 3)}])["y"]
    assert (noise.rms, noise.scale, noise.max_absolute) == (1.0, 1.0, 2.0)


@pytest.mark.parametrize(
    ("dtypes", "precision"),
    [
        (["float32"], FP32),
        (["float32", "float16"], FP16),
        (["float64", "int64"], FP64),
        (["bfloat16", "float16"], BF16),
        (["int64", "bool"], FP32),
        (["complex128"], FP64),
        ([], FP32),
    ],
)
def test_the_coarsest_output_says_what_precision_the_source_is_of(dtypes, precision):
    assert source_precision(TensorSpec("y", dtype, ()) for dtype in dtypes) == precision


def test_the_bar_is_explained_in_one_sentence():
    assert explain_bar(FP32).startswith("bar: 10 times the source's own fp32 error against the truth")


# the user's own tolerance


@pytest.mark.parametrize(
    ("found", "tolerance", "ok"),
    [
        (Y * 1.01, Tolerance(rtol=0.02), True),
        (Y * 1.03, Tolerance(rtol=0.02), False),
        (Y + 0.5, Tolerance(atol=0.6), True),
        (changed(Y, (0, 0), Y[0, 0] + 0.7), Tolerance(atol=0.6), False),
        (Y * (1 + EPSILON), Tolerance(), False),
        (Y, Tolerance(), True),
        (Y, Tolerance(rtol=NAN), False),
        (Y[:2], Tolerance(atol=INF), False),
        (changed(Y, (0, 0), NAN), Tolerance(atol=INF), False),
    ],
)
def test_a_tolerance_given_decides_alone(found, tolerance, ok):
    result, text = judge(found, given=tolerance)
    assert result.ok is ok
    assert bool(text) is not ok
    assert result.outputs["y"].tolerance is tolerance


def test_integers_match_exactly_whatever_the_tolerance():
    assert not judge(IDS + 1, IDS, given=Tolerance(atol=9))[0].ok


# ranks and masks

LOGITS = np.array([[0.0, 3.0, 1.0], [2.0, 1.0, 0.0], [5.0, 4.0, 1.0], [0.0, 1.0, 7.0]], np.float32)
OFF = changed(LOGITS, (2, 1), 6)


def ranked(found, ref, given, truth=None):
    """The verdict, and the sentence on ranks."""
    reference, truths = {"y": ref}, {"y": ref if truth is None else truth}
    noise = measure_noise([reference], [truths])
    bars = {"y": Tolerance() if noise["y"].exact else Tolerance(rtol=INF, atol=INF)}
    off = deviations({"y": found}, reference, truths, noise, {"y": given})
    return verdict(off, disagreement(off, {"y": given}), bars, {"y": given}, {})


@pytest.mark.parametrize(
    ("found", "ref", "share", "alike"),
    [
        (LOGITS, LOGITS, 1.0, 1.0),
        (LOGITS * 2 + 1, LOGITS, 1.0, 1.0),
        (OFF, LOGITS, 0.75, 0.75),
        (OFF, LOGITS, 0.76, 0.75),
        (LOGITS.argmax(-1), LOGITS.argmax(-1), 1.0, 1.0),
        (OFF.argmax(-1), LOGITS.argmax(-1), 0.75, 0.75),
        (OFF.argmax(-1), LOGITS.argmax(-1), 0.8, 0.75),
        (LOGITS[None], LOGITS[None], 1.0, 1.0),
    ],
)
def test_a_rank_agrees_in_the_share_of_positions_asked_for(found, ref, share, alike):
    result = ranked(found, ref, Tolerance(top1=share))
    assert result.outputs["y"].top1 == alike
    assert result.ok is (alike >= share)
    assert ("ranks first as the truth does in 0.75" in result.checks["y"]) is (alike < share)


def test_where_the_source_cannot_tell_two_places_apart_either_is_the_first():
    close = np.array([[1.0, 1.0 + 2e-7]], np.float32)
    truth = np.array([[1.0 + 2e-7, 1.0]])
    assert ranked(close, close, Tolerance(top1=1.0), truth).outputs["y"].top1 == 1.0
    far = changed(close, (0, 0), 0.5)
    assert ranked(changed(close, (0, 1), 0.4), far, Tolerance(top1=1.0)).outputs["y"].top1 == 0.0


def test_nan_and_infinity_rank_as_they_are():
    odd = np.array([[NAN, 1.0, 2.0], [INF, 1.0, 0.0], [-INF, -INF, -1.0]], np.float32)
    assert ranked(odd, odd, Tolerance(top1=1.0)).outputs["y"].top1 == 1.0


def test_what_does_not_count_is_in_neither_error_nor_noise():
    kept = np.array([[True, True, False], [True, False, False]])
    padded = RNG.standard_normal((2, 3, 4)).astype(np.float32)
    noisy, found = padded.copy(), padded.copy()
    noisy[~kept], found[~kept] = 1e6, NAN
    noise = measure_noise([{"y": padded}], [{"y": noisy}], [{"y": kept}])
    assert noise["y"].relative_l2 == 0
    assert noise["y"].scale == np.abs(padded[kept]).max()
    (off,) = deviations({"y": found}, {"y": padded}, {"y": padded}, noise, {}, {"y": kept})
    assert (off.wrong, off.max_absolute) == (None, 0.0)
    (off,) = deviations({"y": found}, {"y": padded}, {"y": padded}, noise, {})
    assert "NaN or inf at 12 places" in off.wrong
    (off,) = deviations({"y": found[:1]}, {"y": padded}, {"y": padded}, noise, {}, {"y": kept})
    assert "has shape (1, 3, 4)" in off.wrong
    nothing = {"y": np.zeros((2, 3), bool)}
    assert deviations({"y": found}, {"y": padded}, {"y": padded}, noise, {}, nothing)[0].wrong is None


@pytest.mark.parametrize(
    ("tolerance", "elementwise", "text"),
    [
        (Tolerance(), True, "atol=0 + rtol=0 times the truth, in every element"),
        (Tolerance(rtol=1e-3), True, "rtol=0.001 times the truth"),
        (Tolerance(top1=0.99), False, "as given: the first place in 0.99 of all positions"),
        (Tolerance(mask="mask"), False, "as given: counted where 'mask' is not zero"),
        (Tolerance(atol=1.0, top1=0.5, mask="m"), True, "element; the first place in 0.5 of all positions; counted"),
    ],
)
def test_what_a_tolerance_says_is_told(tolerance, elementwise, text):
    assert tolerance.elementwise is elementwise
    assert text in explain_given("y", tolerance, tolerance.mask)


def test_nothing_is_told_of_an_output_that_the_mask_does_not_fit():
    assert explain_given("y", Tolerance(mask="m"), None) == ""


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"top1": 0}, "top1 must be a share of all positions, such as 0.99, not 0"),
        ({"top1": 1.1}, "top1 must be"),
        ({"top1": "1"}, "top1 must be"),
        ({"top1": True}, "top1 must be"),
        ({"top1": NAN}, "top1 must be"),
        ({"mask": 3}, "mask must be the name of an input, such as 'attention_mask', not 3"),
    ],
)
def test_a_tolerance_that_makes_no_sense_is_refused_when_it_is_made(asked, message):
    with pytest.raises(RequestError, match=message):
        Tolerance(**asked)


# verdicts


def test_a_verdict_keeps_the_worst_of_every_output_and_any_failed_check_fails_it():
    noise = measure_noise([{"y": Y}], [{"y": Y}])
    bars = {"y": bar(noise["y"], FP32, FP32)}
    good = deviations({"y": Y}, {"y": Y}, {"y": Y}, noise, {})
    bad = deviations({"y": Y + 1}, {"y": Y}, {"y": Y}, noise, {})
    assert verdict([*good, *good], {"repeated call": "ok"}, bars, {}, {"accuracy": 1.0}).ok
    assert not verdict([*good, *bad, *good], {}, bars, {}, {}).ok
    assert verdict([*bad, *good], {}, bars, {}, {}).outputs["y"].max_absolute == pytest.approx(1, rel=1e-6)
    assert not verdict(good, {"repeated call": "a repeated call gives another answer"}, bars, {}, {}).ok


def test_what_is_wrong_beyond_numbers_counts_as_infinitely_far_off():
    assert math.isinf(judge(None)[0].outputs["y"].relative_l2)
    assert math.isinf(judge(Y[:2])[0].outputs["y"].max_absolute)


def test_however_sensitive_the_source_an_output_that_is_half_wrong_is_over_the_bar():
    chaotic = Noise(rms=1.0, scale=2.0, relative_l2=0.9, max_absolute=5.0)
    assert bar(chaotic, FP32, FP32).rtol <= 0.5
    assert bar(chaotic, FP32, FP32).atol <= 2.0
