"""A question only the machine can answer, asked in a worker: does this TensorFlow come with TensorRT?"""

from __future__ import annotations

import ctypes

from navigator_tf.engine import tf


def tensorrt() -> str | None:
    """Whether TensorFlow was built with it, and its library is there. Else to ask TF-TRT itself ends the process."""
    if not tf.sysconfig.get_build_info().get("is_tensorrt_build"):
        return f"TensorFlow {tf.__version__} was built without TensorRT"
    from tensorflow.python.compiler.tf2tensorrt._pywrap_py_utils import get_linked_tensorrt_version

    version = get_linked_tensorrt_version()
    try:
        ctypes.CDLL(f"libnvinfer.so.{version[0]}")
    except OSError as error:
        return f"TensorFlow {tf.__version__} needs TensorRT {'.'.join(map(str, version))}: {error}"
    return None
