"""A traced program changed as a whole: in double precision, or with its weights nudged."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from attrs import frozen
from tensorflow.core.framework import node_def_pb2, types_pb2
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from navigator_core.errors import NavigatorError
from navigator_tf.batch_norm import plain
from navigator_tf.engine import said, tf

SEED = 20260101
DOUBLE = {
    types_pb2.DT_FLOAT: types_pb2.DT_DOUBLE,
    types_pb2.DT_HALF: types_pb2.DT_DOUBLE,
    types_pb2.DT_BFLOAT16: types_pb2.DT_DOUBLE,
    types_pb2.DT_COMPLEX64: types_pb2.DT_COMPLEX128,
}
BY_BITS = frozenset({"Bitcast"})
"""Operations that mean their very types: they are given these, whatever is around them."""

Rule = Callable[[Any], None]
"""Changes a GraphDef."""

_changes = itertools.count()


@frozen(eq=False)
class Program:
    """A graph without variables; ``inputs`` and ``outputs`` name its tensors in order."""

    graph: Any
    inputs: Sequence[str]
    outputs: Sequence[str]

    def function(self) -> Any:
        """It as TensorFlow's function of tensors in order, which returns a list.

        Raises NavigatorError for a graph that TensorFlow does not take.
        """
        try:
            whole = tf.compat.v1.wrap_function(lambda: tf.import_graph_def(self.graph, name=""), [])
            return whole.prune(list(self.inputs), list(self.outputs))
        except Exception as error:
            raise NavigatorError(f"its program cannot be evaluated anew: {said(error)}") from error


def program(concrete: Any) -> Program:
    """The graph of a traced function with its variables as constants: 2 GiB of them at most."""
    try:
        frozen_one = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
        graph = frozen_one.graph.as_graph_def()
    except Exception as error:
        raise NavigatorError(f"its variables cannot be made constants: {said(error)}") from error
    inputs = [one.name for one in frozen_one.inputs if one.dtype != tf.resource]
    return Program(graph, inputs, [one.name for one in frozen_one.outputs])


def changed(made: Program, rule: Rule) -> Program:
    """The program after a rule."""
    graph = type(made.graph)()
    graph.CopyFrom(made.graph)
    rule(graph)
    _rename_functions(graph)
    return Program(graph, made.inputs, made.outputs)


def _rename_functions(graph: Any) -> None:
    """Names are the process's: there, the functions of the program that was changed have theirs already."""
    number = next(_changes)
    names = {one.signature.name: f"{one.signature.name}_changed_{number}" for one in graph.library.function}
    for one in graph.library.function:
        one.signature.name = names[one.signature.name]
    for node in _nodes(graph):
        node.op = names.get(node.op, node.op)
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func:
                called.name = names.get(called.name, called.name)


def nudge(graph: Any) -> None:
    """Move every floating weight by one unit in the last place, up or down by a seeded coin.

    Weights are constants of one axis at least: a lone number is none more often. Zeros, infinities and NaN stay.
    """
    coin = np.random.default_rng(SEED)
    for node in sorted(_nodes(graph), key=lambda node: str(node.name)):  # their order is another in each process
        if node.op == "Const" and node.attr["dtype"].type in DOUBLE:
            array = tf.make_ndarray(node.attr["value"].tensor)
            if array.ndim and array.dtype.kind != "c":
                node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(_moved(array, coin)))


def _moved(array: np.ndarray, coin: np.random.Generator) -> np.ndarray:
    ends = np.where(coin.integers(0, 2, array.shape, dtype=bool), np.inf, -np.inf).astype(array.dtype)
    moved = np.nextafter(array, ends)
    stays = (array == 0) | ~np.isfinite(array) | ~np.isfinite(moved)
    found: np.ndarray = np.where(stays, array, moved).astype(array.dtype)
    return found


def _nodes(graph: Any) -> Iterator[Any]:
    yield from graph.node
    for one in graph.library.function:
        yield from one.node_def


def widen(graph: Any) -> None:
    """Make every floating type double, in constants, casts and functions alike.

    An operation that has no double is given what it had, with casts around it.
    """
    for one in graph.library.function:
        for argument in (*one.signature.input_arg, *one.signature.output_arg):
            argument.type = DOUBLE.get(argument.type, argument.type)
        moved = _rewrite(one.node_def, _in_function)
        for key, name in list(one.ret.items()):  # a map of protobuf must stay while it is read
            one.ret[key] = moved.get(name, name)
    apart = [new for node in graph.node for new in plain(node)]
    del graph.node[:]
    graph.node.extend(apart)
    _rewrite(graph.node, _in_graph)


def _rewrite(nodes: Any, output: Callable[[Any, int], str]) -> dict[str, str]:
    """Widen nodes in place; those that keep a type get casts. What is to be read in place of an output, by its name."""
    before: list[Any] = []
    after: list[Any] = []
    moved: dict[str, str] = {}
    for node in nodes:
        kept = _widen(node)
        for place, wanted in _of(node, kept, "input_arg"):
            cast = _cast(f"{node.name}/narrow_{place}", node.input[place], types_pb2.DT_DOUBLE, wanted)
            node.input[place] = output(cast, 0)
            before.append(cast)
        for place, found in _of(node, kept, "output_arg"):
            old = output(node, place)
            cast = _cast(f"{node.name}/wide_{place}", old, found, types_pb2.DT_DOUBLE)
            moved[old] = output(cast, 0)
            after.append(cast)
    for node in (*nodes, *before):
        for place, name in enumerate(node.input):
            node.input[place] = moved.get(name, name)
    nodes.extend([*before, *after])
    return moved


def _widen(node: Any) -> set[str]:
    """Widen a node's types; the names of those that stay, "" for any that its operation has fixed."""
    definition = op_def_registry.get(node.op)
    if node.op == "Const":
        if node.attr["dtype"].type in DOUBLE:
            wide = DOUBLE[node.attr["dtype"].type]
            array = tf.make_ndarray(node.attr["value"].tensor).astype(tf.as_dtype(wide).as_numpy_dtype)
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))
            node.attr["dtype"].type = wide
        return set()
    allowed = {one.name: list(one.allowed_values.list.type) for one in definition.attr} if definition else {}
    kept = {""}
    for name, value in node.attr.items():
        if value.WhichOneof("value") == "type" and value.type in DOUBLE:
            wide = DOUBLE[value.type]
            if node.op in BY_BITS or (allowed.get(name) and wide not in allowed[name]):
                kept.add(name)
            else:
                value.type = wide
        elif value.WhichOneof("value") == "list":
            for place, one in enumerate(value.list.type):
                value.list.type[place] = DOUBLE.get(one, one)
    return kept


def _of(node: Any, kept: set[str], ends: str) -> Iterator[tuple[int, int]]:
    """The places of tensors that are still of a type to be widened, with it."""
    definition = op_def_registry.get(node.op)
    place = 0
    for argument in getattr(definition, ends, ()) if definition else ():
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        if argument.type_list_attr:
            count = len(node.attr[argument.type_list_attr].list.type)
        found = argument.type
        if argument.type_attr in kept and argument.type_attr:
            found = node.attr[argument.type_attr].type
        if found in DOUBLE:
            yield from ((place + number, found) for number in range(count))
        place += count


def _cast(name: str, source: str, given: int, wanted: int) -> Any:
    node = node_def_pb2.NodeDef(name=name, op="Cast", input=[source])
    node.attr["SrcT"].type, node.attr["DstT"].type = given, wanted
    return node


def _in_graph(node: Any, place: int) -> str:
    """How a graph's nodes name an output."""
    return f"{node.name}:{place}" if place else str(node.name)


def _in_function(node: Any, place: int) -> str:
    """How a function's nodes do. Raises NavigatorError for an output that there is not."""
    for argument in op_def_registry.get(node.op).output_arg:
        count = node.attr[argument.number_attr].i if argument.number_attr else 1
        if place < count:
            return f"{node.name}:{argument.name}:{place}"
        place -= count
    raise NavigatorError(f"{node.op} has no such output")
