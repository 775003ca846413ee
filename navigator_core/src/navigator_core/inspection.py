"""What the worker is told of the source, and how it runs it: one value for all that looks at the source."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from navigator_core import loading
from navigator_core.declarations import Context, Ref
from navigator_core.loading import Kinds, RunnerUse, Running, Source
from navigator_core.signature import Signature


@frozen(kw_only=True)
class Inspection:
    """What the worker is told: the source, its runner, the samples in ``samples``, and what the user said of axes.

    ``masks`` name the inputs that mark what counts, as `masking.fitting` takes them.
    """

    source: Source
    runner: RunnerUse
    kinds: Kinds
    samples: tuple[Path, ...]
    dtypes: Mapping[str, str]
    file_signature: Signature | None = None
    truth: Ref | None = None
    noise: Ref | None = None
    batching: Mapping[str, int | None] | None = field(factory=dict)
    batch_sizes: tuple[int, ...] | None = None
    output_names: tuple[str, ...] | None = None
    device: str = "cpu"
    verify: Path | None = None
    masks: Mapping[str, str] = field(factory=dict)

    def start(self, model: Any, signature: Signature) -> Running:
        """A model, the source or a relative of it, loaded by the source's own runner."""
        return loading.start(self.runner, model, Context(signature=signature, device=self.device))

    def function(self, name: str) -> Callable[..., Any] | None:
        """An optional function of the framework's source module; None for a file."""
        if self.source.framework is None:
            return None
        found: Callable[..., Any] | None = getattr(self.source.framework.resolve(), name, None)
        return found
