"""What the source means: its axes proved by running it, its outputs on every batch, the truth, and its own noise.

Runs in a worker, once for each run. Everything later is held to what is written here.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from navigator_core import arrays, axes, batches, gates, loading, shipping, structure, tensors, verification
from navigator_core.batches import Batch
from navigator_core.declarations import Context, Precision, Ref
from navigator_core.errors import RequestError
from navigator_core.loading import Kinds, RecordingSignature, RunnerUse, Running, Source
from navigator_core.samples import SEED, Arrays, Samples, dynamic_axes, initial_signature
from navigator_core.signature import Signature, TensorSpec
from navigator_core.verification import Noise
from navigator_core.worker import Emit, SourceRaisedError

ODD = 3
MOST_HYPOTHESES = 6
LARGEST_DEFAULT = 128
REFERENCE_SECONDS = 4.0
REFERENCE_BYTES = 256 * 2**20
SUSPICIOUS = 1e-4
"""A relative error of the source this large says that the truth may be another function; it is then checked."""


@frozen(kw_only=True)
class Inspection:
    """What the worker is told: the source, its runner, the samples in ``samples``, and what the user said of axes."""

    source: Source
    runner: RunnerUse
    kinds: Kinds
    samples: tuple[Path, ...]
    dtypes: Mapping[str, str]
    file_signature: Signature | None = None
    noise: Ref | None = None
    batching: Mapping[str, int | None] | None = field(factory=dict)
    batch_sizes: tuple[int, ...] | None = None
    output_names: tuple[str, ...] | None = None
    device: str = "cpu"
    verify: Path | None = None


@frozen
class StoredBatch:
    """One batch with the source's outputs and the truth, in a folder below the reference's."""

    name: str
    size: int
    synthetic: int
    folder: str

    def inputs(self, root: Path) -> dict[str, np.ndarray]:
        """What the model is called with."""
        return arrays.load(root / self.folder / "inputs.npz")

    def reference(self, root: Path) -> dict[str, np.ndarray]:
        """What the source answered."""
        return arrays.load(root / self.folder / "reference.npz")

    def truth(self, root: Path) -> dict[str, np.ndarray]:
        """What errors are measured against."""
        return arrays.load(root / self.folder / "truth.npz")


@frozen(kw_only=True)
class Reference:
    """The source, understood.

    ``sizes`` are the batch sizes to profile. ``coupled``: rows of a batch influence each other in the source itself.
    ``stochastic``: a repeated call differs. ``truth`` says in a few words what the truth is.
    """

    signature: Signature
    precision: Precision
    noise: Mapping[str, Noise]
    batches: tuple[StoredBatch, ...]
    neighbours: tuple[StoredBatch, ...] = ()
    sizes: tuple[int, ...] = (1,)
    coupled: bool = False
    stochastic: bool = False
    truth: str = ""
    metrics: Mapping[str, float] = field(factory=dict)
    notes: tuple[str, ...] = ()


def inspect(inspection: Inspection, folder: Path, emit: Emit) -> Reference:
    """Find the axes, run the source on every batch, and measure its noise against the truth.

    Raises SourceRaisedError, caused by the user's own exception, where the model cannot take the samples, and RequestError
    where its outputs cannot be taken apart or what was asked of the batch does not hold.
    """
    inspection.kinds.register()
    model, parameters = shipping.open_source(inspection.source, inspection.device)
    given = tuple(arrays.load(path) for path in inspection.samples)
    allowed = dynamic_axes(inspection.file_signature) if inspection.file_signature else None
    samples = Samples(given, inspection.dtypes, parameters or (), inspection.runner.passed, allowed=allowed)
    signature, notes = understand(inspection, samples, model)
    run = _start(inspection, model, signature)
    stochastic = not all(map(_close, run(given[0]).values(), run(given[0]).values()))
    batched = any(spec.batch_axis is not None for spec in signature.inputs)
    sizes, size_notes = _sizes(inspection, signature, run, given, batched)
    signature = signature.with_batch(max(*sizes, ODD)) if batched else signature
    pair = batches.neighbours(given, signature) or ()
    made = [
        *batches.as_given(given, signature),
        *batches.pooled(given, signature, sorted({1, ODD, *sizes}) if batched else ()),
    ]
    references, dropped = _run_all(run, (*made, *pair))
    kept = [batch for batch in (*made, *pair) if batch.name in references]
    truth = _truth(inspection, model, signature, kept, list(references.values()))
    stored = [_store(folder, i, b, references[b.name], truth.outputs[i]) for i, b in enumerate(kept)]
    pair_names = {batch.name for batch in pair} & set(references)
    coupled = len(pair_names) == 2 and not stochastic and _coupled(signature, pair, references, truth.noise)
    lost = [f"the source itself cannot run {name}: {why}" for name, why in dropped.items()]
    return Reference(
        signature=signature,
        precision=verification.source_precision(signature.outputs),
        noise=truth.noise,
        batches=tuple(s for s in stored if s.name not in pair_names),
        neighbours=tuple(s for s in stored if s.name in pair_names) if len(pair_names) == 2 else (),
        sizes=tuple(n for n in sizes if f"batch {n}" not in dropped) or (1,),
        coupled=coupled,
        stochastic=stochastic,
        truth=truth.what,
        metrics=gates.measure_source(inspection.verify, run, signature),
        notes=(*notes, *size_notes, *truth.notes, *lost, *_said(coupled, stochastic, kept)),
    )


def understand(inspection: Inspection, samples: Samples, model: Any) -> tuple[Signature, tuple[str, ...]]:
    """The signature with its dynamic axes; the batch axis is the first guess that running the source proves."""
    signature = initial_signature(samples)
    if inspection.file_signature is not None:
        signature = evolve(signature, structure=None)
    signature = _with_outputs(inspection, signature, model, samples.arrays[0])
    run = _start(inspection, model, signature)
    outputs = [_ask(run, sample, f"sample {i}") for i, sample in enumerate(samples.arrays)]
    shapes = samples.shapes()
    inputs_batch: axes.Axes = dict.fromkeys(shapes)
    outputs_batch: axes.Axes = {}
    notes: list[str] = []
    guesses = list(axes.hypotheses(shapes, inspection.batching, samples.allowed))
    for guess in guesses[:MOST_HYPOTHESES]:
        proved = prove(run, samples.arrays[0], guess)
        if proved is not None:
            inputs_batch, outputs_batch = guess, proved
            break
    else:
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
    fixed = axes.fixed_axes_note(signature)
    return signature, (*notes, fixed) if fixed else tuple(notes)


def prove(
    run: Callable[[Arrays], dict[str, np.ndarray]], sample: Arrays, guess: axes.Axes
) -> dict[str, int | None] | None:
    """The batch axis of each output, if the guess holds for the inputs, else None.

    Run with n and n+1 rows: each output must grow by one in one axis at most, one of them at least; and turning the
    rows round must turn the outputs round, which tells a batch from an axis such as time.
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
        if grown and not _close(np.roll(large, 1, grown[0]), turned[name]):
            return None
        found[name] = grown[0] if grown else None
    return found if any(axis is not None for axis in found.values()) else None


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


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal but for rounding, in all but one value of a hundred (integers may flip at a tie)."""
    if a.shape != b.shape:
        return False
    if a.dtype.kind not in "fc":
        return bool((a == b).mean() > 0.99)
    finite = np.isfinite(a) & np.isfinite(b)
    if not finite.any():
        return True
    scale = float(np.abs(a[finite]).max())
    return bool((np.abs(a - b)[finite] <= 1e-3 * scale).mean() > 0.99)


def _with_outputs(inspection: Inspection, signature: Signature, model: Any, sample: Arrays) -> Signature:
    """The signature with the structure of what the model returns, and its outputs' names and types."""
    recorder = RecordingSignature(signature.inputs, (), signature.structure)
    running = _start(inspection, model, recorder)
    try:
        flat = running.model.call(running.bring_in(sample))
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
    specs = tuple(TensorSpec(names[n], tensors.dtype_of(v), tuple(int(k) for k in v.shape)) for n, v in flat.items())
    built = signature.structure
    if built is not None:
        built = evolve(built, output=structure.rename(node, names) if node is not None else None)
    return evolve(signature, outputs=specs, structure=built)


def _start(inspection: Inspection, model: Any, signature: Signature) -> Running:
    context = Context(signature=signature, device=inspection.device)
    return loading.start(inspection.runner, model, context)


def _source_function(inspection: Inspection, name: str) -> Callable[..., Any] | None:
    """An optional function of the framework's source module."""
    if inspection.source.framework is None:
        return None
    found: Callable[..., Any] | None = getattr(inspection.source.framework.resolve(), name, None)
    return found


def _ask(run: Callable[[Arrays], dict[str, np.ndarray]], inputs: Arrays, where: str) -> dict[str, np.ndarray]:
    try:
        return run(inputs)
    except Exception as error:
        raise SourceRaisedError(f"the model raised on {where}") from error


def _sizes(
    inspection: Inspection, signature: Signature, run: Running, samples: Sequence[Arrays], batched: bool
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The batch sizes to profile: the user's, or doubling as long as the references take seconds and fit in memory."""
    if inspection.batch_sizes is not None:
        if not batched and set(inspection.batch_sizes) != {1}:
            raise RequestError(f"batch_sizes={list(inspection.batch_sizes)}, but the model has no batch axis")
        return tuple(sorted(set(inspection.batch_sizes))), ()
    if not batched:
        return (1,), ()
    sizes = [1]
    begun = time.monotonic()
    while sizes[-1] < LARGEST_DEFAULT:
        size = sizes[-1] * 2
        try:
            outputs = run(batches.pooled(samples, signature, [size])[0].inputs)
        except Exception as error:  # the largest batch the source can run is an answer, not a failure
            return tuple(sizes), (
                f"batch sizes stop at {sizes[-1]}: the source raised {type(error).__name__} at {size}",
            )
        sizes.append(size)
        spent = time.monotonic() - begun
        if spent > REFERENCE_SECONDS / 4 or sum(o.nbytes for o in outputs.values()) > REFERENCE_BYTES / 8:
            why = f"larger ones make references too costly ({spent:.1f} s); ask for them with batch_sizes="
            return tuple(sizes), (f"batch sizes were tried up to {size}: {why}",)
    return tuple(sizes), ()


def _run_all(run: Running, made: Sequence[Batch]) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """The source's outputs by batch; batches of our making that it cannot run are dropped, with the reason."""
    outputs: dict[str, dict[str, np.ndarray]] = {}
    dropped: dict[str, str] = {}
    for batch in made:
        try:
            outputs[batch.name] = run(batch.inputs)
        except Exception as error:
            dropped[batch.name] = f"{type(error).__name__}: {error}"
    return outputs, dropped


@frozen
class _Truth:
    outputs: list[dict[str, np.ndarray]]
    noise: dict[str, Noise]
    what: str
    notes: tuple[str, ...] = ()


def _truth(
    inspection: Inspection,
    model: Any,
    signature: Signature,
    made: Sequence[Batch],
    references: list[dict[str, np.ndarray]],
) -> _Truth:
    """The truth on every batch, and the source's noise against it.

    Higher precision where the framework has it; else the source stands for the truth, and moving its weights (or, for
    want of that, its inputs) by one unit in the last place shows the noise.
    """
    notes: list[str] = []
    higher = _source_function(inspection, "truth")
    if higher is not None:
        try:
            outputs = _run_higher(inspection, higher(model), signature, made)
            noise = verification.measure_noise(references, outputs)
            if max((n.relative_l2 for n in noise.values()), default=0.0) < SUSPICIOUS:
                return _Truth(outputs, noise, "the source in float64")
            moved = verification.measure_noise(references, _run_moved(inspection, model, signature, made))
            if all(n.relative_l2 <= 100 * moved[name].relative_l2 for name, n in noise.items()):
                return _Truth(outputs, noise, "the source in float64", ("the source is sensitive to rounding",))
            notes.append("in float64 the source computes something else; the truth is the source itself")
            return _Truth(references, moved, "the source itself", tuple(notes))
        except Exception as error:  # models with a type of their own inside cannot be widened
            notes.append(f"no truth in float64 ({type(error).__name__}: {error}); the truth is the source itself")
    moved = verification.measure_noise(references, _run_moved(inspection, model, signature, made))
    return _Truth(references, moved, "the source itself", tuple(notes))


def _run_higher(
    inspection: Inspection, model: Any, signature: Signature, made: Sequence[Batch]
) -> list[dict[str, np.ndarray]]:
    wide = evolve(signature, inputs=tuple(_widen(spec) for spec in signature.inputs))
    run = _start(inspection, model, wide)
    return [run({n: _float64(a) for n, a in batch.inputs.items()}) for batch in made]


def _widen(spec: TensorSpec) -> TensorSpec:
    return evolve(spec, dtype="float64") if "float" in spec.dtype else spec


def _float64(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _run_moved(
    inspection: Inspection, model: Any, signature: Signature, made: Sequence[Batch]
) -> list[dict[str, np.ndarray]]:
    """Outputs with weights, or else floating inputs, moved by one unit in the last place."""
    move = _source_function(inspection, "noise")
    if move is not None:
        run = _start(inspection, move(model), signature)
        return [run(batch.inputs) for batch in made]
    if inspection.noise is not None:
        with tempfile.TemporaryDirectory() as folder:
            moved = Path(folder) / inspection.source.path.name
            inspection.noise.resolve()(inspection.source.path, moved)
            with _start(inspection, moved, signature) as run:
                return [run(batch.inputs) for batch in made]
    run = _start(inspection, model, signature)
    return [run({n: _next(a) for n, a in batch.inputs.items()}) for batch in made]


def _next(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    directions = np.random.default_rng(SEED).choice([-np.inf, np.inf], array.shape).astype(array.dtype)
    moved: np.ndarray = np.where(np.isfinite(array), np.nextafter(array, directions), array)
    return moved


def _coupled(
    signature: Signature,
    pair: Sequence[Batch],
    references: Mapping[str, dict[str, np.ndarray]],
    noise: Mapping[str, Noise],
) -> bool:
    """Whether other neighbours change a row's result in the source itself."""
    first, second = (batches.first_row(references[batch.name], signature) for batch in pair)
    return any(
        verification.deviations({n: second[n]}, {n: row}, {n: row}, {n: noise[n]}, {})[0].max_absolute
        > max(1e-5 * noise[n].scale, 10 * noise[n].max_absolute)
        for n, row in first.items()
    )


def _store(
    root: Path, number: int, batch: Batch, reference: dict[str, np.ndarray], truth: dict[str, np.ndarray]
) -> StoredBatch:
    folder = f"batch-{number:03}"
    arrays.save(root / folder / "inputs.npz", batch.inputs)
    arrays.save(root / folder / "reference.npz", reference)
    arrays.save(root / folder / "truth.npz", truth)
    return StoredBatch(batch.name, batch.size, batch.synthetic, folder)


def _said(coupled: bool, stochastic: bool, made: Sequence[Batch]) -> list[str]:
    notes = []
    synthetic = sum(batch.synthetic for batch in made)
    if synthetic:
        notes.append(f"{synthetic} of {sum(b.size for b in made)} rows checked are seeded variations of the samples")
    if coupled:
        notes.append("rows of a batch influence each other in the source itself, so their independence is not checked")
    if stochastic:
        notes.append("the source gives another answer when called again: it is stochastic and cannot be verified")
    return notes
