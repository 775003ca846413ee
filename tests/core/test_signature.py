"""The call of a model: bound to tensors, and taken apart again."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import Call, Dim, Signature, TensorSpec, samples, serde
from navigator_core.errors import RequestError
from navigator_core.signature import Parameter, Structure, describe_outputs

A, B, C = np.zeros((2, 3)), np.ones((2, 3)), np.full((2,), 2)


def signature(function, call):
    parameters, rest = samples.parameters_of(inspect.signature(function))
    return samples.initial_signature(samples.gather([call], parameters, rest, None))


def plain(a, b, c=None, *, d=None):
    return a, b, c, d


def variadic(a, *rest, flag=True):
    return a, rest, flag


def keywords(a, /, b=None, **more):
    return a, b, more


CALLS = [
    (plain, Call((A, B))),
    (plain, Call((A,), {"b": B})),
    (plain, Call((), {"b": B, "a": A})),
    (plain, Call((A, (B, {"k": C})), {"d": [C]})),
    (plain, Call((A, 3, None), {"d": B})),
    (variadic, Call((A,))),
    (variadic, Call((A, B, (C, 1)))),
    (variadic, Call((A, B), {"flag": False})),
    (keywords, Call((A,))),
    (keywords, Call((A,), {"z": B, "y": 3})),
    (keywords, Call(({"x": A},), {"b": C})),
]


@pytest.mark.parametrize(("function", "call"), CALLS, ids=range(len(CALLS)))
def test_binding_the_tensors_of_a_call_gives_the_call_again(function, call):
    made = signature(function, call)
    tensors = made.unbind(call.args, call.kwargs)
    assert tensors.keys() == {spec.name for spec in made.inputs}
    bound = made.bind(tensors)
    np.testing.assert_equal(function(*bound.args, **bound.kwargs), function(*call.args, **call.kwargs))
    again = made.unbind(bound.args, bound.kwargs)
    assert {name: id(value) for name, value in again.items()} == {name: id(value) for name, value in tensors.items()}


@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 3))
def test_arguments_may_be_passed_in_any_way(order, positional):
    made = signature(plain, Call((A, B, C), {"d": C}))
    given = dict(zip("abcd", (A, B, C, C), strict=True))
    args = [given[name] for name in "abc"[:positional]]
    kwargs = {name: given[name] for name in order if name not in "abc"[:positional]}
    found = made.unbind(args, kwargs)
    assert {name: id(value) for name, value in found.items()} == {name: id(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((A,), {}, "missing input 'b'"),
        ((), {}, "missing inputs 'a', 'b'"),
        ((A, B, C), {}, "argument 'c' was left out in the samples"),
        ((A, B, C, C), {}, "4 positional arguments where the model takes 3: a, b, c"),
        ((A, B), {"e": C}, "unknown argument 'e'; the model takes a, b, c, d"),
        ((A, B), {"a": C}, "argument 'a' is given twice"),
        ((A, 3), {}, "argument 'b': expected a tensor at 'b', found 3"),
        (((A,), B), {}, "argument 'a': expected a tensor"),
    ],
)
def test_arguments_that_do_not_fit_are_an_error_that_names_them(args, kwargs, message):
    with pytest.raises(RequestError, match=message):
        signature(plain, Call((A, B))).unbind(args, kwargs)


def test_a_file_is_called_by_name_or_in_declared_order():
    file = Signature((TensorSpec("ids", "int64", (2,)), TensorSpec("mask", "int64", (2,))))
    by_order, by_name = file.unbind((A, B), {}), file.unbind((), {"mask": B, "ids": A})
    assert by_order["ids"] is by_name["ids"] is A
    assert file.bind({"ids": A, "mask": B}).kwargs.keys() == {"ids", "mask"}


# outputs


@pytest.mark.parametrize(
    ("outputs", "names"),
    [
        (A, ["output"]),
        ((A,), ["0"]),
        ((A, B), ["0", "1"]),
        ({"logits": A, "hidden": (B, C), "loss": None}, ["logits", "hidden.0", "hidden.1"]),
        (np.float32(1), ["output"]),
    ],
)
def test_outputs_are_named_by_their_place_and_come_back_in_it(outputs, names):
    node, found = describe_outputs(outputs)
    assert list(found) == names
    made = Signature((), tuple(TensorSpec(name, "float32", ()) for name in found), Structure((), node))
    np.testing.assert_equal(made.rebuild(made.flatten(outputs)), outputs)


@pytest.mark.parametrize("outputs", [None, 3.0, (), {"a": None}, "text"])
def test_a_model_that_returns_no_tensor_is_an_error(outputs):
    with pytest.raises(RequestError, match="holds no tensor"):
        describe_outputs(outputs)


def test_outputs_of_a_file_come_as_a_dict_in_declared_order():
    file = Signature((), (TensorSpec("b", "float32", ()), TensorSpec("a", "float32", ())))
    assert list(file.rebuild({"a": A, "b": B})) == ["b", "a"]


# axes


def test_the_batch_axis_is_the_one_of_that_name():
    assert TensorSpec("x", "float32", (3, Dim("batch"), Dim("time"))).batch_axis == 1
    assert TensorSpec("x", "float32", (3, Dim("time"))).batch_axis is None
    assert TensorSpec("x", "float32", ()).batch_axis is None


def test_a_wider_batch_reaches_every_tensor_and_is_never_narrowed():
    spec = TensorSpec("x", "float32", (Dim("batch", 1, 4), Dim("time", 2, 9), 3))
    wide = Signature((spec,), (spec,)).with_batch(16)
    assert wide.inputs == wide.outputs == (TensorSpec("x", "float32", (Dim("batch", 1, 16), Dim("time", 2, 9), 3)),)
    assert wide.with_batch(2) == wide
    assert wide.dims() == {"batch": Dim("batch", 1, 16), "time": Dim("time", 2, 9)}


def test_a_signature_survives_being_written_down():
    made = signature(keywords, Call(({"x": A, 3: [B, "constant"]},), {"more": C}))
    node, _ = describe_outputs({"y": (A, None), "n": 1})
    made = Signature(made.inputs, (TensorSpec("y.0", "float32", (Dim("batch"), 3)),), Structure(made.parameters, node))
    assert serde.from_data(serde.to_data(made), Signature) == made


def test_constants_that_cannot_be_written_down_are_put_back():
    marker = object()
    made = signature(plain, Call((A, marker)))
    read = serde.from_data(serde.to_data(made), Signature)
    assert read.bind({"a": A}).args[1] != marker
    assert read.with_parameters(made.parameters).bind({"a": A}).args[1] is marker
    assert read.with_parameters(None) is read
    assert Parameter("c", "either", "absent") in made.parameters
