"""Calls bound by what was worked out once, against the same rules read off the signature for every call."""

import collections
import copy
import pickle
from typing import NamedTuple

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import Dim, Signature, TensorSpec, serde
from navigator_core.errors import RequestError
from navigator_core.signature import Parameter, Structure
from navigator_core.structure import Constant, Leaf, brief, children, describe, leaves, outline, same
from navigator_core.tensors import is_tensor

KINDS = ["positional", "either", "variadic", "keyword"]
A, B = np.arange(3.0), np.ones((2, 2))


class Pair(NamedTuple):
    first: object
    second: object


@attrs.frozen
class Box:
    inside: object


class Encoding(collections.UserDict):
    """As tokenizers return: a Mapping that is no dict."""


def containers(inner):
    mappings = st.dictionaries(st.sampled_from(["a", "b", 0, 1]), inner, max_size=3)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        mappings,
        mappings.map(Encoding),
        mappings.map(collections.OrderedDict),
        st.builds(Pair, inner, inner),
        st.builds(Box, inner),
    )


arrays = st.builds(np.zeros, st.integers(1, 3))
constants = st.sampled_from([None, True, 1, 1.0, 0, "text", float("nan"), (), np.dtype])
trees = st.recursive(arrays | arrays | arrays | constants, containers, max_leaves=6)


@st.composite
def nearly(draw, value):
    """The value, or one that differs from it in one place: another class, order, length, tensor or constant."""
    if type(value) not in (list, tuple, dict):
        return draw(trees)
    how = draw(st.sampled_from(["inside", "inside", "inside", "class", "order", "fewer", "more"]))
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
    if how == "inside" and items:
        place = draw(st.integers(0, len(items) - 1))
        items[place] = items[place][0], draw(nearly(items[place][1]))
    if how == "order":
        items.reverse()
    if how == "fewer":
        items = items[:-1]
    if how == "more":
        items.append((2, draw(trees)))
    if isinstance(value, dict):
        return (collections.OrderedDict if how == "class" else dict)(items)
    inside = [item for _, item in items]
    return tuple(inside) if isinstance(value, tuple) != (how == "class") else inside


@attrs.frozen
class Drawn:
    """A signature, and the value of each parameter in the samples; ``()`` for one that was left out."""

    signature: Signature
    values: tuple


@st.composite
def signatures(draw):
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    kinds.sort(key=KINDS.index)
    kinds = [kind for n, kind in enumerate(kinds) if kind != "variadic" or kind not in kinds[:n]]
    parameters, values = [], []
    for name, kind in zip("pqrs", kinds, strict=False):
        if draw(st.integers(0, 9)) == 0:
            parameters.append(Parameter(name, kind, "absent"))
            values.append(())
            continue
        value = draw(st.lists(trees, min_size=1, max_size=2).map(tuple) if kind == "variadic" else trees)
        given = {"variadic": "positional", "positional": "positional", "keyword": "keyword"}.get(kind)
        node = describe(value, name)[0]
        parameters.append(Parameter(name, kind, given or draw(st.sampled_from(["positional", "keyword"])), node))
        values.append(value)
    names = [leaf.name for parameter in parameters for leaf in leaves(parameter.node)]
    inputs = tuple(TensorSpec(name, "float64", (Dim("batch"),)) for name in names)
    return Drawn(Signature(inputs, (), Structure(tuple(parameters))), tuple(values))


@st.composite
def calls(draw, drawn):
    """A call that fits, or goes wrong in a way that users find."""
    args, kwargs = [], {}
    by_position = draw(st.integers(0, 5))
    wrong = draw(st.sampled_from(["", "", "value", "value", "value", "absent", "surplus", "fewer", "unknown", "twice"]))
    place = draw(st.integers(0, len(drawn.values) - 1))
    for n, (parameter, value) in enumerate(zip(drawn.signature.structure.parameters, drawn.values, strict=True)):
        if parameter.node is None and wrong != "absent":
            continue
        passed = draw(nearly(value)) if wrong == "value" and n == place else value
        if parameter.kind == "variadic":
            args.extend(passed if isinstance(passed, tuple | list) else [passed])
        elif parameter.kind == "keyword" or (parameter.kind == "either" and len(args) >= by_position):
            kwargs[parameter.name] = passed
        else:
            args.append(passed)
    args += [A] if wrong == "surplus" else []
    args = args[:-1] if wrong == "fewer" else args
    kwargs |= {"unknown": {"zz": A}, "twice": {"p": A}}.get(wrong, {})
    names = draw(st.permutations(list(kwargs)))
    return tuple(args), {name: kwargs[name] for name in names}


def outcome(unbind, *call):
    """The tensors by name, in order, or the words of the error."""
    try:
        return [(name, id(tensor)) for name, tensor in unbind(*call).items()]
    except RequestError as error:
        return str(error)


@given(st.data())
def test_a_call_is_taken_apart_as_the_rules_say_or_refused_in_their_words(data):
    drawn = data.draw(signatures())
    for args, kwargs in data.draw(st.lists(calls(drawn), min_size=1, max_size=3)):
        expected = outcome(lambda *call: by_the_rules(drawn.signature, *call), args, kwargs)
        assert outcome(drawn.signature.unbind, args, kwargs) == expected
        assert outcome(drawn.signature.unbind, list(args), kwargs) == expected


def by_the_rules(signature, args, kwargs):
    """`Signature.unbind`, the long way: nothing is worked out beforehand."""
    found = {}
    for parameter, value in arguments(signature.parameters, args, kwargs):
        if parameter.node is None:
            raise RequestError(
                f"argument {parameter.name!r} was left out in the samples, so it is fixed at its default; "
                "to use it, optimize again with samples that pass it"
            )
        try:
            take_apart(parameter.node, value, "", found)
        except RequestError as error:
            raise RequestError(f"argument {parameter.name!r}: {error}") from None
    missing = [spec.name for spec in signature.inputs if spec.name not in found]
    if missing:
        raise RequestError(f"missing input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))}")
    return found


def arguments(parameters, args, kwargs):
    positional = [p for p in parameters if p.kind in ("positional", "either")]
    rest = next((p for p in parameters if p.kind == "variadic"), None)
    found = list(zip(positional, args, strict=False))
    if rest is not None and len(args) > len(positional):
        found.append((rest, tuple(args[len(positional) :])))
    elif len(args) > len(positional):
        names = ", ".join(p.name for p in positional)
        raise RequestError(f"{len(args)} positional arguments where the model takes {len(positional)}: {names}")
    by_name = {p.name: p for p in parameters if p.kind in ("either", "keyword")}
    for name, value in kwargs.items():
        if name not in by_name:
            names = ", ".join(p.name for p in parameters)
            raise RequestError(f"unknown argument {name!r}; the model takes {names}")
        if any(parameter is by_name[name] for parameter, _ in found):
            raise RequestError(f"argument {name!r} is given twice: by position and by name")
        found.append((by_name[name], value))
    return found


def take_apart(node, value, path, found):
    if isinstance(node, Leaf):
        if not is_tensor(value):
            raise RequestError(f"expected a tensor at {path or node.name!r}, found {brief(value)}")
        found[node.name] = value
    elif isinstance(node, Constant):
        if is_tensor(value) or not same(node.value, value):
            raise RequestError(
                f"{repr(path) if path else 'it'} is a constant, {brief(node.value)} in the samples, but {brief(value)} "
                "here; a value that changes from call to call must be a tensor"
            )
    else:
        items = children(value)
        alike = items and (node.kind == items[0] or {node.kind, items[0]} == {"tuple", "list"})
        if not alike or items[1].keys() != set(node.keys):
            raise RequestError(f"expected {outline(node)} at {path or 'the top'!r}, found {brief(value)}")
        for key, child in zip(node.keys, node.children, strict=True):
            take_apart(child, items[1][key], f"{path}.{key}" if path else str(key), found)


# what the rules above leave open


def one(value, kind="either"):
    """A signature of one parameter, ``x``, passed like this in the samples."""
    node, found = describe(value, "x")
    inputs = tuple(TensorSpec(name, "float64", ()) for name in found)
    return Signature(inputs, (), Structure((Parameter("x", kind, "positional", node),)))


@pytest.mark.parametrize(
    ("like", "value"),
    [
        ({"a": A}, {"a": A, "b": B}),
        ({"a": A}, {}),
        ({0: A}, [A]),
        ([A], [A, B]),
        ((A, B), [A]),
        ((A, B), Pair(A, B)),
        (Pair(A, B), (A, B)),
        (Box(A), {"inside": A}),
    ],
    ids=str,
)
def test_a_container_with_more_or_less_inside_or_of_another_kind_is_refused(like, value):
    with pytest.raises(RequestError, match="argument 'x': expected"):
        one(like).unbind((value,), {})


def test_a_dict_that_makes_up_what_it_lacks_is_still_taken_apart_by_what_it_has():
    lacking = collections.defaultdict(lambda: B, {"a": A})
    with pytest.raises(RequestError, match=r"expected \{'a': tensor, 'b': tensor\} at 'the top'"):
        one({"a": A, "b": B}).unbind((lacking,), {})
    assert list(lacking) == ["a"]


def test_a_signature_that_was_used_is_the_same_value_still():
    used, fresh = one({"a": (A, 3)}), one({"a": (A, 3)})
    used.unbind(({"a": (A, 3)},), {})
    assert (used, hash(used), repr(used)) == (fresh, hash(fresh), repr(fresh))
    assert serde.to_data(used) == serde.to_data(fresh)
    for again in (copy.copy(used), copy.deepcopy(used), pickle.loads(pickle.dumps(used)), attrs.evolve(used)):
        assert again == fresh
        assert again.unbind(({"a": (A, 3)},), {})["x.a.0"] is A


def test_other_parameters_are_bound_in_another_way():
    made = one((A, "first"))
    assert made.bind({"x.0": B}).args == ((B, "first"),)
    other = made.with_parameters(one((A, "second")).parameters)
    assert other.bind({"x.0": B}).args == ((B, "second"),)


def test_what_is_built_is_new_in_every_call():
    output = describe({"pair": [A, (B,)], "n": 2}, "")[0]
    made = Signature((), (), Structure((), output))
    first, second = (made.rebuild({"pair.0": A, "pair.1.0": B}) for _ in range(2))
    first["pair"].append(3)
    first["more"] = 4
    assert second == {"pair": [A, (B,)], "n": 2}
