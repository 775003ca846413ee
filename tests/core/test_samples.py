"""What the user gave to try the model with: read once, bound to the model's parameters, checked, copied."""

import collections
import inspect
import itertools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import Call, Dim, Signature, TensorSpec
from navigator_core.errors import RequestError
from navigator_core.made_up import make_up
from navigator_core.samples import (
    MOST_SAMPLES,
    check_fit,
    dynamic_axes,
    file_parameters,
    gather,
    initial_signature,
    parameters_of,
    read,
    resize,
)

X = np.arange(6, dtype=np.float32).reshape(2, 3)
IDS = np.arange(4).reshape(2, 2)


class Encoding(collections.UserDict):
    """As tokenizers return."""


class Pair(NamedTuple):
    a: object
    b: object


@dataclass
class Record:
    a: object
    n: int


def gathered(function, *samples, input_names=None):
    calls, _ = read(list(samples))
    parameters, rest = parameters_of(inspect.signature(function))
    return gather(calls, parameters, rest, input_names)


def model(x, mask=None, *, scale=None):
    return x


# reading


@pytest.mark.parametrize(
    ("samples", "calls"),
    [
        (X, [Call((X,))]),
        ((X, IDS), [Call((X, IDS))]),
        ({"x": X}, [Call((), {"x": X})]),
        (Encoding(x=X), [Call((), {"x": X})]),
        (Call((X,), {"y": IDS}), [Call((X,), {"y": IDS})]),
        ([X, X], [Call((X,)), Call((X,))]),
        ([(X, IDS), [X, IDS]], [Call((X, IDS)), Call((X, IDS))]),
        ([{"x": X}, Encoding(x=X)], [Call((), {"x": X}), Call((), {"x": X})]),
        (iter([X]), [Call((X,))]),
        ((x for x in [X]), [Call((X,))]),
        ({0: X}.values(), [Call((X,))]),
        (np.float32(2), [Call((np.float32(2),))]),
    ],
    ids=itertools.count(),
)
def test_one_sample_is_what_the_model_is_called_with_and_an_iterable_is_several(samples, calls):
    found, notes = read(samples)
    assert notes == ()
    np.testing.assert_equal([(c.args, dict(c.kwargs)) for c in found], [(c.args, dict(c.kwargs)) for c in calls])


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([], "samples is empty"),
        (iter(()), "samples is empty"),
        ("file.npz", "samples is 'file.npz'; expected a tensor, a tuple, a Mapping"),
        (3.0, "samples is 3.0"),
        ([X, "text"], "sample 1 is 'text'"),
        ([1.0, 2.0], "sample 0 is 1.0"),
        (Record(X, 1), "samples is a Record with 'a', 'n'"),
    ],
)
def test_what_is_no_sample_is_an_error_that_says_what_is_expected(samples, message):
    with pytest.raises(RequestError, match=message):
        read(samples)


def test_a_generator_is_read_once_and_no_further_than_it_must():
    taken = []
    endless = (taken.append(i) or X for i in itertools.count())
    calls, notes = read(endless)
    assert len(calls) == len(taken) == MOST_SAMPLES
    assert notes == (f"{MOST_SAMPLES} samples were read (0 MiB), the rest left unread",)


class Loader:
    """As data loaders are: iterable anew each time; ``length`` may raise, as that of a streamed data set does."""

    def __init__(self, count, length):
        self.count, self.length, self.read = count, length, 0

    def __iter__(self):
        self.read += 1
        return (X for _ in range(self.count))

    def __len__(self):
        return self.length()


def unknown_length():
    raise TypeError("object of type 'Stream' has no len()")


@pytest.mark.parametrize(("count", "length", "noted"), [(64, 64, 0), (99, 99, 1), (99, None, 1), (5, None, 0)])
def test_a_loader_is_iterated_once_and_the_rest_is_noted(count, length, noted):
    loader = Loader(count, unknown_length if length is None else lambda: length)
    calls, notes = read(loader)
    assert (len(calls), len(notes), loader.read) == (min(count, 64), noted, 1)


def test_reading_stops_at_a_gibibyte(monkeypatch):
    monkeypatch.setattr("navigator_core.samples.MOST_BYTES", 100)
    calls, notes = read(itertools.repeat((X.astype(np.float64), {"nested": [X]})))
    assert len(calls) == 2  # 48 and 24 bytes each
    assert len(notes) == 1


# binding


@pytest.mark.parametrize(
    ("function", "sample", "names"),
    [
        (model, X, ["x"]),
        (model, (X, IDS), ["x", "mask"]),
        (model, {"scale": IDS, "x": X}, ["x", "scale"]),
        (model, (X, 3), ["x"]),
        (lambda *args: args, (X, X), ["args.0", "args.1"]),
        (lambda x, *rest: x, (X, X, X), ["x", "rest.0", "rest.1"]),
        (lambda **kwargs: kwargs, {"b": X, "a": X}, ["b", "a"]),
        (lambda x, /, **kwargs: x, Call((X,), {"y": X}), ["x", "y"]),
        (lambda past: past, Call(([(X, X), (X, X)],)), ["past.0.0", "past.0.1", "past.1.0", "past.1.1"]),
        (lambda batch: batch, Call(({"ids": X, "mask": X},)), ["batch.ids", "batch.mask"]),
        (lambda batch: batch, Call((Encoding(ids=X),)), ["batch.ids"]),
        (lambda pair: pair, Call((Pair(X, Record(X, 2)),)), ["pair.a", "pair.b.a"]),
        (lambda batch: batch, Call(({0: X, 1: [X]},)), ["batch.0", "batch.1.0"]),
    ],
    ids=itertools.count(),
)
def test_inputs_are_named_by_parameter_and_path(function, sample, names):
    found = gathered(function, sample)
    assert list(found.names) == names
    bound = initial_signature(found).bind(found.arrays[0])
    function(*bound.args, **bound.kwargs)


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ((X, X, X), r"3 positional values, but the model takes 2 \(x, mask\): labels\? write \(x for x, _ in loader\)"),
        ({"y": X}, "gives 'y', which the model does not take"),
        ({"mask": X}, "does not give 'x', which the model needs"),
        (Call((X,), {"x": X}), "gives 'x' twice"),
        ((), "does not give 'x'"),
        ((3, None), "holds no tensor"),
        (np.array(["a"]), "holds <U1, which is no tensor of numbers"),
        (np.array([None]), "holds object"),
        (np.array([1, np.nan], np.float32), "has NaN in 1 of 2 values"),
        (np.array([1j * np.nan]), "has NaN in 1 of 1 values"),
        (np.zeros((0, 3)), r"is empty, of shape \(0, 3\)"),
        ({"x": {"a.b": X, "a": {"b": X}}}, "two tensors are called 'x.a.b'"),
        ({"x": {(1, 2): X}}, "keys must be str or int"),
    ],
    ids=itertools.count(),
)
def test_a_sample_that_does_not_fit_is_an_error_that_says_why(sample, message):
    with pytest.raises(RequestError, match=message):
        gathered(model, sample)


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        ([X, X.astype(np.float64)], "is float32 in sample 0 and float64 in sample 1; element types are never cast"),
        ([X, X[0]], "has 2 axes in sample 0 and 1 in sample 1"),
        ([(X, 1), (X, 2)], "'mask' is 1 in sample 0 and 2 in sample 1"),
        ([(X, X), (X,)], "samples 0 and 1 disagree: only one of them gives 'mask'"),
        ([(X, [X]), (X, [X, X])], "samples 0 and 1 are built differently: mask.1"),
        ([(X, [1]), (X, (1,))], r"'mask' is list\(1\) in sample 0 and tuple\(1\) in sample 1"),
        ([(X, {"a": 1}), (X, {"a": 2})], "'mask.a' is 1 in sample 0 and 2 in sample 1"),
        ([(X, X), (X, None)], "samples 0 and 1 are built differently: mask"),
    ],
    ids=itertools.count(),
)
def test_samples_that_disagree_are_an_error_that_says_where(samples, message):
    with pytest.raises(RequestError, match=message):
        gathered(model, *samples)


def test_the_order_of_keys_does_not_matter():
    found = gathered(lambda **kwargs: 0, {"a": X, "b": {"c": 1, "d": IDS}}, {"b": {"d": IDS, "c": 1}, "a": X})
    assert [list(sample) for sample in found.arrays] == [["a", "b.d"], ["a", "b.d"]]


def test_tensors_are_copied_and_never_cast():
    x = X.astype(np.float16)
    found = gathered(model, (x, np.array(True)))
    x[:] = 9
    assert found.arrays[0]["x"].dtype == np.float16
    np.testing.assert_array_equal(found.arrays[0]["x"], X)
    assert found.dtypes == {"x": "float16", "mask": "bool"}


def test_a_loader_that_reuses_its_buffer_gives_distinct_samples():
    buffer = np.zeros(2, np.float32)

    def refill():
        for i in range(3):
            buffer[:] = i
            yield {"x": buffer, "more": [buffer, 1]}

    calls, _ = read(refill())
    assert [(call.kwargs["x"][0], call.kwargs["more"][0][0]) for call in calls] == [(0, 0), (1, 1), (2, 2)]


def test_names_given_by_the_user_stand_for_the_paths():
    found = gathered(model, ({"a": X, "b": IDS},), input_names=("first", "second"))
    assert found.names == ("first", "second")
    bound = initial_signature(found).bind(found.arrays[0])
    np.testing.assert_equal(bound.args, ({"a": X, "b": IDS},))


@pytest.mark.parametrize("names", [("one",), ("one", "one"), ("a", "b", "c")])
def test_names_must_be_as_many_as_the_inputs_and_different(names):
    with pytest.raises(RequestError, match="input_names must be 2 different names, for x, mask"):
        gathered(model, (X, IDS), input_names=names)


# values made up

BATCH = Dim("batch")


def test_values_are_made_up_for_every_spec_wherever_it_stands():
    spec = TensorSpec("x", "float32", (BATCH, 3))
    found = gathered(lambda p, r, m: 0, (Pair(spec, X), Record(spec, 3), Encoding(k=spec)))
    assert found.made_up
    assert "made up from shapes" in found.notes[0]
    assert found.names == ("p.a", "p.b", "r.a", "m.k")
    bound = initial_signature(found).bind(found.arrays[0])
    assert [type(value) for value in bound.args] == [Pair, Record, Encoding]


def test_a_dynamic_axis_gets_two_sizes_within_its_range():
    spec = TensorSpec("ids", "int64", (BATCH, Dim("time", 2, 16)))
    shapes = [call.args[0].shape for call in make_up(Call((spec,)))]
    assert len(set(shapes)) == 2
    assert max(shape[1] for shape in shapes) == 16
    assert all(2 <= shape[1] <= 16 and shape[0] >= 1 for shape in shapes)


def test_the_same_axis_has_the_same_size_in_every_tensor():
    time = Dim("time", 1, 9)
    for call in make_up(Call((TensorSpec("a", "int64", (BATCH, time)),), {"b": TensorSpec("b", "bool", (time,))})):
        assert call.args[0].shape[1] == call.kwargs["b"].shape[0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", "complex64"])
def test_made_up_values_are_of_the_type_asked_for_and_the_same_each_time(dtype):
    (first,), (second,) = (make_up(Call((TensorSpec("x", dtype, (2, 3)),))) for _ in range(2))
    assert str(first.args[0].dtype) == dtype
    np.testing.assert_array_equal(first.args[0], second.args[0])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TensorSpec("x", "float32", (Dim("time"),)), "axis 'time' of input 'x' is dynamic and nothing says how large"),
        (TensorSpec("x", "bfloat99", (3,)), "values of type 'bfloat99' cannot be made up"),
    ],
)
def test_what_cannot_be_made_up_is_an_error(spec, message):
    with pytest.raises(RequestError, match=message):
        gathered(model, spec)


# files

FILE = Signature((TensorSpec("ids", "int64", (BATCH, 2)), TensorSpec("mask", "float32", (BATCH, 2))))


def test_the_samples_of_a_file_go_by_name_or_in_declared_order():
    mask = IDS.astype(np.float32)
    for sample in (Call((IDS, mask)), Call((), {"mask": mask, "ids": IDS})):
        found = gather([sample], file_parameters(FILE), False, None)
        assert found.names == ("ids", "mask")
        check_fit(found, FILE)


@pytest.mark.parametrize(
    ("ids", "mask", "message"),
    [
        (IDS.astype(np.int32), IDS.astype(np.float32), "is int32 in the samples, but the file takes int64"),
        (IDS[:, :1], IDS.astype(np.float32), r"of shape \[2, 1\], but the file takes \[batch, 2\]"),
        (IDS[0], IDS.astype(np.float32), r"of shape \[2\]"),
    ],
)
def test_samples_that_a_file_does_not_take_are_an_error(ids, mask, message):
    found = gather([Call((ids, mask))], file_parameters(FILE), False, None)
    with pytest.raises(RequestError, match=message):
        check_fit(found, FILE)


def test_only_axes_that_a_file_declares_dynamic_may_be():
    assert dynamic_axes(FILE) == {"ids": frozenset({0}), "mask": frozenset({0})}


# resizing


@given(st.integers(1, 9), st.integers(1, 5))
def test_a_resized_sample_has_that_many_rows_which_are_its_own_in_turn(batch, have):
    sample = {"x": np.arange(have * 2).reshape(2, have), "table": np.arange(3)}
    signature = Signature((TensorSpec("x", "int64", (2, BATCH)), TensorSpec("table", "int64", (3,))))
    resized = resize(sample, signature, batch)
    assert resized["table"] is sample["table"]
    assert [column.tolist() for column in resized["x"].T] == [sample["x"].T[i % have].tolist() for i in range(batch)]
