"""One export or conversion in a worker: the plugin's implementation, and a look at what it left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from navigator_core import serde, shipping
from navigator_core.declarations import Context, Precision, Ref
from navigator_core.errors import PluginError
from navigator_core.loading import Kinds, Source
from navigator_core.reference import Reference
from navigator_core.signature import Names
from navigator_core.worker import Emit

MOST_EXAMPLES = 8


@frozen(kw_only=True)
class Conversion:
    """What the worker is told: from which source or artifact, by which implementation, to which file."""

    source: Source
    implementation: Ref
    options_type: Ref | None
    options: Any
    target: str
    file: str
    kinds: Kinds
    reference: Reference
    reference_folder: Path
    names: Names = field(factory=Names)
    device: str = "cpu"
    precision: Precision


@frozen
class Converted:
    """``names`` is what the artifact calls the signature's tensors; ``size`` its bytes."""

    names: Names
    size: int


def convert(conversion: Conversion, folder: Path, emit: Emit) -> Converted:
    """Run the implementation. Raises what it raises, and PluginError where it wrote nothing."""
    conversion.kinds.register()
    model, parameters = shipping.open_source(conversion.source, conversion.device)
    signature = conversion.reference.signature.with_parameters(parameters)
    given = [batch for batch in conversion.reference.batches if batch.name.startswith("sample ")]
    samples = tuple(batch.inputs(conversion.reference_folder) for batch in given[:MOST_EXAMPLES])
    context = Context(
        signature=signature,
        samples=samples,
        calibration=samples,
        device=conversion.device,
        precision=conversion.precision,
        names=conversion.names,
    )
    options = None
    if conversion.options_type is not None:
        options = serde.from_data(conversion.options, conversion.options_type.resolve())
    output = folder / conversion.file
    names = conversion.implementation.resolve()(model, output, options, context)
    if not output.exists():
        raise PluginError(
            f"{conversion.implementation} wrote no {conversion.file}; its author must write {output.name}"
        )
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Converted(_checked(names, conversion.implementation), size)


def _checked(names: Any, implementation: Ref) -> Names:
    if names is None:
        return Names()
    if not isinstance(names, Names) or not all(isinstance(m, Mapping) for m in (names.inputs, names.outputs)):
        raise PluginError(f"{implementation} returned {type(names).__name__}; its author must return Names or None")
    return names
