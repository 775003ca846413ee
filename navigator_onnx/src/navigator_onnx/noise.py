"""The same model with its weights moved by one unit in the last place: how much its results owe to rounding."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from attrs import frozen
from onnx import ModelProto, TensorProto

from navigator_onnx import proto

CHUNK = 1 << 22  # elements at a time, so that memory stays flat whatever the size of the weights


@frozen
class Layout:
    """A binary number format: its width in bytes, and the bits of infinity, above which nothing is finite."""

    width: int
    infinity: int


LAYOUTS = {
    TensorProto.DOUBLE: Layout(8, 0x7FF0_0000_0000_0000),
    TensorProto.FLOAT: Layout(4, 0x7F80_0000),
    TensorProto.FLOAT16: Layout(2, 0x7C00),
    TensorProto.BFLOAT16: Layout(2, 0x7F80),
}

# Operands that decide a shape, a branch or a domain (x ** 2.0000002 is NaN below zero): no weights, never moved.
STRUCTURAL = {
    "Resize": (1, 2),
    "Upsample": (1,),
    "Range": (0, 1, 2),
    "Pow": (1,),
    "Mod": (0, 1),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), (0, 1)),
    **dict.fromkeys(("Cast", "Ceil", "Floor", "Round", "ConstantOfShape"), (0,)),
}


def noise(source: Path, output: Path) -> None:
    """Write ``source`` to ``output`` with every floating weight one unit in the last place away, up or down.

    Weights are initializers and constants that have axes, external data included, in fp64, fp32, fp16 and bf16.
    The direction is random and the same in every run. Zeros, infinities and NaN stay; so do scalars and operands
    that decide a shape or a branch. Side files are written beside ``output``.

    Raises RequestError as `navigator_onnx.source.companions`, ValueError where side files would be overwritten.
    """
    source, output = Path(source), Path(output)
    model = proto.read(source)
    side_files = proto.side_files(model, source)
    if side_files and output.parent.resolve() == source.parent.resolve():
        raise ValueError(f"{output} would overwrite the external data of {source}: choose another folder")
    for name in side_files:
        (output.parent / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source.parent / name, output.parent / name)
    directions = np.random.default_rng(0)
    moved: set[tuple[str, int]] = set()
    for tensor in _weights(model):
        where = proto.external(tensor)
        if not where:
            tensor.CopyFrom(_moved(tensor, directions))
            continue
        place = where["location"], int(where.get("offset", 0))
        if place not in moved:  # tied weights may share their bytes
            moved.add(place)
            _move_file(output.parent / place[0], place[1], tensor, directions)
    output.write_bytes(model.SerializeToString())


def _weights(model: ModelProto) -> Iterator[TensorProto]:
    graphs = list(proto.graphs(model.graph))
    nodes = [node for graph in graphs for node in graph.node]
    fixed = {node.input[i] for node in nodes for i in STRUCTURAL.get(node.op_type, ()) if i < len(node.input)}
    named = [(tensor.name, tensor) for graph in graphs for tensor in graph.initializer]
    named += [(n.output[0], a.t) for n in nodes if n.op_type == "Constant" for a in n.attribute if a.name == "value"]
    for name, tensor in named:
        if name not in fixed and tensor.data_type in LAYOUTS and len(tensor.dims) and math.prod(tensor.dims):
            yield tensor


def _moved(tensor: TensorProto, directions: np.random.Generator) -> TensorProto:
    layout = LAYOUTS[tensor.data_type]
    if tensor.HasField("raw_data"):
        bits = np.frombuffer(tensor.raw_data, f"<u{layout.width}")
    elif tensor.data_type == TensorProto.FLOAT:
        bits = np.array(tensor.float_data, "<f4").view("<u4")
    elif tensor.data_type == TensorProto.DOUBLE:
        bits = np.array(tensor.double_data, "<f8").view("<u8")
    else:
        bits = np.array(tensor.int32_data, "<i4").astype("<u2")
    result = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    result.raw_data = step(bits, layout, directions).tobytes()
    return result


def _move_file(path: Path, offset: int, tensor: TensorProto, directions: np.random.Generator) -> None:
    layout = LAYOUTS[tensor.data_type]
    bits = np.memmap(path, f"<u{layout.width}", "r+", offset=offset, shape=(math.prod(tensor.dims),))
    for start in range(0, bits.size, CHUNK):
        part = bits[start : start + CHUNK]
        part[:] = step(part, layout, directions)
    bits.flush()


def step(bits: np.ndarray, layout: Layout, directions: np.random.Generator) -> np.ndarray:
    """Neighbouring numbers, as bits: without the sign they are ordered like integers, so a step is one up or down."""
    magnitude = bits & np.array((1 << (8 * layout.width - 1)) - 1, bits.dtype)
    up = directions.integers(0, 2, bits.size, np.uint8).astype(bool) & (magnitude + 1 < layout.infinity)
    stays = (magnitude == 0) | (magnitude >= layout.infinity)
    return np.where(stays, bits, np.where(up, bits + 1, bits - 1)).astype(bits.dtype)
