"""A loaded model called as its source is: the first call of a kind, and those after it, which take the short way."""

import numpy as np
import pytest

from navigator_core import Dim, LoadedModel, Signature, TensorSpec, tensors
from navigator_core.calls import like_the_source
from navigator_core.errors import RequestError
from navigator_core.loading import Running
from navigator_core.signature import Parameter, Structure
from navigator_core.structure import Constant, Container, Leaf
from navigator_core.testing import miniframework as mini

ROWS = (Dim("batch"), 3)
A, B = np.ones((2, 3), "float32"), np.full((2, 3), 2, "float32")


@pytest.fixture(autouse=True)
def kinds():
    tensors.register(mini.declare_tensors())


def signature(*more):
    parameters = (
        Parameter("a", "either", "positional", Leaf("a")),
        Parameter("b", "either", "keyword", Leaf("b")),
        *more,
    )
    structure = Structure(parameters, Container("tuple", None, (0, 1), (Leaf("0"), Leaf("1"))))
    inputs = tuple(TensorSpec(name, "float32", ROWS) for name in ("a", "b"))
    return Signature(inputs, tuple(TensorSpec(name, "float32", ROWS) for name in ("0", "1")), structure)


class Recorder:
    """A runner's model that takes tensors of one kind; what it was given is in ``seen``, sums and products come out."""

    def __init__(self, kind, gives="numpy", *more):
        self.seen, self.waited, self.gives = [], 0, gives
        running = Running(LoadedModel(self.run, self.wait), kind, "numpy", "cpu", {"a": "float32", "b": "float32"})
        self.call = like_the_source(running, signature(*more))

    def run(self, inputs):
        self.seen.append(dict(inputs))
        a, b = (tensors.to_numpy(inputs[name]) for name in "ab")
        made = {"1": a * b, "0": a + b}
        return {name: tensors.from_numpy(array, self.gives) for name, array in made.items()}

    def wait(self):
        self.waited += 1


WAYS = [
    ((A, B), {}),
    ((A,), {"b": B}),
    ((), {"a": A, "b": B}),
    ((), {"b": B, "a": A}),
]


@pytest.mark.parametrize("wrap", [np.asarray, mini.Array], ids=["numpy", "array"])
@pytest.mark.parametrize("kind", ["numpy", "mini"])
@pytest.mark.parametrize("gives", ["numpy", "mini"])
def test_every_way_of_passing_the_arguments_gives_the_same_each_time_in_the_callers_kind(wrap, kind, gives):
    made = Recorder(kind, gives)
    for args, kwargs in WAYS * 2:
        answer = made.call(*map(wrap, args), **{name: wrap(value) for name, value in kwargs.items()})
        assert {name: tensors.kind_of(value).name for name, value in made.seen[-1].items()} == {"a": kind, "b": kind}
        assert type(answer) is tuple
        assert {type(one) for one in answer} == {type(wrap(A))}
        np.testing.assert_array_equal(tensors.to_numpy(answer[0]), A + B)
        np.testing.assert_array_equal(tensors.to_numpy(answer[1]), A * B)
    assert made.waited == len(made.seen) == 2 * len(WAYS)


def test_what_is_of_the_runners_kind_reaches_it_uncopied():
    made = Recorder("numpy")
    for _ in range(2):
        made.call(A, b=B)
        assert made.seen[-1]["a"] is A
        assert made.seen[-1]["b"] is B


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((A,), {}, "missing input 'b'"),
        ((A, B, B), {}, "3 positional arguments where the model takes 2"),
        ((A,), {"c": B}, "unknown argument 'c'"),
        ((A, B), {"a": B}, "argument 'a' is given twice"),
        ((A, [1.0]), {}, "argument 'b': expected a tensor"),
    ],
)
def test_a_wrong_call_is_refused_however_many_right_ones_were_before(args, kwargs, message):
    made = Recorder("numpy")
    for _ in range(2):
        made.call(A, B)
        with pytest.raises(RequestError, match=message):
            made.call(*args, **kwargs)
    assert len(made.seen) == 2


def test_a_constant_may_be_passed_and_is_checked_every_time():
    made = Recorder("numpy", "numpy", Parameter("scale", "keyword", "keyword", Constant(2)))
    for _ in range(2):
        made.call(A, B, scale=2)
        with pytest.raises(RequestError, match="is a constant"):
            made.call(A, B, scale=3)
        with pytest.raises(RequestError, match="is a constant"):
            made.call(A, B, scale=A)
    assert len(made.seen) == 2
