"""What the source means: found by running it, in the process of a worker, here in our own."""

import inspect as python

import numpy as np
import pytest

from navigator_core import FP32, FP64, Dim, Ref, arrays, samples, shipping
from navigator_core.errors import RequestError
from navigator_core.gates import Metric, store
from navigator_core.inspection import Inspection
from navigator_core.loading import Kinds, RunnerUse, Source
from navigator_core.reference import inspect
from navigator_core.worker import SourceRaisedError

RNG = np.random.default_rng(0)
X = RNG.standard_normal((5, 4)).astype(np.float32)
W = RNG.standard_normal((4, 3)).astype(np.float32)


@pytest.fixture
def understand(tmp_path):
    """The reference of a function, whose steps run in this process, as for one that cannot leave it."""
    source = Source(format="python", path=tmp_path / "source", framework=Ref("navigator_core.python_callable"))

    def run(function, *given, verify=None, **asked):
        calls, _ = samples.read(list(given))
        parameters, rest = samples.parameters_of(python.signature(function))
        found = samples.gather(calls, parameters, rest, None)
        paths = tuple(tmp_path / f"{number}.npz" for number in range(len(found.arrays)))
        for path, sample in zip(paths, found.arrays, strict=True):
            arrays.save(path, sample)
        shipping.keep(source.path, function, found.parameters)
        runner = RunnerUse(
            name="python",
            implementation=Ref("navigator_core.python_callable:load"),
            options_type=None,
            options=None,
            tensors=None,
        )
        inspection = Inspection(
            source=source,
            runner=runner,
            kinds=Kinds(declared=()),
            samples=paths,
            dtypes=found.dtypes,
            verify=None if verify is None else store(verify, tmp_path),
            **{"batch_sizes": (1, 2), **asked},
        )
        return inspect(inspection, tmp_path, lambda message: None)

    yield run
    shipping.forget(source.path)


def batches_of(reference, root):
    return {batch.name: (batch.inputs(root), batch.reference(root)) for batch in reference.batches}


def test_a_reference_has_the_samples_the_sizes_asked_for_one_and_an_odd_one(understand, tmp_path):
    found = understand(lambda x: np.tanh(x @ W), X, X[:2] * 2, batch_sizes=(1, 4))
    assert [(batch.name, batch.size, batch.synthetic) for batch in found.batches] == [
        ("sample 0", 5, 0),
        ("sample 1", 2, 0),
        ("batch 1", 1, 0),
        ("batch 3", 3, 0),
        ("batch 4", 4, 0),
    ]
    assert found.sizes == (1, 4)
    assert found.precision == FP32
    (spec,) = found.signature.inputs
    assert spec.shape == (Dim("batch", 1, 5), 4)
    for inputs, outputs in batches_of(found, tmp_path).values():
        np.testing.assert_array_equal(outputs["output"], np.tanh(inputs["x"] @ W))


def test_rows_that_are_made_up_are_counted_and_noted(understand):
    found = understand(lambda x: x * 2, X[:2], batch_sizes=(1, 8))
    assert {batch.name: batch.synthetic for batch in found.batches}["batch 8"] == 6
    assert any("rows checked are seeded variations of the samples" in note for note in found.notes)


def test_every_sample_is_run_but_for_those_that_take_too_long(understand, monkeypatch):
    many = [X[:1] + n for n in range(20)]
    assert sum(b.name.startswith("sample ") for b in understand(lambda x: x * 2, *many).batches) == 20
    monkeypatch.setattr("navigator_core.reference.REFERENCE_SECONDS", -1.0)
    found = understand(lambda x: x * 2, *many)
    assert [b.name for b in found.batches if b.name.startswith("sample ")] == [f"sample {n}" for n in range(8)]
    assert any(note.startswith("12 samples, from sample 8 on, were not compared as they are") for note in found.notes)


def test_a_source_whose_rows_depend_on_the_size_of_the_batch_is_recognised(understand):
    found = understand(lambda x: (x @ W) * np.float32(len(x)), X, batch_sizes=(1, 4))
    assert (found.coupled, found.sized) == (False, True)
    assert any("depends on the size of the batch in the source itself" in note for note in found.notes)
    assert not understand(lambda x: x * 2, X).sized


def test_what_a_mask_leaves_out_has_no_part_in_the_noise(understand):
    mask = np.array([1, 1, 1, 1, 0])

    def source(x, mask):
        return np.where(mask[:, None] != 0, x * 2, x * 1e6)

    whole = understand(source, {"x": X, "mask": mask}).noise["output"]
    found = understand(source, {"x": X, "mask": mask}, masks={"": "mask"})
    assert found.masks == {"output": "mask"}
    assert found.noise["output"].scale < 10 < whole.scale


def test_by_default_batch_sizes_double(understand):
    found = understand(lambda x: x * 2, X, batch_sizes=None)
    assert found.sizes == (1, 2, 4, 8, 16, 32, 64, 128)
    assert found.signature.inputs[0].shape[0] == Dim("batch", 1, 128)


def test_batch_sizes_end_where_the_source_does(understand):
    def small(x):
        if len(x) > 6:
            raise MemoryError
        return x * 2

    found = understand(small, X, batch_sizes=None)
    assert found.sizes == (1, 2, 4)
    assert "batch sizes stop at 4: the source raised MemoryError at 8" in found.notes


def test_a_batch_of_our_making_that_the_source_cannot_run_is_left_out_and_noted(understand):
    def not_three(x):
        if len(x) == 3:
            raise ValueError("three")
        return x * 2

    found = understand(not_three, X, batch_sizes=(1, 2, 3))
    assert found.sizes == (1, 2)
    assert found.neighbours == ()
    assert "the source itself cannot run batch 3: ValueError: three" in found.notes


# axes


@pytest.mark.parametrize(
    ("function", "given", "inputs", "outputs"),
    [
        (lambda x, table: x @ table, (X, W), {"x": 0, "table": None}, {"output": 0}),
        (lambda x, bias: x + bias, (X, X[0]), {"x": 0, "bias": None}, {"output": 0}),
        (lambda ids, places: ids + places, (np.arange(20).reshape(2, 10), np.arange(10)), {"ids": 0}, {"output": 0}),
        (lambda x: np.cumsum(x, 0), (RNG.standard_normal((7, 3, 4)),), {"x": 1}, {"output": 1}),
        (lambda x: (x.T, x.sum()), (X,), {"x": 0}, {"0": 1, "1": None}),
        (lambda x: x.argmax(1), (X,), {"x": 0}, {"output": 0}),
        (lambda x, scale: x * scale, (X, np.float32(2)), {"x": 0, "scale": None}, {"output": 0}),
        (lambda x: x.sum(), (X,), {"x": None}, {"output": None}),
    ],
)
def test_the_batch_axis_of_every_tensor_is_found_by_running_the_source(understand, function, given, inputs, outputs):
    found = understand(function, tuple(given), batch_sizes=None)
    assert {s.name: s.batch_axis for s in found.signature.inputs} == {**dict.fromkeys(inputs), **inputs} | {
        s.name: None for s in found.signature.inputs if s.name not in inputs
    }
    assert {s.name: s.batch_axis for s in found.signature.outputs} == outputs


def test_without_a_batch_axis_the_samples_are_all_there_is(understand):
    found = understand(lambda x: np.linalg.inv(x), np.eye(3) * 2, batch_sizes=None)
    assert [batch.name for batch in found.batches] == ["sample 0"]
    assert found.sizes == (1,)
    assert any(note.startswith("no batch axis: ") for note in found.notes)


def test_batching_false_is_the_end_of_it(understand):
    found = understand(lambda x: x * 2, X, batching=None, batch_sizes=None)
    assert found.signature.inputs[0].shape == (5, 4)
    assert not any("no batch axis" in note for note in found.notes)


def test_samples_of_different_shape_say_which_axes_are_dynamic(understand):
    given = [RNG.standard_normal((2, time, 3)) for time in (5, 9)]
    found = understand(lambda x: x.cumsum(1), *given)
    assert found.signature.inputs[0].shape == (Dim("batch", 1, 3), Dim("x_1", 5, 9), 3)
    assert found.signature.outputs[0].shape == (Dim("batch", 1, 3), Dim("x_1", 5, 9), 3)
    assert "taken as fixed, because equal in every sample: x axis 2 = 3" in found.notes
    assert found.precision == FP64


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"batching": {"x": 1}}, r"batching=\{'x': 1\} does not hold"),
        ({"batching": {"y": 0}}, "unknown input in batching 'y'"),
        ({"batching": None}, r"batch_sizes=\[1, 2\], but the model has no batch axis"),
        ({"output_names": ("a", "b")}, "output_names must be 1 different names, for output"),
    ],
)
def test_what_was_said_and_does_not_hold_is_an_error(understand, asked, message):
    with pytest.raises(RequestError, match=message):
        understand(lambda x: x @ W, X, **asked)


def test_outputs_get_the_names_that_the_user_gives(understand):
    found = understand(lambda x: {"a": x, "b": (x, 3)}, X, output_names=("first", "second"))
    assert [spec.name for spec in found.signature.outputs] == ["first", "second"]
    rebuilt = found.signature.rebuild({"first": X, "second": W})
    assert rebuilt["a"] is X
    assert rebuilt["b"][0] is W
    assert rebuilt["b"][1] == 3


# sources of every kind


def test_a_source_that_changes_its_inputs_in_place_is_asked_with_copies(understand, tmp_path):
    def in_place(x):
        x += 1
        return x * 2

    found = understand(in_place, X)
    assert not found.stochastic
    for inputs, outputs in batches_of(found, tmp_path).values():
        np.testing.assert_array_equal(outputs["output"], (inputs["x"] + 1) * 2)


def test_a_source_that_returns_the_same_buffer_every_time_is_copied(understand, tmp_path):
    buffers = {}

    def buffered(x):
        return np.multiply(x, 2, out=buffers.setdefault(x.shape, np.empty_like(x)))

    found = understand(buffered, X, X + 1)
    assert not found.stochastic
    for inputs, outputs in batches_of(found, tmp_path).values():
        np.testing.assert_array_equal(outputs["output"], inputs["x"] * 2)


def test_a_stochastic_source_is_recognised_and_keeps_its_batch_axis(understand):
    rng = np.random.default_rng(1)
    found = understand(lambda x: x + rng.standard_normal(x.shape), X)
    assert found.stochastic
    assert found.signature.inputs[0].batch_axis == 0
    assert any("it is stochastic and cannot be verified" in note for note in found.notes)


def test_rows_that_influence_each_other_in_the_source_are_recognised(understand):
    assert understand(lambda x: (x - x.mean(0)) @ W, X).coupled
    found = understand(lambda x: (x - x.mean(1, keepdims=True)) @ W, X)
    assert not found.coupled
    assert [batch.name for batch in found.neighbours] == ["neighbours", "other neighbours", "no neighbours"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.where(x > 0, x, np.nan),
        lambda x: np.where(x > 0, np.inf, x),
        lambda x: (x, np.zeros((0,), np.int64)),
        lambda x: x + 1j,
        lambda x: x > 0,
        lambda x: x,
        lambda x: x * 0,
        lambda x: (x * 255).astype(np.uint8),
        lambda x: x.astype(np.float16),
    ],
    ids=["nan", "inf", "empty", "complex", "bool", "identity", "zero", "uint8", "fp16"],
)
def test_outputs_of_every_kind_are_understood(understand, function):
    found = understand(function, X)
    assert not found.stochastic
    assert found.sizes == (1, 2)


def test_the_sources_noise_is_what_moved_inputs_show(understand):
    quiet = understand(lambda x: x * 2, X).noise["output"]
    loud = understand(lambda x: x * 1000 - np.trunc(x * 1000), X).noise["output"]
    assert 0 < quiet.relative_l2 < 2e-7
    assert loud.relative_l2 > 100 * quiet.relative_l2
    assert understand(lambda x: x.argmax(1), X).noise["output"].exact


def test_a_source_whose_output_has_no_finite_number_is_noted(understand):
    found = understand(lambda x: {"lost": x * np.float32(np.nan), "kept": x, "flag": x > 0}, X)
    assert [note for note in found.notes if "finite" in note] == [
        "no element of output 'lost' is a finite number, whatever the sample: that a candidate gives the same proves "
        "nothing; look at the model's weights and the samples"
    ]
    some = understand(lambda x: np.where(x > 1, x, np.float32(np.nan)), X)
    assert not any("finite" in note for note in some.notes)


def test_a_source_that_refuses_moved_inputs_has_no_known_noise(understand):
    ones = np.ones((5, 4), np.float32)

    def only_ones(x):
        if (x != 1).any():
            raise ValueError("not one")
        return x * 2

    found = understand(only_ones, ones)
    assert found.noise["output"].relative_l2 == 0
    assert any(note == "the source's noise is not known (ValueError: not one)" for note in found.notes)


# what raises


def test_the_users_own_exception_is_the_cause_of_what_is_raised(understand):
    def broken(x):
        raise LookupError("nothing there")

    with pytest.raises(SourceRaisedError, match="the model raised on sample 0") as caught:
        understand(broken, X)
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_source_that_raises_on_a_later_sample_names_it(understand):
    with pytest.raises(SourceRaisedError, match="the model raised on sample 1") as caught:
        understand(lambda x: x[:, 3], X, X[:, :2])
    assert isinstance(caught.value.__cause__, IndexError)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x: None, "the model returned None, which holds no tensor"),
        (lambda x: 3.0, "the model returned 3.0, which holds no tensor"),
        (lambda x: (x, object()), "'1' is a builtins.object: neither tensor, container nor constant"),
        (lambda x: (i for i in [x]), "neither tensor"),
        (lambda x: {"a.b": x, "a": {"b": x}}, "two tensors are called 'a.b'"),
    ],
)
def test_outputs_that_cannot_be_taken_apart_are_an_error(understand, function, message):
    with pytest.raises(RequestError, match=message):
        understand(function, X)


def test_outputs_whose_number_of_axes_changes_are_an_error(understand):
    with pytest.raises(RequestError, match="has 2 axes for sample 0 and 1 for sample 1"):
        understand(np.squeeze, X, X[:1])


# metrics


def test_the_source_is_asked_once_for_its_metric(understand):
    calls = []
    found = understand(lambda x: x * 2, X, verify=Metric("mean", lambda model: calls.append(1) or model(X).mean()))
    assert found.metrics == {"mean": pytest.approx(float((X * 2).mean()))}
    assert calls == []  # it was sent away, as to a worker


def test_a_metric_that_raises_on_the_source_is_the_users_own_exception(understand):
    with pytest.raises(SourceRaisedError, match="the metric 'broken' raised on the source itself") as caught:
        understand(lambda x: x * 2, X, verify=Metric("broken", lambda model: 1 / 0))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_gate_that_cannot_be_sent_to_a_worker_is_an_error(understand):
    import threading

    lock = threading.Lock()
    with pytest.raises(RequestError, match="verify cannot be sent to a worker"):
        understand(lambda x: x * 2, X, verify=lambda references, candidates: lock.locked())
