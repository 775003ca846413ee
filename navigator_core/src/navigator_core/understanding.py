"""The signature of the source, dynamic axes included: guessed from the samples, proved by running it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from attrs import evolve

from navigator_core import axes, batches, structure, tensors
from navigator_core.errors import RequestError
from navigator_core.inspection import Inspection
from navigator_core.loading import RecordingSignature
from navigator_core.made_up import SEED
from navigator_core.samples import Arrays, Samples, initial_signature
from navigator_core.signature import Signature, TensorSpec
from navigator_core.worker import SourceRaisedError

MOST_HYPOTHESES = 6


def understand(inspection: Inspection, samples: Samples, model: Any) -> tuple[Signature, tuple[str, ...]]:
    """The signature with its dynamic axes; the batch axis is the first guess that running the source proves.

    One whose rows do not influence each other goes first.
    """
    signature = initial_signature(samples)
    if inspection.file_signature is not None:
        signature = evolve(signature, structure=None)
    signature = _with_outputs(inspection, signature, model, samples.arrays[0])
    run = inspection.start(model, signature)
    outputs = [_ask(run, sample, f"sample {i}") for i, sample in enumerate(samples.arrays)]
    shapes = samples.shapes()
    inputs_batch: axes.Axes = dict.fromkeys(shapes)
    outputs_batch: axes.Axes = {}
    notes: list[str] = []
    guesses = list(axes.hypotheses(shapes, inspection.batching, samples.allowed))
    ordered = not guesses or repeats(run, samples.arrays[0])
    for guess in guesses[:MOST_HYPOTHESES]:
        proved = prove(run, samples.arrays[0], guess, ordered=ordered)
        if proved is None:
            continue
        apart = not ordered or independent(run, samples.arrays[0], guess, proved)
        if apart or not outputs_batch:
            inputs_batch, outputs_batch = guess, proved
        if apart:
            break
    if not outputs_batch:
        why = "no axis of the inputs behaves like a batch when the source is run with one row more"
        if any(axis is not None for axis in (inspection.batching or {}).values()):
            raise RequestError(f"batching={dict(inspection.batching or {})} does not hold: {why}")
        if inspection.batching is not None:
            notes.append(f"no batch axis: {why}; say which with batching={{name: axis}}")
    inputs = axes.input_specs(shapes, samples.dtypes, inputs_batch)
    output_shapes = {spec.name: [one[spec.name].shape for one in outputs] for spec in signature.outputs}
    dtypes = {spec.name: spec.dtype for spec in signature.outputs}
    specs = axes.output_specs(output_shapes, dtypes, outputs_batch, inputs, shapes)
    signature = evolve(signature, inputs=inputs, outputs=specs)
    fixed = axes.fixed_axes_note(signature, samples.allowed)
    return signature, (*notes, fixed) if fixed else tuple(notes)


def prove(
    run: Callable[[Arrays], dict[str, np.ndarray]], sample: Arrays, guess: axes.Axes, *, ordered: bool = True
) -> dict[str, int | None] | None:
    """The batch axis of each output, if the guess holds for the inputs, else None.

    Run with n and n+1 rows: each output must grow by one in one axis at most, one of them at least; and turning the
    rows round must turn the outputs round, which tells a batch from an axis such as time (``ordered=False``: not asked
    of a stochastic source).
    """
    rows = max(2, next(sample[name].shape[axis] for name, axis in guess.items() if axis is not None))
    fewer, more = _rows(sample, guess, rows), _rows(sample, guess, rows + 1)
    try:
        a, b = run(fewer), run(more)
        turned = run({n: x if (axis := guess[n]) is None else np.roll(x, 1, axis) for n, x in more.items()})
    except Exception:  # a wrong guess makes the user's model raise anything
        return None
    found: dict[str, int | None] = {}
    for name, small in a.items():
        large = b[name]
        if small.ndim != large.ndim:
            return None
        grown = [i for i, (m, n) in enumerate(zip(small.shape, large.shape, strict=True)) if n != m]
        if len(grown) > 1 or any(large.shape[i] != small.shape[i] + 1 for i in grown):
            return None
        if grown and ordered and not close(np.roll(large, 1, grown[0]), turned[name]):
            return None
        found[name] = grown[0] if grown else None
    return found if any(axis is not None for axis in found.values()) else None


def independent(
    run: Callable[[Arrays], dict[str, np.ndarray]], sample: Arrays, guess: axes.Axes, proved: axes.Axes
) -> bool:
    """Whether a row more leaves the others as they are: so it is in a batch, not along a time that is attended to."""
    rows = max(2, next(sample[name].shape[axis] for name, axis in guess.items() if axis is not None))
    fewer, more = (run(_rows(sample, guess, n)) for n in (rows, rows + 1))
    return all(
        close(array, np.take(more[name], range(array.shape[axis]), axis))
        for name, array in fewer.items()
        if (axis := proved[name]) is not None
    )


def _rows(sample: Arrays, guess: axes.Axes, rows: int) -> dict[str, np.ndarray]:
    """The sample with ``rows`` rows along the guessed axes; rows that are missing are variations of the first."""
    rng = np.random.default_rng(SEED)
    batched = {name: axis for name, axis in guess.items() if axis is not None}
    have = min(sample[name].shape[axis] for name, axis in batched.items())
    parts = [{n: np.take(sample[n], [i], axis=axis) for n, axis in batched.items()} for i in range(min(have, rows))]
    while len(parts) < rows:
        parts.append(batches.vary(parts[0], parts[:1], rng))
    return {
        name: array if name not in batched else np.concatenate([p[name] for p in parts], axis=batched[name])
        for name, array in sample.items()
    }


def repeats(run: Callable[[Arrays], dict[str, np.ndarray]], sample: Arrays) -> bool:
    """Whether the source answers the same when it is asked again."""
    first, again = _ask(run, sample, "sample 0"), _ask(run, sample, "sample 0, when called again")
    return all(close(array, again[name]) for name, array in first.items())


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding, in all but one value of a hundred (integers may flip at a tie)."""
    if a.shape != b.shape:
        return False
    if not a.size:
        return True
    if a.dtype.kind not in "fc":
        return bool((a == b).mean() > 0.99)
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.any():
        return True
    scale = float(np.abs(a[finite]).max())
    return bool((np.abs(a[finite] - b[finite]) <= 1e-3 * scale).mean() > 0.99)


def _with_outputs(inspection: Inspection, signature: Signature, model: Any, sample: Arrays) -> Signature:
    """The signature with the structure of what the model returns, and its outputs' names and types."""
    recorder = RecordingSignature(signature.inputs, (), signature.structure)
    running = inspection.start(model, recorder)
    try:
        flat = running.model.call(running.bring_in({name: array.copy() for name, array in sample.items()}))
    except structure.ForeignValueError as error:
        advice = inspection.function("advice")
        text = advice(error.value) if advice else None
        raise RequestError(f"{error.what}; {text}" if text else str(error)) from error
    except RequestError:
        raise
    except Exception as error:
        raise SourceRaisedError("the model raised on sample 0") from error
    node = recorder.seen[-1] if recorder.seen else None
    names = {name: name for name in flat}
    if inspection.output_names is not None:
        wanted = inspection.output_names
        if len(wanted) != len(names) or len(set(wanted)) != len(wanted):
            raise RequestError(f"output_names must be {len(names)} different names, for {', '.join(names)}")
        names = dict(zip(names, wanted, strict=True))
    for name, value in flat.items():
        if tensors.to_numpy(value).dtype.kind in "OSU":
            raise RequestError(f"the model's output {name!r} holds text or objects, which cannot be compared or timed")
    specs = tuple(TensorSpec(names[n], tensors.dtype_of(v), tensors.shape_of(v)) for n, v in flat.items())
    built = signature.structure
    if built is not None:
        built = evolve(built, output=structure.rename(node, names) if node is not None else None)
    return evolve(signature, outputs=specs, structure=built)


def _ask(run: Callable[[Arrays], dict[str, np.ndarray]], inputs: Arrays, where: str) -> dict[str, np.ndarray]:
    try:
        return run(inputs)
    except Exception as error:
        raise SourceRaisedError(f"the model raised on {where}") from error
