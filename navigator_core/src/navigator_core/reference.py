"""What the source means: its axes proved by running it, its outputs on every batch, the truth, and its own noise.

Runs in a worker, once for each run. Everything later is held to what is written here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import field, frozen

from navigator_core import arrays, batches, gates, shipping, truth, verification
from navigator_core.batches import Batch
from navigator_core.declarations import Precision
from navigator_core.errors import RequestError
from navigator_core.inspection import Inspection
from navigator_core.loading import Running
from navigator_core.samples import Arrays, Samples, dynamic_axes
from navigator_core.signature import Signature
from navigator_core.understanding import repeats, understand
from navigator_core.verification import Noise
from navigator_core.worker import Emit

ODD = 3
LARGEST_DEFAULT = 128
REFERENCE_SECONDS = 4.0
REFERENCE_BYTES = 256 * 2**20


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

    Raises SourceRaisedError, caused by the user's own exception, where the model cannot take the samples, and
    RequestError where its outputs cannot be taken apart or what was asked of the batch does not hold.
    """
    inspection.kinds.register()
    model, parameters = shipping.open_source(inspection.source, inspection.device)
    given = tuple(arrays.load(path) for path in inspection.samples)
    allowed = dynamic_axes(inspection.file_signature) if inspection.file_signature else None
    samples = Samples(given, inspection.dtypes, parameters or (), inspection.runner.passed, allowed=allowed)
    signature, notes = understand(inspection, samples, model)
    run = inspection.start(model, signature)
    stochastic = not repeats(run, given[0])
    batched = any(spec.batch_axis is not None for spec in signature.inputs)
    sizes, size_notes = _sizes(inspection, signature, run, given, batched)
    signature = signature.with_batch(max(*sizes, ODD)) if batched else signature
    pair = batches.neighbours(given, signature) or ()
    made = [
        *batches.as_given(given, signature),
        *batches.pooled(given, signature, sorted({1, ODD, *sizes}) if batched else ()),
    ]
    references, dropped = _run_all(run, (*made, *pair))
    kept = [batch for batch in made if batch.name in references]
    found = truth.find(inspection, model, signature, kept, [references[batch.name] for batch in kept])
    truths = dict(zip((batch.name for batch in kept), found.outputs, strict=True))
    kept += [batch for batch in pair if batch.name in references]  # compared with each other, not with the truth
    stored = [
        _store(folder, i, b, references[b.name], truths.get(b.name, references[b.name])) for i, b in enumerate(kept)
    ]
    pair_names = {batch.name for batch in pair} & set(references)
    coupled = len(pair_names) == 2 and not stochastic and _coupled(signature, pair, references, found.noise)
    lost = [f"the source itself cannot run {name}: {why}" for name, why in dropped.items()]
    return Reference(
        signature=signature,
        precision=verification.source_precision(signature.outputs),
        noise=found.noise,
        batches=tuple(s for s in stored if s.name not in pair_names),
        neighbours=tuple(s for s in stored if s.name in pair_names) if len(pair_names) == 2 else (),
        sizes=tuple(n for n in sizes if f"batch {n}" not in dropped) or (1,),
        coupled=coupled,
        stochastic=stochastic,
        truth=found.what,
        metrics=gates.measure_source(inspection.verify, run, signature),
        notes=(*notes, *size_notes, *(() if stochastic else found.notes), *lost, *_said(coupled, stochastic, kept)),
    )


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
