"""Guesses at the batch axis, and the axes of a signature."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import Dim, Signature, TensorSpec
from navigator_core.axes import fixed_axes_note, hypotheses, input_specs, output_specs
from navigator_core.errors import RequestError
from navigator_core.understanding import close, prove

BATCH = Dim("batch", 1, 4)


def first(shapes, **asked):
    return next(
        hypotheses({name: [shape] if isinstance(shape[0], int) else shape for name, shape in shapes.items()}, **asked)
    )


@pytest.mark.parametrize(
    ("shapes", "guess"),
    [
        ({"x": (4, 8)}, {"x": 0}),
        ({"ids": (1, 128), "mask": (1, 128)}, {"ids": 0, "mask": 0}),
        ({"x": (4, 8), "table": (10, 8)}, {"x": 0, "table": None}),
        ({"ids": (2, 16), "positions": (16,)}, {"ids": 0, "positions": None}),
        ({"x": (4, 8), "bias": (8,)}, {"x": 0, "bias": None}),
        ({"image": (2, 3, 8, 8), "step": (2,)}, {"image": 0, "step": 0}),
        ({"x": [(3, 7), (5, 7)], "y": [(7, 3), (7, 5)]}, {"x": 0, "y": 1}),
    ],
)
def test_the_likeliest_batch_axis_is_tried_first(shapes, guess):
    assert first(shapes) == guess


def test_axes_whose_sizes_go_together_over_the_samples_belong_together():
    shapes = {"x": [(2, 9, 5), (3, 7, 5)], "lengths": [(2,), (3,)], "time": [(9,), (7,)]}
    assert {"x": 0, "lengths": 0, "time": None} in list(hypotheses(shapes))
    assert {"x": 1, "lengths": None, "time": 0} in list(hypotheses(shapes))
    assert {"x": 0, "lengths": 0, "time": 0} not in list(hypotheses(shapes))


def test_one_input_whose_axis_has_the_batchs_size_by_chance_is_left_out_later():
    guesses = list(hypotheses({"x": [(4, 8)], "table": [(4, 3)]}))
    assert guesses[0] == {"x": 0, "table": 0}
    assert {"x": 0, "table": None} in guesses


def test_a_later_input_is_the_first_to_be_left_out():
    shapes = {"query": [(16, 8)], "table": [(16, 8)]}
    guesses = list(hypotheses(shapes))
    assert guesses.index({"query": 0, "table": None}) < guesses.index({"query": None, "table": 0})


def test_no_guess_is_made_where_there_is_no_batch():
    assert list(hypotheses({"x": [(4, 8)]}, None)) == []
    assert list(hypotheses({"x": [()]})) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"z": 0}, "unknown input in batching 'z'; known: x"),
        ({"x": 2}, "batching says axis 2 of 'x', which has axes 0 to 1"),
        ({"x": -1}, "batching says axis -1 of 'x'"),
    ],
)
def test_batching_that_names_what_is_not_there_is_an_error(said, message):
    with pytest.raises(RequestError, match=message):
        list(hypotheses({"x": [(4, 8)]}, said))


@st.composite
def questions(draw):
    samples = draw(st.integers(1, 3))
    ranks = draw(st.dictionaries(st.sampled_from("abcd"), st.integers(0, 3), min_size=1, max_size=4))
    size = st.integers(1, 4)
    shapes = {n: [tuple(draw(size) for _ in range(rank)) for _ in range(samples)] for n, rank in ranks.items()}
    said = {
        name: draw(st.none() | st.integers(0, rank - 1) if rank else st.none())
        for name, rank in ranks.items()
        if draw(st.booleans())
    }
    allowed = None
    if draw(st.booleans()):
        allowed = {name: frozenset(draw(st.sets(st.integers(0, 2)))) for name in ranks}
    return shapes, said, allowed


@given(questions())
def test_every_guess_respects_the_users_word_and_the_file(question):
    shapes, said, allowed = question
    for guess in hypotheses(shapes, said, allowed):
        assert list(guess) == list(shapes)
        batched = {name: axis for name, axis in guess.items() if axis is not None}
        assert batched
        assert {name: guess[name] for name in said} == said
        assert len({tuple(shape[axis] for shape in shapes[name]) for name, axis in batched.items()}) == 1
        if allowed is not None:
            assert all(axis in allowed[name] for name, axis in batched.items() if name not in said)


# signatures


def test_axes_that_differ_between_samples_are_dynamic_and_share_a_name_where_they_go_together():
    shapes = {"ids": [(2, 9), (3, 7)], "mask": [(2, 9), (3, 7)], "scale": [(), ()]}
    ids, mask, scale = input_specs(shapes, dict.fromkeys(shapes, "int64"), {"ids": 0, "mask": 0})
    assert ids == TensorSpec("ids", "int64", (Dim("batch", 1, 3), Dim("ids_1", 7, 9)))
    assert mask.shape == ids.shape
    assert scale.shape == ()


def test_an_output_axis_that_follows_an_input_axis_shares_its_name():
    inputs = {"ids": [(2, 9), (3, 7)]}
    specs = input_specs(inputs, {"ids": "int64"}, {"ids": 0})
    outputs = {"y": [(9, 2, 5), (7, 3, 5)], "n": [(18,), (21,)]}
    y, n = output_specs(outputs, {"y": "float32", "n": "int64"}, {"y": 1}, specs, inputs)
    assert y.shape == (Dim("ids_1", 7, 9), Dim("batch", 1, 3), 5)
    assert n.shape == (Dim("n_0", 18, 21),)


def test_an_output_whose_number_of_axes_depends_on_the_input_is_an_error():
    with pytest.raises(RequestError, match=r"output 'y' has 2 axes for sample 0 and 1 for sample 1.*squeeze"):
        output_specs({"y": [(2, 3), (3,)]}, {"y": "float32"}, {}, (), {})


def test_what_was_taken_as_fixed_is_listed():
    spec = TensorSpec("x", "float32", (BATCH, 8))
    assert fixed_axes_note(Signature((spec,))) == "taken as fixed, because equal in every sample: x axis 1 = 8"
    assert fixed_axes_note(Signature((TensorSpec("x", "float32", (BATCH,)),))) is None


# proofs

X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)


def proved(function, sample, guess, **asked):
    def run(inputs):
        return {str(i): out for i, out in enumerate(function(**inputs))}

    return prove(run, sample, guess, **asked)


@pytest.mark.parametrize(
    ("function", "sample", "guess", "expected"),
    [
        (lambda x: (x * 2, x.sum(1), x.T), {"x": X}, {"x": 0}, {"0": 0, "1": 0, "2": 1}),
        (lambda x: (x, x.sum()), {"x": X}, {"x": 0}, {"0": 0, "1": None}),
        (lambda x: (x - x.mean(0),), {"x": X}, {"x": 0}, {"0": 0}),
        (lambda x: (x[0],), {"x": X}, {"x": 0}, None),
        (lambda x: (np.cumsum(x, 0),), {"x": X}, {"x": 0}, None),
        (lambda x: (x @ np.ones((5, 2)),), {"x": X}, {"x": 1}, None),
        (lambda x: (np.repeat(x, 2, 0),), {"x": X}, {"x": 0}, None),
        (lambda x: (x @ x.T,), {"x": X}, {"x": 0}, None),
        (lambda x: (x if len(x) == 4 else x[None],), {"x": X}, {"x": 0}, None),
        (lambda x, y: (x + y,), {"x": X, "y": X.T.copy()}, {"x": 0, "y": 1}, None),
        (lambda x, y: (x + y.T,), {"x": X, "y": X.T.copy()}, {"x": 0, "y": 1}, {"0": 0}),
        (lambda x: (x,), {"x": X[:1]}, {"x": 0}, {"0": 0}),
    ],
)
def test_a_batch_axis_is_one_whose_rows_turn_with_the_outputs(function, sample, guess, expected):
    assert proved(function, sample, guess) == expected


def test_the_order_of_rows_is_not_asked_of_a_stochastic_source():
    rng = np.random.default_rng(0)
    noisy = lambda x: (x + rng.standard_normal(x.shape),)  # noqa: E731
    assert proved(noisy, {"x": X}, {"x": 0}) is None
    assert proved(noisy, {"x": X}, {"x": 0}, ordered=False) == {"0": 0}


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        (X, X * (1 + 1e-6), True),
        (X, X + 1, False),
        (X, X[:2], False),
        (np.array([1, 2]), np.array([1, 3]), False),
        (np.zeros((0,), np.int64), np.zeros((0,), np.int64), True),
        (np.zeros((0, 3)), np.zeros((0, 3)), True),
        (np.array([np.nan]), np.array([np.nan]), True),
        (np.float32(1), np.float32(1), True),
        (X + 1j, X + 2j, False),
    ],
)
def test_outputs_are_close_but_for_rounding(a, b, same):
    assert close(np.asarray(a), np.asarray(b)) is same
