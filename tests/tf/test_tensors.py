import numpy as np
import tensorflow as tf

from navigator_core import tensors as core
from navigator_tf import tensors


def test_tensors_and_those_of_a_trace_are_tensors_and_variables_are_not():
    seen = []
    tf.function(lambda x: seen.append(tensors.is_tensor(x)) or x)(tf.zeros(2))
    assert seen == [True]
    assert not tensors.is_tensor(tf.Variable(1.0))
    assert not tensors.is_tensor(np.zeros(2))


def test_to_numpy_shares_memory():
    tensor = tf.range(1000.0)
    assert tensors.to_numpy(tensor).ctypes.data == tensors.to_numpy(tensor).ctypes.data


def test_an_array_that_somebody_keeps_is_copied():
    array = np.zeros(1000, np.float32)
    made = tensors.from_numpy(array, "cpu", "float32")
    array[:] = 1
    assert float(tf.reduce_sum(made)) == 0


def test_a_tensor_says_where_it_is_and_stays_there():
    tensor = tensors.from_numpy(np.zeros(3, np.float32), "cpu", "float32")
    assert core.device_of(tensor) == "cpu"
    assert tensors.to_device(tensor, "cpu") is tensor


def test_only_what_numpy_widened_is_made_the_declared_type():
    made = core.convert({"x": np.ones(2, np.float32)}, "tensorflow", "cpu", {"x": "bfloat16"})
    assert made["x"].dtype == tf.bfloat16
    assert core.convert({"x": np.ones(2, np.float32)}, "tensorflow", "cpu", {"x": "float16"})["x"].dtype == tf.float32
