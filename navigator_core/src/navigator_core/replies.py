"""What a candidate answers, in a worker of its own, and the memory that it takes for that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from navigator_core import arrays, judging, understanding, worker
from navigator_core.entrant import Entrant
from navigator_core.memory import PeakMemory, rss
from navigator_core.reference import StoredBatch


@frozen(kw_only=True)
class Question:
    """A candidate, to be called with every batch of its reference."""

    entrant: Entrant


@frozen
class Replies:
    """``raised`` holds a sentence for each batch that it did not answer, by name; ``memory`` is its peak in bytes.

    ``steady``: it answers the same when it is called again.
    """

    memory: int
    steady: bool
    raised: Mapping[str, str] = field(factory=dict)


def ask(question: Question, folder: Path, emit: worker.Emit) -> Replies:
    """Write the answer to each batch into ``folder``. Raises what loading raises."""
    entrant = question.entrant
    raised: dict[str, str] = {}
    steady: bool | None = None
    with PeakMemory(worker.empty_rss or rss()) as memory, entrant.loaded() as (run, _):
        for batch in entrant.reference.batches:
            inputs = entrant.inputs(batch)
            try:
                outputs = run(inputs)
                if steady is None:
                    again = run(inputs)
                    steady = all(understanding.close(array, again[name]) for name, array in outputs.items())
            except Exception as error:  # a batch that it cannot take is an answer
                raised[batch.name] = judging.raised(error)
                continue
            arrays.save(place(folder, batch), outputs)
    return Replies(memory.peak, steady is not False, raised)


def place(folder: Path, batch: StoredBatch) -> Path:
    """Where the answer to a batch lies."""
    return folder / f"{batch.folder}.npz"
