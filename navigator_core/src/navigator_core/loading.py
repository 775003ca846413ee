"""A runner's loaded model, called with tensors of any kind: the step between the core's arrays and the runner's."""

from __future__ import annotations

import types
from collections.abc import Mapping
from copy import copy
from pathlib import Path
from typing import Any, Self

from attrs import evolve, frozen

from navigator_core import serde, tensors
from navigator_core.declarations import Context, LoadedModel, Ref, Tensors
from navigator_core.errors import PluginError
from navigator_core.one_at_a_time import OneAtATime
from navigator_core.signature import Signature, describe_outputs
from navigator_core.structure import Node
from navigator_core.tensors import NUMPY


@frozen(kw_only=True)
class Source:
    """The model to be optimized, as a worker finds it.

    A live model lies shipped in the folder ``path`` and ``framework`` names its source module; a file is at ``path``.
    """

    format: str
    path: Path
    framework: Ref | None = None


@frozen(kw_only=True)
class RunnerUse:
    """A runner with its options, as a worker is told of it. ``tensors=None``: as the caller passed, ``passed``.

    ``environment`` names the one that its implementation is to be found in, None for this one.
    """

    name: str
    implementation: Ref
    options_type: Ref | None
    options: Any
    tensors: str | None
    passed: str = NUMPY
    environment: str | None = None

    @property
    def kind(self) -> str:
        """The kind of tensor the runner takes."""
        return self.tensors or self.passed

    def built_options(self) -> Any:
        """The options as the plugin's own value; None where the runner has none."""
        return None if self.options_type is None else serde.from_data(self.options, self.options_type.resolve())


@frozen(kw_only=True)
class Kinds:
    """The kinds of tensor a worker must know."""

    declared: tuple[Tensors, ...]

    def register(self) -> None:
        """Make them known in this process."""
        tensors.register(self.declared)


@frozen
class Running:
    """A loaded model with its conversions. Close it, or use it as a context manager.

    ``kind`` is what the runner takes, ``kind_passed`` what the user's samples are.
    """

    model: LoadedModel
    kind: str
    kind_passed: str
    device: str
    dtypes: Mapping[str, str]

    def bring_in(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Inputs as the runner takes them, on its device."""
        return tensors.convert(inputs, self.kind, self.device, self.dtypes)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Arrays in, numpy arrays out; everything is done when it returns.

        Both are copies: a model may change its inputs in place, and may return the same buffers every time.
        """
        outputs = self.model.call(self.bring_in({name: copy(value) for name, value in inputs.items()}))
        self.model.synchronize()
        return {name: copy(array) for name, array in take_out(outputs).items()}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: types.TracebackType | None
    ) -> None:
        self.model.close()


def start(use: RunnerUse, model: Any, context: Context) -> Running:
    """Load a model, live or a file, with a runner. Several threads may call it: they take turns where they must."""
    loaded = use.implementation.resolve()(model, use.built_options(), context)
    if not isinstance(loaded, LoadedModel):
        raise PluginError(f"runner {use.name!r} returned {type(loaded).__name__}; its author must return a LoadedModel")
    dtypes = {spec.name: spec.dtype for spec in context.signature.inputs}
    if not loaded.thread_safe:
        loaded = evolve(loaded, call=OneAtATime(loaded.call))
    return Running(loaded, use.kind, use.passed, context.device, dtypes)


def take_out(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Outputs of any kind as numpy arrays."""
    return {name: tensors.to_numpy(value) for name, value in outputs.items()}


class RecordingSignature(Signature):
    """A signature that remembers how the outputs it flattened were built: how a source's outputs are discovered."""

    def __init__(self, *fields: Any) -> None:
        super().__init__(*fields)
        object.__setattr__(self, "seen", [])

    seen: list[Node]

    def flatten(self, outputs: Any) -> dict[str, Any]:
        """As `Signature.flatten`, taking a note of the tree."""
        node, found = describe_outputs(outputs)
        self.seen.append(node)
        return found
