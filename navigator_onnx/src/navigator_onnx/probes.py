"""Questions only the machine can answer, asked in a worker: can a session use the GPU, does TensorRT start?"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from typing import IO

SHARED = ("onnxruntime", "onnxruntime-gpu")


def one_onnxruntime() -> str | None:
    """Whether one of the two distributions that share a folder is installed, not both."""
    if len(_installed()) < 2:
        return None
    return "onnxruntime and onnxruntime-gpu are both installed; they share one folder, and only the CPU is left"


def _installed() -> list[str]:
    found = []
    for name in SHARED:
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        found.append(name)
    return found


def cuda_provider() -> str | None:
    """Whether a session really runs on CUDA."""
    return session_with("CUDAExecutionProvider")


def tensorrt_provider() -> str | None:
    """Whether a session really runs in TensorRT."""
    return session_with("TensorrtExecutionProvider")


def session_with(provider: str) -> str | None:
    """Create a session of one node with this provider, run it, and say why that fails if it does."""
    import numpy as np

    from navigator_onnx import run, run_gpu

    with _stderr() as log:
        try:
            run_gpu.preload()
            session = run.open_session(_one_node(), run.base_options("all"), [provider])
            eye = np.eye(2, dtype=np.float32)
            (result,) = session.run(None, {"x": eye})
        except Exception as error:  # whatever the provider raises is the answer
            return _sentence(error, log)
    return None if (result == eye).all() else f"{provider} computes wrong results for a product of two matrices"


def _one_node() -> bytes:
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "x"], ["y"])], "probe", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@contextmanager
def _stderr() -> Iterator[IO[bytes]]:
    """What C code writes to standard error meanwhile: the missing library is named there and nowhere else."""
    with tempfile.TemporaryFile() as log:
        saved = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            yield log
        finally:
            os.dup2(saved, 2)
            os.close(saved)


def _sentence(error: Exception, log: IO[bytes]) -> str:
    log.seek(0)
    logged = re.search(r"\[E:onnxruntime.*?\] (.*?)(?:\x1b|$)", log.read().decode(errors="replace"), re.MULTILINE)
    said = (str(error) or type(error).__name__).splitlines()[:1]
    return ": ".join([*said, *([logged.group(1)] if logged else [])])[:500]


def tensorrt() -> str | None:
    """Whether TensorRT can be imported and finds a GPU. A broken installation raises anything, even bare Exception."""
    try:
        import tensorrt as trt

        trt.Builder(trt.Logger(trt.Logger.ERROR))
    except Exception as error:
        return f"TensorRT cannot start: {type(error).__name__}: {error}"
    return None
