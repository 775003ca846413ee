"""Containers: taken apart into named leaves and put together again."""

import collections
import enum
import types
from dataclasses import dataclass, field
from typing import NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import serde
from navigator_core.errors import RequestError
from navigator_core.structure import (
    AttributeDict,
    Constant,
    Container,
    Leaf,
    Node,
    brief,
    classes,
    container_class,
    describe,
    flatten,
    leaves,
    meet,
    outline,
    rebuild,
    rename,
    replace_children,
    same,
    unbuildable,
)

A, B = np.arange(3.0), np.ones((2, 2))


class Pair(NamedTuple):
    first: object
    second: object


class Nothing(NamedTuple):
    pass


@dataclass
class Point:
    x: object
    y: object
    length: object = field(default=0, init=False)


@attrs.frozen
class Box:
    _inside: object
    label: str = "box"


class Encoding(collections.UserDict):
    """As tokenizers return: a Mapping that is no dict."""


class Fussy(dict):
    """A mapping whose constructor wants something else."""

    def __init__(self, size):
        super().__init__()
        self.size = size


arrays = st.integers(0, 9).map(lambda n: np.full((2,), n))
constants = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
names = st.text("abc", min_size=1, max_size=2)


def containers(inner):
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(names, inner, max_size=3),
        st.dictionaries(st.integers(-3, 3), inner, max_size=3),
        st.dictionaries(names, inner, max_size=3).map(Encoding),
        st.dictionaries(names, inner, max_size=3).map(collections.OrderedDict),
        st.builds(Pair, inner, inner),
        st.builds(Point, inner, inner),
        st.builds(Box, inner),
        st.builds(Nothing),
    )


trees = st.recursive(arrays | constants, containers, max_leaves=8)


def identical(a, b):
    """The same classes holding the very same tensors and equal constants."""
    if isinstance(a, np.ndarray):
        return a is b
    if type(a) is not type(b):
        return False
    if isinstance(a, dict | collections.UserDict):
        return list(a) == list(b) and all(identical(a[key], b[key]) for key in a)
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, Point):
        return identical((a.x, a.y), (b.x, b.y))
    if isinstance(a, Box):
        return identical((a._inside, a.label), (b._inside, b.label))
    return a == b


@given(trees)
def test_what_is_taken_apart_is_put_together_again(value):
    node, found = describe(value, "x")
    assert identical(rebuild(node, found), value)
    assert identical(rebuild(node, flatten(node, value)), value)


@given(trees)
def test_every_leaf_has_a_name_of_its_own_and_flatten_gives_the_same_ones(value):
    node, found = describe(value, "")
    assert [leaf.name for leaf in leaves(node)] == list(found)
    assert list(flatten(node, value)) == list(found)


@given(trees)
def test_a_tree_survives_being_written_down(value):
    node, found = describe(value, "x")
    again = serde.from_data(serde.to_data(node, Node), Node)
    assert again == node
    assert identical(rebuild(again, found), value)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (A, ["x"]),
        ((A, [A, {"key": A}]), ["x.0", "x.1.0", "x.1.1.key"]),
        ({"levels": (A, A), "n": 3}, ["x.levels.0", "x.levels.1"]),
        ({0: A, 7: A}, ["x.0", "x.7"]),
        (Pair(A, Point(A, None)), ["x.first", "x.second.x"]),
        (Box(A), ["x.inside"]),
        (Encoding(ids=A, mask=B), ["x.ids", "x.mask"]),
        (types.MappingProxyType({"a": A}), ["x.a"]),
        (np.float32(3), ["x"]),
        ((), []),
        ([[], {}, ()], []),
    ],
    ids=lambda value: type(value).__name__,
)
def test_leaves_are_named_by_their_dotted_path(value, names):
    assert list(describe(value, "x")[1]) == names


@pytest.mark.parametrize(
    "value",
    [{"a.b": A, "a": {"b": B}}, {0: A, "0": B}, {"a": {"b.c": A}, "a.b": {"c": B}}],
    ids=["dot", "digit", "deep"],
)
def test_two_tensors_of_one_name_are_an_error(value):
    with pytest.raises(RequestError, match="two tensors are called"):
        describe(value, "x")


@pytest.mark.parametrize("key", [(1, 2), None, True, 1.5, enum.Enum("Kind", "a").a, np.int64(1)], ids=repr)
def test_keys_that_are_neither_str_nor_int_are_an_error(key):
    with pytest.raises(RequestError, match="keys must be str or int"):
        describe({"inside": {key: A}}, "x")


@pytest.mark.parametrize("value", [object(), b"bytes", 1j, enum.Enum("Kind", "a").a, {1, 2}, np.ndarray])
def test_what_a_model_returns_beside_tensors_must_be_plain(value):
    with pytest.raises(RequestError, match="neither tensor, container nor constant"):
        describe((A, value), "", constants=False)
    assert isinstance(describe((A, value), "")[0].children[1], Constant)


# other values of the same tree


@pytest.mark.parametrize(
    ("like", "value", "message"),
    [
        ((A, A), (A,), r"expected tuple\(tensor, tensor\) at 'the top', found a tuple with 0"),
        ({"a": A}, {"b": A}, r"expected \{'a': tensor\} at 'the top', found a dict with 'b'"),
        ({"a": (A, A)}, {"a": A}, r"expected tuple\(tensor, tensor\) at 'a', found a tensor of shape \(3,\)"),
        ((A, 3), (A, 4), "'1' is a constant, 3 in the samples, but 4 here"),
        ((A, None), (A, A), "'1' is a constant, None in the samples, but a tensor of shape"),
        ((A, A), (A, 2.0), "expected a tensor at '1', found 2.0"),
        (Pair(A, A), (A, A), "expected"),
    ],
)
def test_a_value_built_in_another_way_is_an_error_that_names_the_place(like, value, message):
    with pytest.raises(RequestError, match=message):
        flatten(describe(like, "")[0], value)


def test_keys_may_come_in_any_order_and_lists_pass_for_tuples():
    node, _ = describe({"a": (A, B), "b": B}, "")
    found = flatten(node, {"b": B, "a": [A, B]})
    assert {name: id(value) for name, value in found.items()} == {"a.0": id(A), "a.1": id(B), "b": id(B)}


def test_renamed_leaves_keep_their_places():
    node, found = describe((A, {"k": B}), "x")
    renamed = rename(node, {"x.0": "ids"})
    assert [leaf.name for leaf in leaves(renamed)] == ["ids", "x.1.k"]
    assert identical(rebuild(renamed, {"ids": A, "x.1.k": found["x.1.k"]}), (A, {"k": B}))


# classes


def test_a_local_class_that_was_met_is_rebuilt():
    @dataclass
    class Local:
        a: object

    value = Local(A)
    node, found = describe(value, "x")
    assert unbuildable(node) == []
    assert type(rebuild(node, found)) is Local


def test_a_class_that_cannot_be_had_becomes_a_dict_that_answers_to_attributes():
    node = Container("record", "nowhere.at_all:Output", ("logits", "n"), (Leaf("logits"), Constant(3)))
    assert unbuildable(Container("tuple", None, (0,), (node,))) == ["nowhere.at_all:Output"]
    value = rebuild(node, {"logits": A})
    assert isinstance(value, AttributeDict)
    assert value.logits is value["logits"] is A
    with pytest.raises(AttributeError, match="no 'hidden'; it has logits, n"):
        value.hidden  # noqa: B018


def test_a_class_whose_constructor_wants_something_else_becomes_such_a_dict_too():
    value = Fussy(3)
    value["a"] = A
    made = collections.defaultdict(list, {"b": B, "c": A})
    node, found = describe((value, made), "x")
    first, second = rebuild(node, found)
    assert (type(first), type(second)) == (AttributeDict, AttributeDict)
    assert first.a is A
    assert second["b"] is B


def test_classes_that_another_process_needs_can_be_taken_along():
    class Far(dict):
        pass

    node, found = describe([Far(a=A), Point(B, 1)], "")
    taken = classes([node, None, Leaf("x")])
    assert set(taken.values()) == {Far, Point}
    meet({"elsewhere:Far": Far})
    assert container_class("elsewhere:Far") is Far
    assert found


@pytest.mark.parametrize(
    "name", ["os:system", "builtins:eval", "subprocess:Popen", "os:path", "nowhere:X", "builtins:int"]
)
def test_only_container_classes_are_imported_by_name(name):
    assert container_class(name) is None
    assert rebuild(Container("mapping", name, ("a",), (Constant("echo"),)), {}) == {"a": "echo"}


def test_children_can_be_replaced_whatever_the_container():
    double = lambda value: value * 2  # noqa: E731
    assert replace_children(Pair(1, 2), double) == Pair(2, 4)
    assert replace_children({"a": 1}, double) == {"a": 2}
    assert replace_children(Encoding(a=1), double) == Encoding(a=2)
    assert replace_children([1, 2], double) == [2, 4]
    assert replace_children(3, double) == 3


# words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (A, "tensor"),
        ((A, {"a": A}), "tuple(tensor, {'a': tensor})"),
        ([A, "x" * 99], "list(tensor, a str)"),
    ],
)
def test_an_outline_says_how_a_value_is_built(value, text):
    assert outline(describe(value, "")[0]) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (B, "a tensor of shape (2, 2)"),
        ((), "a tuple with nothing inside"),
        (Pair(1, 2), "a Pair with 'first', 'second'"),
        ("x" * 99, "a str"),
        (2.5, "2.5"),
    ],
)
def test_a_value_is_described_in_a_few_words(value, text):
    assert brief(value) == text


class Unequal:
    def __eq__(self, other):
        raise RuntimeError("not comparable")

    __hash__ = None


@pytest.mark.parametrize(
    ("a", "b", "equal"),
    [
        (1, 1, True),
        ("a", "b", False),
        (float("nan"), float("nan"), True),
        (Unequal(), Unequal(), False),
        ({1}, {1}, True),
    ],
)
def test_constants_are_compared_without_ever_raising(a, b, equal):
    assert same(a, b) is equal
