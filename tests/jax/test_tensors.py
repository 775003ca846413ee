import jax
import jax.numpy as jnp
import numpy as np
import pytest

from navigator_core import tensors as core
from navigator_jax import tensors


def aligned(count):
    """An array that begins where XLA wants one to begin."""
    raw = np.zeros(4 * count + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + 4 * count].view(np.float32)


def test_arrays_and_tracers_are_tensors_and_numpys_and_keys_are_not():
    seen = []
    jax.jit(lambda x: seen.append(tensors.is_tensor(x)))(jnp.zeros(2))
    assert seen == [True]
    assert not tensors.is_tensor(np.zeros(2))
    assert not tensors.is_tensor(jax.random.key(0))


def test_to_numpy_shares_memory():
    array = jnp.arange(3.0)
    assert tensors.to_numpy(array).ctypes.data == array.unsafe_buffer_pointer()


def test_an_array_that_nobody_else_keeps_is_adopted_where_it_lies():
    array = aligned(1000)
    assert tensors.adopt(array, "cpu", "float32").unsafe_buffer_pointer() == array.ctypes.data


def test_an_array_that_somebody_keeps_is_copied():
    array = aligned(1000)
    made = tensors.from_numpy(array, "cpu", "float32")
    array[:] = 1
    assert float(made.sum()) == 0


@pytest.mark.parametrize("dtype", ["int64", "float64", "uint64", "complex128"])
def test_types_of_64_bits_are_made_and_read_whatever_the_process_has(dtype):
    array = np.asarray([1, 2**20 + 1]).astype(dtype)
    made = tensors.from_numpy(array, "cpu", dtype)
    assert tensors.dtype(made) == dtype
    np.testing.assert_array_equal(tensors.to_numpy(made), array)


def test_arrays_pass_between_frameworks_by_dlpack_without_a_copy():
    array = jnp.arange(4.0)
    assert np.from_dlpack(array).ctypes.data == array.unsafe_buffer_pointer()


def test_an_array_says_where_it_is_and_stays_there():
    array = tensors.from_numpy(np.zeros(3, np.float32), "cpu", "float32")
    assert core.device_of(array) == "cpu"
    assert tensors.to_device(array, "cpu") is array


def test_only_what_numpy_widened_is_made_the_declared_type():
    made = core.convert({"x": np.ones(2, np.float32)}, "jax", "cpu", {"x": "bfloat16"})
    assert made["x"].dtype == jnp.bfloat16
    assert core.convert({"x": np.ones(2, np.float32)}, "jax", "cpu", {"x": "float16"})["x"].dtype == jnp.float32
