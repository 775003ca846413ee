"""ONNX Runtime's GPU providers: what can be shown on a CPU, and the rest on machines that have a GPU."""

import gc

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx_models import context, linear, value, write

from navigator_core import Dim, Signature, TensorSpec, tensors
from navigator_core.declarations import Context, Names
from navigator_core.errors import NavigatorError, RequestError
from navigator_onnx import probes, run, run_gpu
from navigator_onnx import tensors as ortvalues
from navigator_onnx.options import GpuOptions
from navigator_onnx.plugin import declare_tensors
from navigator_onnx.profiles import shapes

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def test_ortvalue_is_a_kind_of_tensor_that_the_core_converts():
    tensors.register(declare_tensors())
    there = tensors.convert({"x": X}, "ortvalue", "cpu", {"x": "float32"})
    assert tensors.is_tensor(there["x"])
    assert tensors.dtype_of(there["x"]) == "float32"
    assert (tensors.to_numpy(there["x"]) == X).all()
    assert tensors.convert(there, "ortvalue", "cpu", {})["x"] is there["x"]


@pytest.mark.parametrize("array", [np.float32(3), np.ones((0, 2)), np.ones((3, 2), np.int64).T, np.array([True])])
def test_arrays_of_any_shape_and_order_go_there_and_back(array):
    found = ortvalues.from_numpy(array, "cpu", str(array.dtype))
    assert ortvalues.dtype(found) == str(array.dtype)
    assert ortvalues.to_numpy(found).shape == array.shape
    assert (ortvalues.to_numpy(found) == array).all()


def test_bfloat16_goes_there_rounded_and_back_exactly():
    there = ortvalues.from_numpy(X.T, "cpu", "bfloat16")
    assert ortvalues.dtype(there) == "bfloat16"
    np.testing.assert_array_equal(ortvalues.to_numpy(there), X.T.astype(ml_dtypes.bfloat16).astype(np.float32))
    assert ortvalues.on_host(there).ctypes.data == there.data_ptr()
    assert ortvalues.to_numpy(ortvalues.from_numpy(np.ones((0, 2), np.float32), "cpu", "bfloat16")).shape == (0, 2)


def test_bfloat16_stays_on_the_host_from_where_a_session_takes_it():
    there = ortvalues.from_numpy(X, "cuda:0", "bfloat16")
    assert there.device_name() == "cpu"
    assert ortvalues.to_device(there, "cuda:0") is there


def test_the_memory_of_a_value_lives_as_long_as_an_array_of_it():
    expected = X.astype(ml_dtypes.bfloat16)
    arrays = [ortvalues.on_host(ortvalues.from_numpy(X, "cpu", "bfloat16")) for _ in range(50)]
    gc.collect()
    assert all((array == expected).all() for array in arrays)


def test_another_type_than_the_arrays_own_is_not_made_up():
    with pytest.raises(TypeError, match="as float16, only as float32"):
        ortvalues.from_numpy(X, "cpu", "float16")


@pytest.mark.parametrize("other", [X, [1.0], None, type("OrtValue", (), {})()])
def test_other_values_are_no_ortvalues(other):
    assert not ortvalues.is_tensor(other)


@pytest.fixture
def bound(linear):
    session = run.open_session(linear, run.base_options("all"), [run.CPU])
    return run_gpu.BoundCall(session, run.bindings(session, context(linear)), "cpu", 0)


def test_a_bound_call_gives_what_a_plain_one_gives(bound):
    (expected,) = bound.session.run(["y"], {"x": X})
    found = bound({"x": onnxruntime.OrtValue.ortvalue_from_numpy(X)})
    assert (found["y"].numpy() == expected).all()


def test_a_bound_call_does_not_write_over_what_it_gave_before(bound):
    first = bound({"x": onnxruntime.OrtValue.ortvalue_from_numpy(X)})["y"]
    kept = first.numpy().copy()
    bound({"x": onnxruntime.OrtValue.ortvalue_from_numpy(X + 1)})
    assert (first.numpy() == kept).all()


def test_a_bound_call_takes_another_batch(bound):
    assert bound({"x": onnxruntime.OrtValue.ortvalue_from_numpy(X[:2])})["y"].shape() == [2, 2]


@pytest.mark.parametrize(("device", "index"), [("cuda", "0"), ("cuda:0", "0"), ("cuda:1", "1")])
def test_fp32_on_cuda_is_never_tf32(device, index):
    assert run_gpu.cuda_provider(device) == ("CUDAExecutionProvider", {"device_id": index, "use_tf32": "0"})


def dynamic(*shape, samples=(), **names):
    signature = Signature((TensorSpec("x", "float32", shape), TensorSpec("fixed", "float32", (2,))))
    return Context(signature=signature, samples=samples, names=Names(names), device="cuda:1")


def test_the_tensorrt_provider_is_told_the_range_of_shapes():
    found = run_gpu.tensorrt_provider(dynamic(Dim("batch", 1, 8), 3, Dim("t", 4, 16), x="tokens"))
    assert found == (
        "TensorrtExecutionProvider",
        {
            "device_id": "1",
            "trt_profile_min_shapes": "tokens:1x3x4",
            "trt_profile_opt_shapes": "tokens:8x3x16",
            "trt_profile_max_shapes": "tokens:8x3x16",
        },
    )


def test_fixed_shapes_need_no_range():
    assert run_gpu.tensorrt_provider(dynamic(2, 3))[1] == {"device_id": "1"}


@pytest.mark.parametrize(("seen", "typical"), [(7, 7), (1, 4), (99, 16)])
def test_engines_are_tuned_for_the_largest_batch_and_the_samples_own_axes(seen, typical):
    samples = [{"x": np.ones((2, seen), np.float32), "fixed": np.ones(2, np.float32)}]
    (found,) = shapes(dynamic(Dim("batch", 1, 8), Dim("t", 4, 16), samples=samples)).values()
    assert (found.min, found.opt, found.max) == ((1, 4), (8, typical), (8, 16))


def test_an_axis_without_an_upper_end_is_named():
    with pytest.raises(RequestError, match="axis 't' of input 'x' has no upper end"):
        shapes(dynamic(Dim("t", 1, None)))


@pytest.mark.parametrize("load", [run_gpu.cuda, run_gpu.tensorrt])
def test_without_the_provider_loading_says_so(linear, load, monkeypatch):
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [run.CPU])
    fixed = Context(signature=Signature((TensorSpec("x", "float32", (5, 3)),)), device="cuda")
    with pytest.raises(NavigatorError, match=r"onnxruntime .* was built without (CUDA|Tensorrt)ExecutionProvider"):
        load(linear, GpuOptions(), fixed)


@pytest.mark.gpu
def test_cuda_computes_what_the_cpu_computes(tmp_path):
    reason = probes.one_onnxruntime() or probes.cuda_provider()
    if reason:
        pytest.skip(reason)
    weight = np.random.default_rng(1).normal(size=(3, 2)).astype(np.float32)
    path = write(tmp_path / "m.onnx", linear(weight))
    found = run_gpu.cuda(path, GpuOptions(), context(path, device="cuda:0"))
    inside = ortvalues.from_numpy(X, "cuda:0", "float32")
    result = found.call({"x": inside})["y"]
    assert result.device_name() == "cuda"
    np.testing.assert_allclose(result.numpy(), X @ weight + np.array([0.5, -0.25], np.float32), rtol=1e-5, atol=1e-6)
    found.close()


@pytest.mark.tensorrt
def test_the_tensorrt_provider_computes_what_the_cpu_computes(tmp_path, monkeypatch):
    reason = probes.one_onnxruntime() or probes.tensorrt_provider()
    if reason:
        pytest.skip(reason)
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")
    proto = linear()
    proto.graph.input[0].CopyFrom(value("x", [5, 3]))
    path = write(tmp_path / "m.onnx", proto)
    found = run_gpu.tensorrt(path, GpuOptions(), context(path, device="cuda:0"))
    result = found.call({"x": ortvalues.from_numpy(X, "cuda:0", "float32")})["y"].numpy()
    expected = run.open_session(path, run.base_options("all"), [run.CPU]).run(["y"], {"x": X})[0]
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)
