"""TensorFlow's threads are fixed once it has computed: before, they are set, afterwards refused with what helps."""

import subprocess
import sys

import pytest
import tensorflow as tf

from navigator_core.errors import NavigatorError
from navigator_tf import options, threads

CODE = """
import tensorflow as tf
from navigator_tf import options, threads
threads.use(options.Threads(threads=2, inter_op_threads=3))
tf.constant(1.0) + 1.0
assert tf.config.threading.get_intra_op_parallelism_threads() == 2
assert tf.config.threading.get_inter_op_parallelism_threads() == 3
threads.use(options.Threads(threads=2))  # the same again
"""


def test_threads_are_set_before_tensorflow_has_computed():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_afterwards_others_are_refused_with_what_helps():
    tf.constant(1.0) + 1.0
    with pytest.raises(NavigatorError, match="TF_NUM_INTRAOP_THREADS=7"):
        threads.use(options.Threads(threads=7))
    threads.use(options.Threads())
