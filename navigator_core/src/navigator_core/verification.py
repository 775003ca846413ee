"""Right or wrong: how far outputs are from the truth, how far they may be, and why.

The bar is ten times the source's own noise, its error against the same model in higher precision, with a floor of
eight machine epsilons of the output's scale; for a reduced precision the noise is scaled by the ratio of the unit
roundoffs, because rounding errors grow in proportion to it (Higham, Accuracy and Stability of Numerical Algorithms,
2002, section 3.1).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from attrs import evolve, frozen

from navigator_core.declarations import BF16, FP16, FP32, FP64, Precision
from navigator_core.results import OutputError, Tolerance, Verdict
from navigator_core.signature import TensorSpec

NOISE_FACTOR = 10.0
FLOOR_EPSILONS = 8.0
LARGEST_RELATIVE = 0.5
"""However sensitive the source is to rounding, an output that is half wrong is wrong."""

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
    """How far one output of one batch is off the truth. ``wrong`` says what is wrong beyond any tolerance."""

    output: str
    relative_l2: float = 0.0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    cosine: float = 1.0
    excess: float = 0.0
    wrong: str | None = None


def source_precision(outputs: Iterable[TensorSpec]) -> Precision:
    """The arithmetic a model's floating outputs promise; FP32 where it has none."""
    known = {
        "float64": FP64, "float32": FP32, "bfloat16": BF16, "float16": FP16, "complex128": FP64, "complex64": FP32,
    }  # fmt: skip
    found = [known[spec.dtype] for spec in outputs if spec.dtype in known]
    return max(found, key=lambda precision: precision.epsilon, default=FP32)


def measure_noise(references: Sequence[Outputs], others: Sequence[Outputs]) -> dict[str, Noise]:
    """The noise of each output over batches: ``references`` are the source's, ``others`` the truth's or a moved's."""
    noise = {}
    for name, first in references[0].items():
        if first.dtype.kind not in "fc":
            noise[name] = Noise(1.0, 1.0, 0.0, 0.0, exact=True)
            continue
        pairs = [(_real(r[name]), _real(o[name])) for r, o in zip(references, others, strict=True)]
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
    growth = max(1.0, precision.epsilon / source.epsilon)
    floor = FLOOR_EPSILONS * 2 * max(precision.epsilon, source.epsilon)  # machine epsilon: twice the unit roundoff
    return Tolerance(
        rtol=min(max(NOISE_FACTOR * noise.relative_l2 * growth, floor), LARGEST_RELATIVE),
        atol=min(max(NOISE_FACTOR * noise.max_absolute * growth, floor * noise.scale), noise.scale),
    )


def explain_bar(source: Precision) -> str:
    """Where the bar comes from, in one sentence."""
    return (
        f"bar: {NOISE_FACTOR:.0f} times the source's own {source.name} error against the truth, at least "
        f"{FLOOR_EPSILONS:.0f} machine epsilons of the output's scale"
    )


def deviations(
    candidate: Outputs, reference: Outputs, truth: Outputs, noise: Mapping[str, Noise], given: Mapping[str, Tolerance]
) -> list[Deviation]:
    """One `Deviation` for each output of the reference. Integers, NaN and inf are held to the reference itself.

    ``given`` are the user's tolerances; ``excess`` is then the largest ``|error| / (atol + rtol |truth|)``.
    """
    return [
        Deviation(name, wrong=f"output {name!r} is missing; there are {', '.join(candidate) or 'none'}")
        if name not in candidate
        else _deviation(name, np.asarray(candidate[name]), np.asarray(ref), np.asarray(truth[name]), noise[name], given)
        for name, ref in reference.items()
    ]


def _deviation(
    name: str, found: np.ndarray, ref: np.ndarray, truth: np.ndarray, noise: Noise, given: Mapping[str, Tolerance]
) -> Deviation:
    if found.shape != ref.shape:
        return Deviation(name, wrong=f"output {name!r} has shape {found.shape}, expected {ref.shape}")
    if found.dtype.kind != ref.dtype.kind:
        return Deviation(name, wrong=f"output {name!r} is {found.dtype}, expected {ref.dtype}")
    if noise.exact:
        off = int((found != ref).sum())
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
    c, t = found[inside].astype(np.float64), np.where(np.isfinite(truth), truth, ref)[inside].astype(np.float64)
    if not c.size:
        return Deviation(name)
    error = np.abs(c - t)
    tolerance = given.get(name)
    allowed = tolerance.atol + tolerance.rtol * np.abs(t) if tolerance else None
    return Deviation(
        name,
        relative_l2=_rms(error) / noise.rms if noise.rms else float(error.max() > 0),
        max_absolute=float(error.max()),
        max_relative=float((error / np.maximum(np.abs(t), np.finfo(np.float32).eps * (noise.scale or 1.0))).max()),
        cosine=_cosine(c, t),
        excess=0.0 if allowed is None else float((error / np.maximum(allowed, np.finfo(np.float64).tiny)).max()),
    )


def within(deviation: Deviation, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> bool:
    """Whether a deviation is under the bar: the user's own tolerance where there is one, else the derived."""
    if deviation.wrong:
        return False
    if deviation.output in given:
        return deviation.excess <= 1.0
    allowed = bars[deviation.output]
    return deviation.relative_l2 <= allowed.rtol and deviation.max_absolute <= allowed.atol


def sentence(deviation: Deviation, bars: Mapping[str, Tolerance], given: Mapping[str, Tolerance]) -> str:
    """What is wrong with an output, with its numbers."""
    if deviation.wrong:
        return deviation.wrong
    if deviation.output in given:
        return f"output {deviation.output!r} is off by {deviation.excess:.2g} times the tolerance given"
    allowed = bars[deviation.output]
    if deviation.relative_l2 > allowed.rtol:
        return f"output {deviation.output!r} has relative error {deviation.relative_l2:.1e}, allowed {allowed.rtol:.1e}"
    return f"output {deviation.output!r} is off by {deviation.max_absolute:.1e} at most, allowed {allowed.atol:.1e}"


def verdict(
    found: Iterable[Deviation],
    checks: Mapping[str, str],
    bars: Mapping[str, Tolerance],
    given: Mapping[str, Tolerance],
    metrics: Mapping[str, float],
) -> Verdict:
    """The worst of all deviations for each output, with the bar, and every check."""
    outputs: dict[str, OutputError] = {}
    for deviation in found:
        name = deviation.output
        before = outputs.get(name, OutputError(0.0, 0.0, 0.0, 1.0, given.get(name, bars[name]), True))
        infinite = float("inf") if deviation.wrong and not deviation.max_absolute else 0.0
        outputs[name] = OutputError(
            max_absolute=max(before.max_absolute, deviation.max_absolute, infinite),
            max_relative=max(before.max_relative, deviation.max_relative, infinite),
            relative_l2=max(before.relative_l2, deviation.relative_l2, infinite),
            cosine=min(before.cosine, deviation.cosine),
            tolerance=before.tolerance,
            ok=before.ok and within(deviation, bars, given),
        )
    ok = all(output.ok for output in outputs.values()) and all(text == "ok" for text in checks.values())
    return Verdict(ok, outputs, dict(checks), dict(metrics))


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
