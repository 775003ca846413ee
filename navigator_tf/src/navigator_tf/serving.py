"""The serving signature of a SavedModel: written, declared, loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from attrs import frozen
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model.loader_impl import parse_saved_model

from navigator_core.errors import NavigatorError, RequestError
from navigator_tf.engine import said, tf

KEY = "serving_default"
TAG = "serve"
COMPILED = ("_XlaMustCompile", "_noinline")
"""The marks of a function that is compiled by XLA and hence not looked into."""


def save(
    run: Callable[..., Sequence[Any]], inputs: Sequence[Any], outputs: Sequence[str], folder: Path, kept: Any = None
) -> None:
    """Write a function of tensors in order as the serving signature; ``inputs`` are TensorSpecs with their names.

    ``kept`` is what holds resources of the function that are no variables. Raises NavigatorError where TensorFlow
    cannot trace or write it.
    """
    keys = [spec.name for spec in inputs]

    def serve(**values: Any) -> dict[str, Any]:
        return dict(zip(outputs, run(*[values[key] for key in keys]), strict=True))

    try:
        traced = tf.function(serve, autograph=False).get_concrete_function(**dict(zip(keys, inputs, strict=True)))
        module = tf.Module()
        module.variables_of_it = list(traced.variables)
        module.kept = kept
        tf.saved_model.save(module, str(folder), signatures={KEY: traced})
    except Exception as error:  # anything of the user's code
        raise NavigatorError(
            f"TensorFlow cannot write it as a SavedModel: {type(error).__name__}: {said(error)}"
        ) from error


def declared(folder: Path) -> Any:
    """The signature's protobuf. Raises RequestError where the folder cannot be read or has no such signature."""
    try:
        graphs = parse_saved_model(str(folder)).meta_graphs
    except OSError as error:
        raise RequestError(f"{folder.name} cannot be read as a SavedModel: {said(error)}") from error
    found: Mapping[str, Any] = next((graph.signature_def for graph in graphs if TAG in graph.meta_info_def.tags), {})
    if KEY not in found:
        there = ", ".join(sorted(name for name in found if not name.startswith("__"))) or "none"
        raise RequestError(
            f"{folder.name} has no signature {KEY!r} (it has {there}): save it with signatures={{{KEY!r}: ...}}"
        )
    return found[KEY]


@frozen(eq=False)
class Opened:
    """``function`` takes tensors by its own names; ``model`` holds its variables, which it refers to weakly."""

    model: Any
    function: Any
    inputs: Mapping[str, Any]
    outputs: Sequence[str]


def load(folder: Path) -> Opened:
    """The signature, ready to be called. Raises what TensorFlow raises."""
    model = tf.saved_model.load(str(folder))
    function = model.signatures[KEY]
    return Opened(model, function, function.structured_input_signature[1], sorted(function.structured_outputs))


@contextmanager
def looked_into(folder: Path) -> Iterator[Path]:
    """The SavedModel with its parts that XLA would compile as plain functions: what converters need to see."""
    held = saved_model_pb2.SavedModel()
    held.ParseFromString((folder / "saved_model.pb").read_bytes())
    if not sum(_unmark(graph.graph_def) for graph in held.meta_graphs):
        yield folder
        return
    with TemporaryDirectory() as name:
        for one in folder.iterdir():
            if one.name != "saved_model.pb":
                (Path(name) / one.name).symlink_to(one.absolute())
        (Path(name) / "saved_model.pb").write_bytes(held.SerializeToString())
        yield Path(name)


def _unmark(graph: Any) -> int:
    functions = graph.library.function
    marked = [*graph.node, *functions, *(node for one in functions for node in one.node_def)]
    return sum(_removed(one.attr) for one in marked if COMPILED[0] in one.attr)


def _removed(attributes: Any) -> int:
    found = [mark for mark in COMPILED if mark in attributes]
    for mark in found:
        del attributes[mark]
    return len(found)
