"""Batches: rows pooled over the samples, distinct, topped up by labelled variations."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from navigator_core import Dim, Signature, TensorSpec
from navigator_core.batches import KEPT, as_given, needed, neighbours, one_row, pooled, rows, vary

BATCH = Dim("batch", 1, 8)
TIME = Dim("time", 1, 9)
SIGNATURE = Signature(
    (
        TensorSpec("x", "float32", (BATCH, TIME)),
        TensorSpec("h", "int64", (2, BATCH)),
        TensorSpec("table", "int64", (3,)),
    ),
    (TensorSpec("y", "float32", (TIME, BATCH)), TensorSpec("n", "int64", (1,))),
)
TABLE = np.arange(3)


def sample(batch, time=4, seed=0, table=TABLE):
    rng = np.random.default_rng(seed)
    return {
        "x": rng.standard_normal((batch, time)).astype(np.float32),
        "h": rng.integers(0, 50, (2, batch)),
        "table": table,
    }


def test_samples_as_they_are_come_first_and_know_their_rows():
    made = as_given([sample(2), sample(5)], SIGNATURE)
    assert [(batch.name, batch.size, batch.synthetic) for batch in made] == [("sample 0", 2, 0), ("sample 1", 5, 0)]
    assert rows(sample(5), SIGNATURE) == 5
    assert rows({"table": TABLE}, Signature((TensorSpec("table", "int64", (3,)),))) == 1


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(1, 9))
def test_a_batch_has_the_size_asked_for_of_rows_that_belong_together(sizes, size):
    samples = [sample(n, seed=i) for i, n in enumerate(sizes)]
    known = {(x.tobytes(), h.tobytes()) for s in samples for x, h in zip(s["x"], s["h"].T, strict=True)}
    (batch,) = pooled(samples, SIGNATURE, [size])
    assert batch.inputs["x"].shape == (size, 4)
    assert batch.inputs["h"].shape == (2, size)
    assert batch.inputs["table"] is TABLE
    made = list(zip(batch.inputs["x"], batch.inputs["h"].T, strict=True))
    own = [(x.tobytes(), h.tobytes()) in known for x, h in made]
    assert own == [True] * (size - batch.synthetic) + [False] * batch.synthetic
    assert batch.synthetic == max(0, size - len(known))
    assert len({x.tobytes() for x, _ in made}) == size


def test_equal_rows_count_once():
    one = sample(1)
    (batch,) = pooled([one, one, sample(1, seed=1)], SIGNATURE, [3])
    assert batch.synthetic == 1


def test_rows_of_different_shape_are_batches_of_their_own_the_largest_smallest_and_middle():
    samples = [sample(2, time, seed=time) for time in (3, 5, 7, 9, 2)]
    made = pooled(samples, SIGNATURE, [2])
    assert [(batch.name, batch.inputs["x"].shape[1]) for batch in made] == [
        ("batch 2", 9),
        ("batch 2 (1)", 2),
        ("batch 2 (2)", 5),
    ]


def test_rows_that_go_with_another_table_are_never_mixed():
    other = np.arange(3) + 7
    samples = [sample(2), sample(2, seed=1, table=other)]
    made = pooled(samples, SIGNATURE, [2])
    assert len(made) == 2
    for batch in made:
        owner = next(s for s in samples if s["table"] is batch.inputs["table"])
        np.testing.assert_array_equal(batch.inputs["x"], owner["x"])


def test_batches_are_the_same_each_time():
    first, second = (pooled([sample(1)], SIGNATURE, [1, 4]) for _ in range(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_equal(dict(a.inputs), dict(b.inputs))


def test_samples_are_needed_that_come_first_or_reach_an_end_of_a_dynamic_axis():
    samples = [sample(2, time) for time in (5, 6, 5, 6, 9, 3, 9)]
    assert needed(samples, SIGNATURE, most=2) == {"sample 0", "sample 1", "sample 4", "sample 5"}
    assert needed(samples[:2], SIGNATURE) == {"sample 0", "sample 1"}


def test_neighbours_share_the_row_in_the_middle_and_no_other():
    first, other, alone = neighbours([sample(2)], SIGNATURE)
    assert alone.size == 1
    np.testing.assert_array_equal(alone.inputs["x"][0], first.inputs["x"][KEPT])
    np.testing.assert_array_equal(first.inputs["x"][KEPT], other.inputs["x"][KEPT])
    np.testing.assert_array_equal(first.inputs["h"][:, KEPT], other.inputs["h"][:, KEPT])
    assert first.size == other.size == 3
    beside, others = ({b.inputs["x"][i].tobytes() for i in (0, 2)} for b in (first, other))
    assert len(beside) == len(others) == 2
    assert not beside & others


def test_without_a_batch_axis_there_are_no_neighbours():
    assert neighbours([{"table": TABLE}], Signature((TensorSpec("table", "int64", (3,)),))) == ()


def test_a_row_is_taken_along_each_outputs_own_batch_axis():
    outputs = {"y": np.arange(6).reshape(2, 3), "n": np.array([3])}
    assert {name: row.tolist() for name, row in one_row(outputs, SIGNATURE, 0).items()} == {"y": [[0], [3]]}


@pytest.mark.parametrize(
    ("array", "changes"),
    [
        (np.linspace(-1, 1, 20, dtype=np.float32), True),
        (np.arange(20), True),
        (np.array([0, 1] * 10), False),
        (np.array([True, False] * 10), False),
        (np.ones(20, np.float32), False),
        (np.array([1 + 1j, 2, 3j]), False),
    ],
)
def test_a_variation_keeps_shape_type_and_masks(array, changes):
    varied = vary({"x": array}, [{"x": array}], np.random.default_rng(0))["x"]
    assert (varied.shape, varied.dtype) == (array.shape, array.dtype)
    assert (not np.array_equal(varied, array)) is changes
    if array.dtype.kind in "iu":
        assert set(varied.ravel()) <= set(array.ravel())


def test_a_variation_of_an_infinite_value_stays_infinite():
    array = np.array([1, 2, np.inf, -np.inf], np.float32)
    varied = vary({"x": array}, [{"x": array}], np.random.default_rng(0))["x"]
    assert np.isposinf(varied[2])
    assert np.isneginf(varied[3])


def test_a_mask_without_the_batch_axis_is_every_rows():
    mask = np.array([True, False])
    assert one_row({"y": mask}, SIGNATURE, 2)["y"] is mask
