from __future__ import annotations

import enum
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import (
    DeviceInfo,
    Dim,
    Names,
    Precision,
    Probe,
    Ref,
    Requirement,
    Signature,
    Tensors,
    TensorSpec,
    Variant,
    serde,
)
from navigator_core.results import Estimate, Measurement, Objective, OutputError, Tolerance, Verdict
from navigator_core.signature import Parameter, Structure
from navigator_core.structure import Constant, Container, Leaf, Node

if TYPE_CHECKING:
    from nowhere import Missing

text = st.text(max_size=10)
names = st.text(min_size=1, max_size=8)
counts = st.integers(min_value=-(2**63), max_value=2**63)
scalars = st.none() | st.booleans() | counts | st.floats(allow_nan=False) | text
plain = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["float", "opaque", "pairs", "object", "class", "a"]) | text, inner, max_size=3
        )
        | st.dictionaries(st.integers() | st.none() | text, inner, max_size=3)
    ),
    max_leaves=8,
)
estimates = st.builds(Estimate, *[st.floats(allow_nan=False)] * 3)
tolerances = st.builds(Tolerance, rtol=st.floats(allow_nan=False), atol=st.floats(allow_nan=False))
dims = st.builds(Dim, names, counts, st.none() | counts)
specs = st.builds(TensorSpec, names, names, st.lists(counts | dims, max_size=4).map(tuple))
nodes = st.recursive(
    st.builds(Leaf, names) | st.builds(Constant, plain),
    lambda inner: st.lists(st.tuples(names | counts, inner), max_size=3).map(
        lambda items: Container("mapping", None, tuple(k for k, _ in items), tuple(n for _, n in items))
    ),
    max_leaves=6,
)
parameters = st.builds(
    Parameter,
    names,
    st.sampled_from(["positional", "either", "keyword", "variadic"]),
    st.sampled_from(["positional", "keyword", "absent"]),
    st.none() | nodes,
)
structures = st.builds(Structure, st.lists(parameters, max_size=3).map(tuple), st.none() | nodes)
signatures = st.builds(
    Signature, st.lists(specs, max_size=3).map(tuple), st.lists(specs, max_size=2).map(tuple), st.none() | structures
)
refs = st.builds(Ref, names)
values = st.one_of(
    signatures,
    estimates,
    tolerances,
    specs,
    refs,
    st.builds(
        Measurement,
        counts,
        estimates,
        st.none() | estimates,
        st.none() | estimates,
        estimates,
        st.none() | st.floats(allow_nan=False),
        st.dictionaries(names, counts, max_size=2),
        counts,
        st.none() | text,
    ),
    st.builds(
        Verdict,
        st.booleans(),
        st.dictionaries(
            names, st.builds(OutputError, *[st.floats(allow_nan=False)] * 4, tolerances, st.booleans()), max_size=2
        ),
        st.dictionaries(names, text, max_size=2),
        st.dictionaries(names, st.floats(allow_nan=False), max_size=2),
    ),
    st.builds(
        Objective,
        minimize=st.none() | text,
        maximize=st.none() | text,
        batch_size=st.none() | counts,
        limits=st.lists(text, max_size=2).map(tuple),
    ),
    st.builds(Names, st.dictionaries(names, names, max_size=2), st.dictionaries(names, names, max_size=2)),
    st.builds(Precision, names, st.floats(allow_nan=False)),
    st.builds(Requirement, st.lists(names, min_size=1, max_size=2).map(tuple), st.none() | text),
    st.builds(Tensors, name=names, source=refs),
    st.builds(DeviceInfo, names, text, counts),
)


@given(values)
def test_every_value_comes_back_equal(value):
    assert serde.loads(serde.dumps(value), type(value)) == value


@given(plain)
def test_plain_data_comes_back_equal_even_where_it_looks_like_a_form_of_ours(value):
    assert serde.loads(serde.dumps(value), Any) == value


@given(plain)
def test_data_is_strict_json(value):
    assert serde.parse(json.dumps(serde.to_data(value), allow_nan=False)) == serde.to_data(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_survive_in_fields_and_in_constants(number):
    estimate = serde.loads(serde.dumps(Estimate(number, 1.0, 2.0)), Estimate)
    constant = serde.loads(serde.dumps(Constant([number])), Constant)
    assert repr(estimate.value) == repr(constant.value[0]) == repr(number)


class Colour(enum.Enum):
    RED = 1


@pytest.mark.parametrize("value", [1 + 2j, b"bytes", Colour.RED, int, {1, 2}, {(1, 2): 3}])
def test_an_object_that_is_no_plain_data_comes_back_as_its_repr(value):
    assert serde.to_data(Constant(value)) == {"value": {"opaque": repr(value)}}
    assert serde.loads(serde.dumps(Constant(value)), Constant) == Constant(repr(value))


def test_a_tree_alone_needs_its_declared_type():
    tree: Node = Container("tuple", None, (0, 1), (Leaf("a"), Constant(None)))
    data = serde.to_data(tree, Node)
    assert data["class"] == "Container"
    assert serde.from_data(data, Node) == tree


def test_classes_of_one_union_are_told_apart():
    variant = Variant("v", requirements=("onnx>=1.15", Probe("a:b", "buy one")))
    assert serde.loads(serde.dumps(variant), Variant) == variant


def test_tuples_of_values_and_paths_have_their_declared_type():
    pairs = (Dim("batch"), Dim("seq", 2, 9))
    assert serde.loads(serde.dumps(pairs, tuple[Dim, ...]), tuple[Dim, ...]) == pairs
    assert serde.loads(serde.dumps(Path("/a b"), Path), Path) == Path("/a b")


def test_values_inside_plain_containers_can_be_read_one_by_one():
    data = serde.to_data({"signature": Signature((TensorSpec("x", "float32", (Dim("batch"), 3)),))})
    assert serde.from_data(data["signature"], Signature).inputs[0].shape == (Dim("batch"), 3)


def test_numpy_scalars_pass_for_pythons_own():
    estimate = Estimate(np.float32(0.5), np.float64("nan"), np.int64(2))
    assert serde.to_data(estimate) == {"value": 0.5, "low": {"float": "nan"}, "high": 2.0}
    assert serde.to_data(DeviceInfo("cpu", "d", np.int64(7)))["memory"] == 7
    assert serde.to_data(Verdict(np.bool_(True), {}, {}))["ok"] is True


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Leaf(3), "expected str, found 3"),
        (Dim("n", "1"), "expected int, found '1'"),
        (Estimate("1", 0.0, 0.0), "expected float, found '1'"),
        (Verdict("yes", {}, {}), "expected bool, found 'yes'"),
        (TensorSpec("x", "float32", (1.5,)), "found 1.5"),
        (Container("mapping", None, ((1, 2),), (Leaf("a"),)), "found (1, 2)"),
    ],
)
def test_a_field_with_the_wrong_value_is_refused_when_written(value, expected):
    with pytest.raises(TypeError) as caught:
        serde.dumps(value)
    assert expected in str(caught.value)


@attrs.frozen
class SloppyOptions:
    level: int = None
    missing: Missing | None = None


def test_a_plugins_options_are_taken_as_they_are_where_their_annotations_do_not_hold():
    assert serde.to_data(Variant("v", options=SloppyOptions("high")))["options"] == {"level": "high", "missing": None}
    with pytest.raises(TypeError, match="annotation of SloppyOptions"):
        serde.to_data(SloppyOptions())


@attrs.frozen
class Options:
    pair: tuple[int, float] = (1, 2.0)
    names: list[str] | None = None
    colour: Colour = Colour.RED


def test_options_may_hold_other_containers_and_enums():
    options = Options((3, math.inf), ["a"])
    assert serde.loads(serde.dumps(options), Options) == options


@pytest.mark.parametrize(
    ("data", "cls", "message"),
    [
        ({"name": "x", "dtype": "f", "shape": [1, "3"]}, TensorSpec, "found '3' @ TensorSpec.shape[1]"),
        ({"name": "x", "dtype": "f", "shape": [{"class": "Dim", "name": "n", "min": True}]}, TensorSpec, "[0].min"),
        ({"name": "x", "dtype": "f", "shape": "123"}, TensorSpec, "expected a list, found '123' @ TensorSpec.shape"),
        ({"name": "x", "dtype": "f"}, TensorSpec, "required field missing @ TensorSpec.shape"),
        ({"name": "x", "minimum": 3}, Dim, "extra fields found (minimum) @ Dim"),
        ({"inputs": {"a": 1}}, Names, "expected str, found 1 @ Names.inputs['a']"),
        ({"inputs": [1]}, Names, "expected an object, found [1] @ Names.inputs"),
        ({"value": {"float": "one"}, "low": 0, "high": 0}, Estimate, "Estimate.value"),
        ({"name": "a", "kind": "other", "given": "keyword"}, Parameter, "other not in literal"),
        ({"name": "a", "kind": "either", "given": "keyword", "node": {"class": "os.system"}}, Parameter, ".node"),
        ({"name": "a", "kind": "either", "given": "keyword", "node": {"class": ["Leaf"]}}, Parameter, ".node"),
        ({"value": {"pairs": 3}}, Constant, "Constant.value"),
        ({"value": {"pairs": [[[], 1]]}}, Constant, "unhashable"),
        (None, Dim, "expected an object (Dim), found None"),
        (3, Path, "expected a path"),
    ],
)
def test_an_error_says_what_is_wrong_where(data, cls, message):
    with pytest.raises(ValueError) as caught:
        serde.from_data(data, cls)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[NaN]", '{"a": 1, "a": 2}', "[" * 100_000, "[" * 101 + "]" * 101, b"\xff\xfe\xfd", "9" * 10_000],
)
def test_text_that_is_not_acceptable_json_is_a_value_error(text):
    with pytest.raises(ValueError):
        serde.parse(text)


def test_depth_ends_at_one_limit_for_writing_and_reading():
    tree: Node = Leaf("x")
    for _ in range(45):
        tree = Container("list", None, (0,), (tree,))
    assert serde.loads(serde.dumps(tree, Node), Node) == tree
    for _ in range(45):
        tree = Container("list", None, (0,), (tree,))
    with pytest.raises(ValueError, match="nested more than 100"):
        serde.dumps(tree, Node)


def test_canonical_is_the_same_for_any_order_and_ascii():
    assert serde.canonical({"b": [1.0, None], "a": "é"}) == b'{"a":"\\u00e9","b":[1.0,null]}'
    assert serde.canonical({"a": 1, "b": 2}) == serde.canonical({"b": 2, "a": 1})


@given(st.lists(plain, min_size=1, max_size=3))
def test_a_digest_depends_on_the_values_and_on_where_one_ends(parts):
    assert serde.digest(*parts) == serde.digest(*parts)
    assert serde.digest(*parts) != serde.digest(*parts, None) != serde.digest([*parts, None])


def test_a_digest_takes_values_and_tells_types_apart():
    assert serde.digest(Dim("a")) != serde.digest(Dim("b"))
    assert len({serde.digest(value) for value in (1, 1.0, True, "1", None, math.nan)}) == 6
    assert serde.digest("a", {"x": 1, "y": 2}) == serde.digest("a", {"y": 2, "x": 1})
