"""One candidate as a worker loads it, and calls of it that go through the reference's batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import field, frozen

from navigator_core import loading, shipping
from navigator_core.declarations import Context, Precision
from navigator_core.loading import Kinds, RunnerUse, Running, Source
from navigator_core.reference import Reference, StoredBatch
from navigator_core.signature import Names


@frozen(kw_only=True)
class Entrant:
    """``source`` is the live model or the artifact's file; ``names`` what that calls the signature's tensors."""

    source: Source
    runner: RunnerUse
    kinds: Kinds
    reference: Reference
    reference_folder: Path
    names: Names = field(factory=Names)
    device: str = "cpu"
    precision: Precision

    @contextmanager
    def loaded(self) -> Iterator[tuple[Running, Context]]:
        """The model, loaded by its runner until the end of the block. Raises what loading raises."""
        self.kinds.register()
        model, parameters = shipping.open_source(self.source, self.device)
        context = Context(
            signature=self.reference.signature.with_parameters(parameters),
            samples=(self.inputs(self.reference.batches[0]),),
            device=self.device,
            precision=self.precision,
            names=self.names,
        )
        with loading.start(self.runner, model, context) as run:
            yield run, context

    def inputs(self, batch: StoredBatch) -> dict[str, np.ndarray]:
        """What the model is called with."""
        return batch.inputs(self.reference_folder)

    def of_size(self, size: int) -> list[StoredBatch]:
        """The batches to time a size with; where nothing has a batch axis, the samples as they are."""
        batches = self.reference.batches
        pooled = [batch for batch in batches if batch.name.startswith("batch ") and batch.size == size]
        return pooled or [batch for batch in batches if batch.name.startswith("sample ")]


class Rotation:
    """``rotation(i)`` calls the model with the i-th inputs, on the device already, and waits until it is done.

    ``turn`` and ``last`` are of the newest call: the inputs' place, and the outputs, which the next call may overwrite.
    """

    def __init__(self, run: Running, inputs: Sequence[Mapping[str, np.ndarray]]) -> None:
        self.ready = [run.bring_in(one) for one in inputs]
        self.turn = 0
        self.last: Any = None
        self._model = run.model

    def __call__(self, i: int) -> None:
        """One call, as long as it takes."""
        self.turn = i % len(self.ready)
        self.last = self._model.call(self.ready[self.turn])
        self._model.synchronize()
