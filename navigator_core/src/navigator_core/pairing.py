"""Two candidates in workers: what both are called with, what each answers, and the playoff between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from attrs import evolve

from navigator_core import arrays, batches, plugins
from navigator_core.contestant import Contestant
from navigator_core.declarations import Ref, Runner
from navigator_core.entrant import Entrant
from navigator_core.errors import NavigatorError
from navigator_core.execution import Failed, Job, Kind, Workers
from navigator_core.loading import Source
from navigator_core.machine import kinds_of, worker_of
from navigator_core.playoff import LIMIT, WARM_UP
from navigator_core.reference import Reference, StoredBatch
from navigator_core.replies import Question, Replies
from navigator_core.samples import Arrays
from navigator_core.sides import Side
from navigator_core.signature import Signature
from navigator_core.turns import Played, Playoff

T = TypeVar("T")


def store(folder: Path, rows: Sequence[Arrays], signature: Signature, sizes: Sequence[int]) -> tuple[StoredBatch, ...]:
    """Write the inputs of every call: the samples as they are, and rows of them in batches of each size."""
    made = batches.as_given(rows, signature)
    if any(spec.batch_axis is not None for spec in signature.inputs):
        made += batches.pooled(rows, signature, sizes)
    stored = []
    for number, batch in enumerate(made):
        stored.append(StoredBatch(batch.name, batch.size, batch.synthetic, f"batch-{number:03}"))
        arrays.save(folder / stored[-1].folder / "inputs.npz", batch.inputs)
    return tuple(stored)


def entrant(one: Side, stored: tuple[StoredBatch, ...], sizes: Sequence[int], folder: Path) -> Entrant:
    """The side's candidate as a worker loads it."""
    recipe, path = one.candidate.recipe, one.candidate.path
    assert recipe is not None
    assert path is not None
    signature = evolve(one.signature, structure=None).with_batch(max(sizes))  # tensors go in and come out by name
    return Entrant(
        source=Source(format=recipe.format, path=path),
        runner=recipe.runner,
        kinds=kinds_of(plugins.installed(), _runner(one)),
        reference=Reference(
            signature=signature, precision=recipe.precision, noise={}, batches=stored, sizes=tuple(sizes)
        ),
        reference_folder=folder,
        names=recipe.names,
        device=one.candidate.device,
        precision=recipe.precision,
    )


def _runner(one: Side) -> Runner:
    assert one.candidate.recipe is not None
    declared = plugins.installed().runner_for(one.candidate.recipe.runner.name)
    assert declared is not None
    return declared


def _kind(one: Side) -> Kind:
    return worker_of(plugins.installed(), _runner(one))


def ask(one: Side, entrant: Entrant, folder: Path, workers: Workers) -> Replies:
    """What it answers to every batch; raises NavigatorError where it cannot be loaded or answers none."""
    kind = _kind(one)
    job = Job(
        function=Ref("navigator_core.replies:ask"),
        argument=Question(entrant=entrant),
        result=Replies,
        preload=kind.preload,
        interpreter=kind.interpreter,
    )
    said = _run(job, folder, workers, f"{one.label} ({one.candidate.name}) cannot be run here")
    if len(said.raised) == len(entrant.reference.batches):
        name, why = next(iter(said.raised.items()))
        raise NavigatorError(f"{one.label} ({one.candidate.name}) cannot be run here: {name}: {why}")
    return said


def play(
    both: Sequence[Side],
    entrants: Mapping[str, Entrant],
    size: int,
    share: float,
    margin: float,
    folder: Path,
    workers: Workers,
) -> Played:
    """A playoff of both at one batch size, to tell apart what is not within ``margin``.

    Raises NavigatorError where it could not be held.
    """
    contestants = []
    for one in both:
        kind = _kind(one)
        contestants.append(
            Contestant(
                name=one.label,
                entrant=entrants[one.label],
                batch_size=size,
                warm_up=WARM_UP * share,
                preload=kind.preload,
                interpreter=kind.interpreter,
            )
        )
    playoff = Playoff(contestants=tuple(contestants), seconds=share, limit=LIMIT * share, margin=margin)
    job = Job(function=Ref("navigator_core.turns:play"), argument=playoff, result=Played)
    return _run(job, folder, workers, f"A and B were not compared side by side at batch size {size}")


def _run(job: Job[T], folder: Path, workers: Workers, what: str) -> T:
    """Raises NavigatorError where the step fails."""
    folder.mkdir()
    outcome = workers.run(job, folder, folder)
    if isinstance(outcome, Failed):
        raise NavigatorError(f"{what}: it {outcome.reason}")
    return outcome.value
