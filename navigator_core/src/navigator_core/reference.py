"""What the source means: its axes proved by running it, its outputs on every batch, the truth, and its own noise.

Runs in a worker, once for each run. Everything later is held to what is written here.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from attrs import field, frozen

from navigator_core import arrays, batches, gates, masking, shipping, truth, verification
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
"""What the source's runs on batches, and again those on samples beyond the first, may take in time and memory."""


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

    ``neighbours`` are batches with one row in common, as `batches.neighbours` makes them. ``sizes`` are the batch sizes
    to profile. ``coupled``: rows of a batch influence each other in the source itself;
    ``sized``: their number does. ``stochastic``: a repeated call differs. ``truth`` says in a few words what the truth
    is. ``masks`` name the inputs that mark what counts, by output.
    """

    signature: Signature
    precision: Precision
    noise: Mapping[str, Noise]
    batches: tuple[StoredBatch, ...]
    neighbours: tuple[StoredBatch, ...] = ()
    sizes: tuple[int, ...] = (1,)
    coupled: bool = False
    sized: bool = False
    stochastic: bool = False
    masks: Mapping[str, str] = field(factory=dict)
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
    masks = masking.fitting(inspection.masks, signature)
    company = batches.neighbours(given, signature)
    made = [
        *batches.as_given(given, signature),
        *batches.pooled(given, signature, sorted({1, ODD, *sizes}) if batched else ()),
    ]
    needed = batches.needed(given, signature) | {batch.name for batch in (*made[len(given) :], *company)}
    references, dropped, spared = _run_all(run, (*made, *company), needed)
    kept = [batch for batch in made if batch.name in references]
    found = truth.find(inspection, model, signature, kept, [references[batch.name] for batch in kept], masks)
    truths = dict(zip((batch.name for batch in kept), found.outputs, strict=True))
    beside = [batch for batch in company if batch.name in references]
    beside = beside if beside[:2] == list(company[:2]) else []
    kept += beside  # compared with each other, not with the truth
    stored = [
        _store(folder, i, b, references[b.name], truths.get(b.name, references[b.name])) for i, b in enumerate(kept)
    ]
    coupled = not stochastic and _coupled(signature, beside, references, found.noise)
    sized = not coupled and not stochastic and _sized(signature, kept, beside, references, found.noise)
    lost = [f"the source itself cannot run {name}: {why}" for name, why in dropped.items()]
    return Reference(
        signature=signature,
        precision=verification.source_precision(signature.outputs),
        noise=found.noise,
        batches=tuple(stored[: len(kept) - len(beside)]),
        neighbours=tuple(stored[len(kept) - len(beside) :]),
        sizes=tuple(n for n in sizes if f"batch {n}" not in dropped) or (1,),
        coupled=coupled,
        sized=sized,
        stochastic=stochastic,
        masks=masks,
        truth=found.what,
        metrics=gates.measure_source(inspection.verify, run, signature),
        notes=(
            *notes,
            *size_notes,
            *(() if stochastic else found.notes),
            *lost,
            *_said(coupled, sized, stochastic, kept),
            *_spared(spared),
            *_without_values([references[batch.name] for batch in kept]),
        ),
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


def _run_all(
    run: Running, made: Sequence[Batch], needed: Collection[str]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str], list[str]]:
    """The source's outputs by batch; batches that it cannot run, with the reason; and those that were left out.

    What is not ``needed`` is left out where the others have taken their time and memory.
    """
    outputs: dict[str, dict[str, np.ndarray]] = {}
    dropped: dict[str, str] = {}
    spared: list[str] = []
    spent, held = 0.0, 0
    for batch in made:
        optional = batch.name not in needed
        if optional and (spent > REFERENCE_SECONDS or held > REFERENCE_BYTES):
            spared.append(batch.name)
            continue
        begun = time.monotonic()
        try:
            outputs[batch.name] = run(batch.inputs)
        except Exception as error:
            dropped[batch.name] = f"{type(error).__name__}: {error}"
            continue
        if optional:
            spent += time.monotonic() - begun
            held += sum(array.nbytes for array in outputs[batch.name].values())
    return outputs, dropped, spared


def _coupled(
    signature: Signature,
    company: Sequence[Batch],
    references: Mapping[str, dict[str, np.ndarray]],
    noise: Mapping[str, Noise],
) -> bool:
    """Whether other neighbours change a row's result in the source itself."""
    if not company:
        return False
    first, second = (batches.one_row(references[batch.name], signature, batches.KEPT) for batch in company[:2])
    return _differ(signature, first, second, noise)


def _sized(
    signature: Signature,
    made: Sequence[Batch],
    company: Sequence[Batch],
    references: Mapping[str, dict[str, np.ndarray]],
    noise: Mapping[str, Noise],
) -> bool:
    """Whether a row's result in a batch is another than alone in the source itself."""
    pairs = [(batch.name, 0, "batch 1") for batch in made if batch.name == f"batch {batch.size}" and batch.size > 1]
    if len(company) > 2:
        pairs.append((company[0].name, batches.KEPT, company[2].name))
    return any(
        _differ(
            signature,
            batches.one_row(references[alone], signature, 0),
            batches.one_row(references[together], signature, row),
            noise,
        )
        for together, row, alone in pairs
        if alone in references
    )


def _differ(signature: Signature, first: Arrays, second: Arrays, noise: Mapping[str, Noise]) -> bool:
    """Whether two answers of the source on the same row are further apart than rounding."""
    share = max(1e-5, 32 * verification.source_precision(signature.outputs).epsilon)
    return any(
        off.wrong or off.max_absolute > max(share * noise[n].scale, 10 * noise[n].max_absolute)
        for n, row in first.items()
        for off in verification.deviations({n: second[n]}, {n: row}, {n: row}, {n: noise[n]}, {})
    )


def _store(
    root: Path, number: int, batch: Batch, reference: dict[str, np.ndarray], truth: dict[str, np.ndarray]
) -> StoredBatch:
    folder = f"batch-{number:03}"
    arrays.save(root / folder / "inputs.npz", batch.inputs)
    arrays.save(root / folder / "reference.npz", reference)
    arrays.save(root / folder / "truth.npz", truth)
    return StoredBatch(batch.name, batch.size, batch.synthetic, folder)


def _said(coupled: bool, sized: bool, stochastic: bool, made: Sequence[Batch]) -> list[str]:
    notes = []
    synthetic = sum(batch.synthetic for batch in made)
    if synthetic:
        notes.append(f"{synthetic} of {sum(b.size for b in made)} rows checked are seeded variations of the samples")
    if coupled:
        notes.append("rows of a batch influence each other in the source itself, so their independence is not checked")
    if sized:
        notes.append("a row's result depends on the size of the batch in the source itself, so that is not checked")
    if stochastic:
        notes.append("the source gives another answer when called again: it is stochastic and cannot be verified")
    return notes


def _without_values(answers: Sequence[Arrays]) -> list[str]:
    """Notes on outputs of which no answer has a number: candidates that give the same are right, and of no use."""
    lost = [
        name
        for name, value in answers[0].items()
        if value.dtype.kind in "fc" and value.size and not any(np.isfinite(one[name]).any() for one in answers)
    ]
    return [
        f"no element of output {name!r} is a finite number, whatever the sample: that a candidate gives the same "
        "proves nothing; look at the model's weights and the samples"
        for name in lost
    ]


def _spared(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    why = f"running the source on those before them took {REFERENCE_SECONDS:.0f} s or {REFERENCE_BYTES >> 20} MiB"
    return [f"{len(names)} samples, from {names[0]} on, were not compared as they are: {why}"]
