import warnings

import numpy as np
import pytest
import torch

from navigator_core import LoadedModel, Ref, Signature, Tensors, TensorSpec, calls, loading
from navigator_core import tensors as core_tensors
from navigator_core.tensors import convert
from navigator_torch import tensors


def test_tensors_and_parameters_are_tensors_and_arrays_are_not():
    assert tensors.is_tensor(torch.zeros(1))
    assert tensors.is_tensor(torch.nn.Parameter(torch.zeros(1)))
    assert not tensors.is_tensor(np.zeros(1))


def test_to_numpy_shares_memory():
    tensor = torch.zeros(3)
    tensors.to_numpy(tensor)[0] = 1
    assert tensor[0] == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_types_that_numpy_lacks_are_widened_exactly(dtype):
    tensor = torch.tensor([1.5, -0.25, 448.0]).to(dtype)
    array = tensors.to_numpy(tensor)
    assert array.dtype == np.float32
    assert torch.equal(torch.from_numpy(array).to(dtype).view(torch.uint8), tensor.view(torch.uint8))


def test_gradients_conjugates_and_sparse_layouts_are_resolved():
    assert tensors.to_numpy(torch.ones(2, requires_grad=True) * 2).tolist() == [2, 2]
    assert tensors.to_numpy(torch.tensor([1 + 2j]).conj())[0] == 1 - 2j
    assert tensors.to_numpy(torch.tensor([1 + 2j]).conj().imag)[0] == -2
    assert tensors.to_numpy(torch.eye(2).to_sparse()).tolist() == [[1, 0], [0, 1]]
    assert tensors.to_numpy(torch.eye(2).to_mkldnn()).tolist() == [[1, 0], [0, 1]]


@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor.*deprecated")
def test_quantized_tensors_come_as_what_they_stand_for():
    tensor = torch.quantize_per_tensor(torch.tensor([0.5, -1.0]), 0.5, 0, torch.qint8)
    assert tensors.to_numpy(tensor).tolist() == [0.5, -1.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "uint8", "bool", "complex64"])
def test_types_that_numpy_has_survive_the_round_trip(dtype):
    array = np.array([[0, 1], [1, 0]]).astype(dtype)
    tensor = tensors.from_numpy(array, "cpu", dtype)
    assert tensors.dtype(tensor) == dtype
    np.testing.assert_array_equal(tensors.to_numpy(tensor), array)


def test_float32_becomes_the_bfloat16_that_was_asked_for():
    assert tensors.dtype(tensors.from_numpy(np.ones(2, np.float32), "cpu", "bfloat16")) == "bfloat16"


@pytest.mark.together
def test_an_extension_type_of_numpy_keeps_its_bits():
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed")
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    assert tensors.from_numpy(array, "cpu", "bfloat16").tolist() == [1.5, -2.0]


def read_only():
    array = np.arange(6.0)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "array",
    [
        read_only(),
        np.arange(6.0)[::-2],
        np.arange(6.0).reshape(2, 3).T,
        np.array(3.5),
        np.float32(2),
        np.arange(3, dtype=">i4"),
    ],
    ids=["read-only", "reversed", "transposed", "scalar", "numpy scalar", "big-endian"],
)
def test_any_array_is_taken_without_a_warning(array):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = tensors.from_numpy(array, "cpu", str(array.dtype.newbyteorder("=")))
    assert tensor.shape == array.shape
    np.testing.assert_array_equal(tensor.numpy(), array)


def test_a_model_that_writes_into_its_input_does_not_reach_the_array():
    array = np.zeros(2, np.float32)
    tensors.from_numpy(array, "cpu", "float32").add_(1)
    assert array.tolist() == [0, 0]


def test_an_array_that_nobody_else_keeps_becomes_a_tensor_in_its_own_memory():
    array = np.zeros(2, np.float32)
    tensors.adopt(array, "cpu", "float32").add_(1)
    assert array.tolist() == [1, 1]


@pytest.mark.parametrize("array", [read_only(), np.arange(6.0)[::-2], np.float32(2), np.arange(3, dtype=">i4")])
def test_what_torch_cannot_write_to_where_it_lies_is_copied_even_then(array):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = tensors.adopt(array, "cpu", array.dtype.name)
    np.testing.assert_array_equal(tensor.numpy(), array)
    assert not np.shares_memory(tensor.numpy(), array)


def test_tensors_pass_to_a_runtime_of_arrays_and_back_without_a_copy():
    core_tensors.register([Tensors(name="torch", source=Ref("navigator_torch.tensors"))])
    seen = {}

    def call(inputs):
        seen.update(x=inputs["x"], y=np.negative(inputs["x"]))
        return {"y": seen["y"]}

    signature = Signature((TensorSpec("x", "float32", (3,)),), (TensorSpec("y", "float32", (3,)),))
    run = loading.Running(LoadedModel(call), "numpy", "torch", "cpu", {"x": "float32"})
    x = torch.arange(3.0)
    y = calls.like_the_source(run, signature)(x)["y"]
    assert y.tolist() == [0, -1, -2]
    assert seen["x"].ctypes.data == x.data_ptr()
    assert seen["y"].ctypes.data == y.data_ptr()


def test_a_tensor_already_there_is_not_moved():
    tensor = torch.zeros(1)
    assert tensors.to_device(tensor, "cpu") is tensor
    assert tensors.to_device(tensor, "meta").device.type == "meta"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_is_cuda_0():
    tensor = torch.zeros(1, device="cuda:0")
    assert tensors.to_device(tensor, "cuda") is tensor
    assert tensors.to_device(tensor, "cuda:0") is tensor


@pytest.mark.parametrize(
    ("array", "declared", "made"),
    [
        (np.ones(2, np.float32), "bfloat16", torch.bfloat16),
        (np.ones(2, np.float32), "float16", torch.float32),
        (np.ones(2, np.float64), "float32", torch.float64),
        (np.ones(2, np.int64), "bfloat16", torch.int64),
        (np.ones(2, np.float32), None, torch.float32),
    ],
)
def test_only_what_numpy_widened_is_made_the_declared_type(array, declared, made):
    found = convert({"x": array}, "torch", "cpu", {"x": declared} if declared else {})
    assert found["x"].dtype == made
    assert found["x"].tolist() == [1, 1]


def test_an_array_of_another_byte_order_is_converted_by_the_core():
    core_tensors.register([Tensors(name="torch", source=Ref("navigator_torch.tensors"))])
    made = core_tensors.convert({"x": np.arange(3, dtype=">f4")}, "torch", "cpu", {})
    assert made["x"].dtype == torch.float32
    assert made["x"].tolist() == [0.0, 1.0, 2.0]


def test_a_tensor_says_where_it_is():
    core_tensors.register([Tensors(name="torch", source=Ref("navigator_torch.tensors"))])
    assert core_tensors.device_of(torch.zeros(1)) == "cpu"
    assert core_tensors.device_of(torch.zeros(1, device="meta")) == "meta"
