"""How two models differ from outside: what they take and return, and how far apart their answers are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from attrs import evolve

from navigator_core import masking, verification
from navigator_core.candidates import Candidate
from navigator_core.results import OutputError, Tolerance
from navigator_core.signature import Dim, Signature, TensorSpec
from navigator_core.verification import Noise

Outputs = Mapping[str, np.ndarray]

FREE = Tolerance(atol=math.inf)


def differences(a: Signature, b: Signature) -> list[str]:
    """What B does not take or return as A does, one sentence each; none where B can stand in A's place.

    An axis may be dynamic in B that is fixed in A, and dynamic axes may have other names and ends.
    """
    return [*_differences("input", a.inputs, b.inputs), *_differences("output", a.outputs, b.outputs)]


def _differences(what: str, a: Sequence[TensorSpec], b: Sequence[TensorSpec]) -> list[str]:
    ours, theirs = ({spec.name: spec for spec in specs} for specs in (a, b))
    told = [f"{what} {name!r} is only in A" for name in ours if name not in theirs]
    told += [f"{what} {name!r} is only in B" for name in theirs if name not in ours]
    for name, spec in ours.items():
        if (other := theirs.get(name)) is None:
            continue
        if spec.dtype != other.dtype:
            told.append(f"{what} {name!r} is {spec.dtype} in A and {other.dtype} in B")
        same = len(spec.shape) == len(other.shape)
        if not same or not all(map(_stands_in, spec.shape, other.shape)):
            told.append(f"{what} {name!r} is {_shape(spec)} in A and {_shape(other)} in B")
    return told


def _stands_in(a: int | Dim, b: int | Dim) -> bool:
    return isinstance(b, Dim) or a == b


def _shape(spec: TensorSpec) -> str:
    return f"[{', '.join(n.name if isinstance(n, Dim) else str(n) for n in spec.shape)}]"


def bars(
    a: Candidate, b: Candidate, answers: Sequence[Outputs], signature: Signature, given: Mapping[str, Tolerance]
) -> dict[str, Tolerance]:
    """How far B may be from A in every element, by output: what the user gave, else the bars of both together.

    Each was right when it was at most its own bar off the truth. One that no bar held, a reduced precision that the
    user's own gate decided about, may be off by anything; of one that was never verified rounding is allowed.
    """
    noise = verification.measure_noise(answers, answers)
    source = verification.source_precision(signature.outputs)

    def own(candidate: Candidate, output: str) -> Tolerance:
        held = candidate.verdict.outputs.get(output) if candidate.verdict is not None else None
        if held is not None or candidate.recipe is None:
            return held.tolerance if held is not None else FREE
        return verification.bar(noise[output], source, candidate.recipe.precision)

    return {name: given.get(name) or _sum(own(a, name), own(b, name)) for name in noise}


def _sum(a: Tolerance, b: Tolerance) -> Tolerance:
    shares = [one.top1 for one in (a, b) if one.top1 is not None]
    both = Tolerance(rtol=a.rtol + b.rtol, atol=a.atol + b.atol, top1=min(shares, default=None), mask=a.mask or b.mask)
    return both if math.isfinite(both.rtol) and math.isfinite(both.atol) else evolve(both, rtol=0.0, atol=math.inf)


def measure(
    batches: Mapping[str, Mapping[str, np.ndarray]],
    a: Mapping[str, Outputs],
    b: Mapping[str, Outputs],
    allowed: Mapping[str, Tolerance],
) -> tuple[dict[str, OutputError], list[str]]:
    """The worst of each output over the batches that both answered, and a sentence for what is beyond the bar.

    ``batches`` are the inputs, ``a`` and ``b`` the answers, by name of the batch.
    """
    both = [name for name in batches if name in a and name in b]
    noise: Mapping[str, Noise] = verification.measure_noise([a[name] for name in both], [a[name] for name in both])
    masks = {output: one.mask for output, one in allowed.items() if one.mask is not None}
    found, wrong = [], {}
    for name in both:
        kept = masking.kept(masks, batches[name])
        off = verification.deviations(b[name], a[name], a[name], noise, allowed, kept)
        found += off
        bad = [one for one in off if not verification.within(one, {}, allowed)]
        if bad:
            wrong[name] = verification.sentence(bad[0], {}, allowed)
    told = [f"{name}: {text}" for name, text in wrong.items()][:1]
    told = [f"{text} (and {len(wrong) - 1} more of {len(both)} batches)" if len(wrong) > 1 else text for text in told]
    told += [text for text in verification.disagreement(found, allowed).values() if text != "ok"]
    return dict(verification.verdict(found, {}, {}, allowed, {}).outputs), told
