"""Right or wrong: how far outputs are from the truth, how far they may be, and why.

The bar is ten times the source's own noise, its error against the same model in higher precision, with a floor of
eight machine epsilons of the output's scale; for a reduced precision the noise is scaled by the ratio of the unit
roundoffs, because rounding errors grow in proportion to it (Higham, Accuracy and Stability of Numerical Algorithms,
2002, section 3.1), up to an eighth of the output and a quarter of its scale in one element.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from attrs import evolve, frozen

from navigator_core.declarations import BF16, FP16, FP32, FP64, Precision
from navigator_core.results import OutputError, Tolerance, Verdict
from navigator_core.signature import TensorSpec

NOISE_FACTOR = 10.0
FLOOR_EPSILONS = 8.0
LARGEST_RELATIVE = 0.5
"""However sensitive the source is to rounding, an output that is half wrong is wrong."""

LARGEST_REDUCED = 0.125
"""The most that a reduced precision explains by itself, as a share of the output, and twice that of its scale in one
element: 32 unit roundoffs of an eight-bit number, the sum of a thousand that are independent (Higham and Mary, A New
Approach to Probabilistic Rounding Error Analysis, 2019). A source that is less certain allows as much as it is."""

Outputs = Mapping[str, np.ndarray]


@frozen
class Noise:
    """One output of the source: its root mean square and largest magnitude, and its own error against the truth.

    ``relative_l2`` is relative to ``rms``, ``max_absolute`` in the output's unit. ``exact`` outputs (integers,
    booleans) have no error to allow.
    """

    rms: float
    scale: float
    relative_l2: float
    max_absolute: float
    exact: bool = False


@frozen
class Deviation:
    """How far one output of one batch is off the truth. ``wrong`` says what is wrong beyond any tolerance.

    ``excess`` is in units of the user's tolerance. Of ``ranked`` positions ``agreed`` have the same first place.
    """

    output: str
    relative_l2: float = 0.0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    cosine: float = 1.0
    excess: float = 0.0
    wrong: str | None = None
    agreed: int = 0
    ranked: int = 0


def source_precision(outputs: Iterable[TensorSpec]) -> Precision:
    """The arithmetic a model's floating outputs promise; FP32 where it has none."""
    known = {
        "float64": FP64, "float32": FP32, "bfloat16": BF16, "float16": FP16, "complex128": FP64, "complex64": FP32,
    }  # fmt: skip
    found = [known[spec.dtype] for spec in outputs if spec.dtype in known]
    return max(found, key=lambda precision: precision.epsilon, default=FP32)


def measure_noise(
    references: Sequence[Outputs], others: Sequence[Outputs], kept: Sequence[Outputs] = ()
) -> dict[str, Noise]:
    """The noise of each output over batches: ``references`` are the source's, ``others`` the truth's or a moved's.

    ``kept`` says, batch by batch, which positions of an output count; all of one that is not there.
    """
    noise = {}
    whole = kept or [{}] * len(references)
    for name, first in references[0].items():
        if first.dtype.kind not in "fc":
            noise[name] = Noise(1.0, 1.0, 0.0, 0.0, exact=True)
            continue
        pairs = [
            (_real(_counting(r[name], k.get(name))), _real(_counting(o[name], k.get(name))))
            for r, o, k in zip(references, others, whole, strict=True)
        ]
        finite = [np.abs(r[np.isfinite(r)]).astype(np.float64) for r, _ in pairs]
        count = sum(part.size for part in finite) or 1
        rms = float(np.sqrt(sum(float((part**2).sum()) for part in finite) / count))
        scale = max((float(part.max()) for part in finite if part.size), default=0.0)
        differences = [_difference(r, o) for r, o in pairs]
        l2 = max((_rms(d) for d in differences), default=0.0)
        worst = max((float(d.max()) for d in differences if d.size), default=0.0)
        noise[name] = Noise(rms, scale, l2 / rms if rms else 0.0, worst)
    return noise


def bar(noise: Noise, source: Precision, precision: Precision) -> Tolerance:
    """The bar for a candidate of this precision: ``rtol`` on relative L2, ``atol`` on the largest absolute error.

    A noise that is not finite (moved inputs led to outputs of another shape) allows nothing beyond the floor.
    """
    if noise.exact:
        return Tolerance()
    if not (math.isfinite(noise.relative_l2) and math.isfinite(noise.max_absolute)):
        noise = evolve(noise, relative_l2=0.0, max_absolute=0.0)
    own = _bar(noise, source, source, LARGEST_RELATIVE)
    if precision.epsilon <= source.epsilon:
        return own
    reduced = _bar(noise, source, precision, LARGEST_REDUCED)
    return Tolerance(rtol=max(own.rtol, reduced.rtol), atol=max(own.atol, reduced.atol))


def _bar(noise: Noise, source: Precision, precision: Precision, largest: float) -> Tolerance:
    growth = precision.epsilon / source.epsilon
    floor = FLOOR_EPSILONS * 2 * precision.epsilon  # machine epsilon: twice the unit roundoff
    most = min(1.0, 2 * largest) * noise.scale  # the worst of many elements is farther off than they are together
    return Tolerance(
        rtol=min(max(NOISE_FACTOR * noise.relative_l2 * growth, floor), largest),
        atol=min(max(NOISE_FACTOR * noise.max_absolute * growth, floor * noise.scale), most),
    )


def explain_bar(source: Precision) -> str:
    """Where the bar comes from, in one sentence."""
    return (
        f"bar: {NOISE_FACTOR:.0f} times the source's own {source.name} error against the truth, at least "
        f"{FLOOR_EPSILONS:.0f} machine epsilons of the output's scale"
    )


def explain_reduced(source: Precision, precision: Precision) -> str:
    """Where the bar of a reduced precision comes from, in one sentence."""
    growth = precision.epsilon / source.epsilon
    return (
        f"bar of {precision.name}: {growth:,.0f} times that of {source.name}, as its unit roundoff is; at least "
        f"{FLOOR_EPSILONS:.0f} of its machine epsilons, at most {LARGEST_REDUCED:.1%} of the output and "
        f"{2 * LARGEST_REDUCED:.0%} of its scale in one element"
    )


def explain_given(output: str, tolerance: Tolerance, mask: str | None) -> str:
    """What the user's own word for an output means, in one sentence; "" where it says nothing of this one.

    ``mask`` is the tolerance's, if it fits the output.
    """
    said = []
    if tolerance.elementwise:
        said.append(f"atol={tolerance.atol:g} + rtol={tolerance.rtol:g} times the truth, in every element")
    if tolerance.top1 is not None:
        said.append(f"the first place in {tolerance.top1:.4g} of all positions")
    if mask is not None:
        said.append(f"counted where {mask!r} is not zero")
    return f"bar of output {output!r}, as given: {'; '.join(said)}" if said else ""


def deviations(
    candidate: Outputs,
    reference: Outputs,
    truth: Outputs,
    noise: Mapping[str, Noise],
    given: Mapping[str, Tolerance],
    kept: Outputs = MappingProxyType({}),
) -> list[Deviation]:
    """One `Deviation` for each output of the reference. Integers, NaN and inf are held to the reference itself.

    ``given`` are the user's tolerances; ``excess`` is then the largest ``|error| / (atol + rtol |truth|)``. ``kept``
    says which positions of an output count; all of one that is not there.
    """
    found = []
    for name, ref in reference.items():
        off = misformed(name, candidate, ref)
        if off is None:
            ours, theirs, true = (_counting(one[name], kept.get(name)) for one in (candidate, reference, truth))
            off = _deviation(name, ours, theirs, true, noise[name], given.get(name))
        found.append(off)
    return found


def misformed(name: str, candidate: Outputs, reference: np.ndarray) -> Deviation | None:
    """What is wrong with an output whatever its values: it is not there, or of another shape or kind of number."""
    if name not in candidate:
        return Deviation(name, wrong=f"output {name!r} is missing; there are {', '.join(candidate) or 'none'}")
    found = np.asarray(candidate[name])
    if found.shape != np.shape(reference):
        return Deviation(name, wrong=f"output {name!r} has shape {found.shape}, expected {np.shape(reference)}")
    if found.dtype.kind != np.asarray(reference).dtype.kind:
        return Deviation(name, wrong=f"output {name!r} is {found.dtype}, expected {np.asarray(reference).dtype}")
    return None


def _deviation(
    name: str, found: np.ndarray, ref: np.ndarray, truth: np.ndarray, noise: Noise, tolerance: Tolerance | None
) -> Deviation:
    if noise.exact:
        off = int((found != ref).sum())
        if tolerance is not None and tolerance.top1 is not None:
            return Deviation(name, agreed=ref.size - off, ranked=ref.size)
        worst = float(np.abs(found.astype(np.float64) - ref.astype(np.float64)).max()) if off else 0.0
        text = f"output {name!r} differs in {off} of {ref.size} values, which must match exactly" if off else None
        return Deviation(name, max_absolute=worst, wrong=text)
    found, ref, truth = _real(found), _real(ref), _real(truth)
    misplaced = int((_special(found) != _special(ref)).sum())
    if misplaced:
        return Deviation(
            name, wrong=f"output {name!r} has NaN or inf at {misplaced} places where the source has not, or lacks it"
        )
    inside = np.isfinite(ref)
    truth = np.where(np.isfinite(truth), truth, ref)
    asked = tolerance is not None and tolerance.top1 is not None
    agreed, ranked = _same_first(found, truth, noise.max_absolute) if asked else (0, 0)
    c, t = found[inside].astype(np.float64), truth[inside].astype(np.float64)
    if not c.size:
        return Deviation(name, agreed=agreed, ranked=ranked)
    error = np.abs(c - t)
    beyond = 0.0
    if tolerance is not None and tolerance.elementwise:
        with np.errstate(over="ignore"):
            allowed = np.maximum(tolerance.atol + tolerance.rtol * np.abs(t), np.finfo(np.float64).tiny)
            beyond = float((error / allowed).max())
    return Deviation(
        name,
        relative_l2=_rms(error) / noise.rms if noise.rms else float(error.max() > 0),
        max_absolute=float(error.max()),
        max_relative=float((error / np.maximum(np.abs(t), np.finfo(np.float32).eps * (noise.scale or 1.0))).max()),
        cosine=_cosine(c, t),
        excess=beyond,
        agreed=agreed,
        ranked=ranked,
    )


def _same_first(found: np.ndarray, truth: np.ndarray, noise: float) -> tuple[int, int]:
    """Positions whose largest value along the last axis is where the truth's is, of how many.

    Where the source cannot tell two places apart, either is the first.
    """
    if not truth.ndim or not truth.size:
        return 0, 0
    chosen = np.where(np.isnan(found), -np.inf, found).argmax(-1)
    values = np.where(np.isnan(truth), -np.inf, truth).astype(np.float64)
    taken = np.take_along_axis(values, chosen[..., None], -1)[..., 0]
    best = values.max(-1)
    same = (taken == best) | (taken >= best - (noise if math.isfinite(noise) else 0.0))
    return int(same.sum()), int(same.size)


def within(deviation: Deviation, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> bool:
    """Whether a deviation is under the bar: the user's own tolerance where there is one, else the derived.

    Ranks are judged over all batches together, by `disagreement`.
    """
    return not deviation.wrong and excess(deviation, bars, given) <= 1.0


def excess(deviation: Deviation, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> float:
    """The error in units of the bar, by whichever measure is farther; infinite for what is wrong beyond numbers."""
    if deviation.wrong:
        return math.inf
    if _elementwise(deviation.output, given):
        return deviation.excess if deviation.excess == deviation.excess else math.inf
    allowed = bars[deviation.output]
    both = ((deviation.relative_l2, allowed.rtol), (deviation.max_absolute, allowed.atol))
    return max(_times(error, bound) for error, bound in both)


def _times(error: float, bound: float) -> float:
    """How many times the bound an error is."""
    if error <= bound:
        return error / bound if error else 0.0
    return error / bound if bound else math.inf


def _elementwise(output: str, given: Mapping[str, Tolerance]) -> bool:
    return output in given and given[output].elementwise


def sentence(deviation: Deviation, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> str:
    """What is wrong with an output, with its numbers."""
    if deviation.wrong:
        return deviation.wrong
    if _elementwise(deviation.output, given):
        return f"output {deviation.output!r} is off by {deviation.excess:.2g} times the tolerance given"
    allowed = bars[deviation.output]
    if deviation.relative_l2 > allowed.rtol:
        return f"output {deviation.output!r} has relative error {deviation.relative_l2:.1e}, allowed {allowed.rtol:.1e}"
    return f"output {deviation.output!r} is off by {deviation.max_absolute:.1e} at most, allowed {allowed.atol:.1e}"


def shares(found: Iterable[Deviation]) -> dict[str, float]:
    """The share of positions that rank alike, by output, over all batches; of outputs that it was asked of."""
    counts: dict[str, tuple[int, int]] = {}
    for one in found:
        agreed, ranked = counts.get(one.output, (0, 0))
        counts[one.output] = agreed + one.agreed, ranked + one.ranked
    return {output: agreed / ranked for output, (agreed, ranked) in counts.items() if ranked}


def disagreement(found: Sequence[Deviation], given: Mapping[str, Tolerance]) -> dict[str, str]:
    """ "ok" or one sentence for every output of which a top-1 agreement was asked."""
    alike = shares(found)
    told = {}
    for output, tolerance in given.items():
        if tolerance.top1 is None:
            continue
        share = alike.get(output, 1.0)
        told[output] = "ok"
        if share < tolerance.top1:
            told[output] = f"output {output!r} ranks first as the truth does in {share:.4g}, of {tolerance.top1:.4g}"
    return told


def verdict(
    found: Sequence[Deviation],
    checks: Mapping[str, str],
    bars: Mapping[str, Tolerance],
    given: Mapping[str, Tolerance],
    metrics: Mapping[str, float],
    notes: Iterable[str] = (),
) -> Verdict:
    """The worst of all deviations for each output, with the bar, and every check."""
    outputs: dict[str, OutputError] = {}
    alike, told = shares(found), disagreement(found, given)
    for deviation in found:
        name = deviation.output
        blank = OutputError(0.0, 0.0, 0.0, 1.0, _stated(name, bars, given), told.get(name, "ok") == "ok")
        before = outputs.get(name, evolve(blank, top1=alike.get(name)))
        infinite = float("inf") if deviation.wrong and not deviation.max_absolute else 0.0
        outputs[name] = evolve(
            before,
            max_absolute=max(before.max_absolute, deviation.max_absolute, infinite),
            max_relative=max(before.max_relative, deviation.max_relative, infinite),
            relative_l2=max(before.relative_l2, deviation.relative_l2, infinite),
            cosine=min(before.cosine, deviation.cosine),
            ok=before.ok and within(deviation, bars, given),
            excess=max(before.excess, excess(deviation, bars, given)),
        )
    ok = all(output.ok for output in outputs.values()) and all(text == "ok" for text in checks.values())
    return Verdict(ok, outputs, dict(checks), dict(metrics), tuple(notes))


def _stated(output: str, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> Tolerance:
    """The bar as the verdict states it: the user's, or the derived with what the user said of ranks and masks."""
    asked = given.get(output)
    if asked is None or asked.elementwise:
        return asked or bars[output]
    return evolve(bars[output], top1=asked.top1, mask=asked.mask)


def _counting(array: np.ndarray, kept: np.ndarray | None) -> np.ndarray:
    """The positions that count, one after the other; all of them, as they are, without a mask that fits."""
    if kept is None or np.shape(array)[: kept.ndim] != kept.shape:
        return np.asarray(array)
    chosen: np.ndarray = np.asarray(array)[kept]
    return chosen


def _real(values: np.ndarray) -> np.ndarray:
    """Complex values as pairs of real ones; others as they are."""
    array = np.asarray(values)
    return np.stack([array.real, array.imag], -1) if array.dtype.kind == "c" else array


def _difference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape != b.shape:
        return np.array([np.inf])
    inside = np.isfinite(a) & np.isfinite(b)
    difference: np.ndarray = np.abs(a[inside].astype(np.float64) - b[inside].astype(np.float64))
    return difference


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if values.size else 0.0


def _special(values: np.ndarray) -> np.ndarray:
    """0 for finite, 1 for NaN, 2 and 3 for the infinities."""
    special: np.ndarray = np.isnan(values) * 1 + np.isposinf(values) * 2 + np.isneginf(values) * 3
    return special


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
    if norm == 0:
        return 1.0 if not np.any(a) and not np.any(b) else 0.0
    return float(min(1.0, max(-1.0, float(a @ b) / norm)))
