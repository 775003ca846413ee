"""An .onnx file as a source: what it takes and returns, and which files belong to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from navigator_core import Dim, Signature, TensorSpec
from navigator_core.errors import RequestError
from navigator_core.signature import BATCH
from navigator_onnx import proto

KINDS = {
    "sequence_type": "a sequence",
    "map_type": "a map",
    "optional_type": "an optional",
    "sparse_tensor_type": "sparse",
}


def signature(path: Path) -> Signature:
    """Inputs and outputs as the file declares them; weights are not read.

    A symbolic axis keeps its name; an anonymous one is called ``<tensor>_<axis>``; the one that is named like a
    batch ("batch", "batch_size", "N", ...) becomes the batch, at whatever position. Outputs whose rank the file
    neither declares nor implies leave the signature without outputs: the first run tells.

    Raises RequestError for a file that cannot be read or lacks its external data, and for inputs or outputs that
    are no plain tensors of numbers.
    """
    path = Path(path)
    model = proto.read(path)
    proto.side_files(model, path)
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    outputs = _outputs(model)
    for value in (*inputs, *outputs):
        _check(value, path)
    unranked = next((value.name for value in inputs if not _ranked(value)), None)
    if unranked is not None:
        raise RequestError(f"input {unranked!r} of {path.name} declares no axes; export the model with its shape")
    axis = _axes([*inputs, *outputs], _batch(inputs))
    specs = [_spec(value, axis) for value in inputs]
    known = all(map(_ranked, outputs))
    return Signature(tuple(specs), tuple(_spec(value, axis) for value in outputs) if known else ())


def companions(path: Path) -> tuple[Path, ...]:
    """The files of external data that belong to an .onnx file, relative to its folder, in order of appearance.

    Raises RequestError for one that is missing or lies outside the folder.
    """
    path = Path(path)
    return proto.side_files(proto.read(path), path)


def _outputs(model: ModelProto) -> list[ValueInfoProto]:
    declared = list(model.graph.output)
    if all(map(_ranked, declared)):
        return declared
    try:
        inferred: GraphProto = onnx.shape_inference.infer_shapes(model).graph
    except (ValueError, RuntimeError):  # unknown operators, or too large to be copied: the first run tells
        return declared
    return list(inferred.output)


def _ranked(value: ValueInfoProto) -> bool:
    kind = value.type.WhichOneof("value")
    return kind not in (None, "tensor_type") or bool(value.type.tensor_type.HasField("shape"))


def _check(value: ValueInfoProto, path: Path) -> None:
    kind = value.type.WhichOneof("value")
    is_text = kind == "tensor_type" and value.type.tensor_type.elem_type == TensorProto.STRING
    if is_text or kind in KINDS:
        raise RequestError(
            f"{value.name!r} of {path.name} is {'text' if is_text else KINDS[kind]}; inputs and outputs must be plain "
            "tensors of numbers: cut such ends off with onnx.utils.extract_model (skl2onnx: options={'zipmap': False})"
        )


def _batch(inputs: Iterable[ValueInfoProto]) -> str | None:
    """The one symbol that is named like a batch; only one may be, or two axes would be taken for the same."""
    symbols = [dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim if dim.dim_param]
    likely: Sequence[Callable[[str], bool]] = (
        lambda name: name == BATCH,
        lambda name: name.lower().replace("_", "") in ("batch", "batchsize", "batchdim", "nbatch", "numbatch"),
        lambda name: name in ("N", "bs", "BS"),
    )
    return next((name for test in likely for name in symbols if test(name)), None)


def _axes(
    values: Iterable[ValueInfoProto], batch: str | None
) -> Callable[[str, int, onnx.TensorShapeProto.Dimension], int | Dim]:
    """How one axis is written: an int, or a `Dim` whose name is no other's."""
    taken = {dim.dim_param for value in values for dim in value.type.tensor_type.shape.dim} | {BATCH}

    def axis(tensor: str, position: int, dim: onnx.TensorShapeProto.Dimension) -> int | Dim:
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            return int(dim.dim_value)
        if dim.dim_param:
            return Dim(BATCH if dim.dim_param == batch else dim.dim_param)
        name = f"{tensor}_{position}"
        while name in taken:
            name += "_"
        return Dim(name)

    return axis


def _spec(value: ValueInfoProto, axis: Callable[[str, int, onnx.TensorShapeProto.Dimension], int | Dim]) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(axis(value.name, position, dim) for position, dim in enumerate(tensor.shape.dim))
    return TensorSpec(value.name, dtype_name(tensor.elem_type), shape)


def dtype_name(element: int) -> str:
    """The name of an ONNX element type: "float32", "int64", "bfloat16"; float8 ones as ml_dtypes spells them."""
    name = str(TensorProto.DataType.Name(element)).lower()
    if name.startswith("float8"):
        return f"float8_{name.removeprefix('float8')}"
    return {"float": "float32", "double": "float64"}.get(name, name)
