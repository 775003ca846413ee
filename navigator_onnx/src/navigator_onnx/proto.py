"""An .onnx file as a message: read with errors that say what to do, and walked down to every tensor it holds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import GraphProto, ModelProto, NodeProto, TensorProto

from navigator_core.errors import RequestError


def read(path: Path) -> ModelProto:
    """The model without its external data, so gigabytes of weights stay on disk.

    Raises RequestError where there is no such file or it holds no ONNX model.
    """
    if path.is_dir():
        raise RequestError(f"{path} is a folder; give the .onnx file in it")
    if not path.exists():
        raise RequestError(f"{path} does not exist; give the path of an .onnx file")
    with path.open("rb") as file:
        if file.read(32).startswith(b"version https://git-lfs"):
            raise RequestError(f"{path} is a Git LFS pointer, not the model; fetch the file itself with 'git lfs pull'")
    try:
        model = onnx.load(os.fspath(path), load_external_data=False)
    except DecodeError as error:
        raise _unreadable(path) from error
    if not model.ir_version or not model.HasField("graph"):  # an empty file decodes to an empty message
        raise _unreadable(path)
    return model


def _unreadable(path: Path) -> RequestError:
    size = path.stat().st_size
    return RequestError(
        f"{path} ({size} bytes) holds no ONNX model: it is cut short or of another kind; export or download it again"
    )


def graphs(graph: GraphProto) -> Iterator[GraphProto]:
    """The graph and the bodies of its If, Loop and Scan nodes, at any depth."""
    yield graph
    yield from _inner(graph.node)


def _inner(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for graph in attribute.graphs:
                yield from graphs(graph)


def tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Every tensor in the file: initializers and attributes, those of inner graphs and functions included."""
    for graph in graphs(model.graph):
        yield from _tensors(graph)
    for function in model.functions:
        yield from _attributes(function.node)
        for graph in _inner(function.node):
            yield from _tensors(graph)


def _tensors(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    yield from _attributes(graph.node)


def _attributes(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def external(tensor: TensorProto) -> dict[str, str]:
    """Where a tensor's bytes lie outside the file ("location", "offset", "length"); empty for one inside it."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return {}
    return {entry.key: entry.value for entry in tensor.external_data}


def side_files(model: ModelProto, path: Path) -> tuple[Path, ...]:
    """The files of external data, relative to the model's folder.

    Raises RequestError for one that is missing, or that lies outside the folder (absolute, or by way of ``..``).
    """
    found: dict[Path, None] = {}
    for tensor in tensors(model):
        where = external(tensor)
        if where or tensor.data_location == TensorProto.EXTERNAL:
            found[_inside(where.get("location", ""), path)] = None
    for name in found:
        if not (path.parent / name).is_file():
            raise RequestError(
                f"{path.name} keeps weights in {name}, which is not there; put that file at {path.parent / name}"
            )
    return tuple(found)


def _inside(location: str, path: Path) -> Path:
    parts = PurePosixPath(location.replace("\\", "/"))
    if not parts.parts or parts.is_absolute() or ".." in parts.parts:
        raise RequestError(
            f"{path.name} refers to external data at {location!r}, outside its own folder, which is never read; "
            "save the model again with its data beside it (onnx.save_model(..., location='weights.data'))"
        )
    return Path(parts)
