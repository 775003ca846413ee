"""ONNX Runtime on the CPU, and what its other execution providers share with it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from navigator_core import Context, LoadedModel
from navigator_core.errors import NavigatorError
from navigator_onnx import tensors
from navigator_onnx.names import Bindings, match
from navigator_onnx.options import CpuOptions

CPU = "CPUExecutionProvider"
Provider = str | tuple[str, dict[str, str]]


def cpu(source: Path, options: CpuOptions, context: Context) -> LoadedModel:
    """A session on the CPU: numpy in, numpy out. Outputs are never copied, inputs only where they are not contiguous.

    Without a binding: it would save the fresh memory of each output, at the price of overwriting the caller's last one.
    Arrays of another type than the model declares are refused by ONNX Runtime, never cast; numpy lacks bfloat16, which
    is taken as float32 or of ml_dtypes, and given as the latter. Raises NavigatorError where the file needs what numpy
    or this ONNX Runtime lacks, PluginError where names do not match.
    """
    session = open_session(source, session_options(options), [CPU])
    bound, half = bindings(session, context), bfloat16(session)
    return loaded(BFloat16Call(session, bound, half) if half else NumpyCall(session, bound))


def session_options(options: CpuOptions) -> onnxruntime.SessionOptions:
    """ONNX Runtime's own form of the options."""
    result = base_options(options.graph_optimization_level)
    result.intra_op_num_threads = options.threads
    result.inter_op_num_threads = options.inter_op_threads
    result.execution_mode = getattr(onnxruntime.ExecutionMode, f"ORT_{options.execution_mode.upper()}")
    result.enable_cpu_mem_arena = options.enable_mem_arena
    for pool in ("intra_op", "inter_op"):
        result.add_session_config_entry(f"session.{pool}.allow_spinning", str(int(options.allow_spinning)))
    return result


def base_options(level: str) -> onnxruntime.SessionOptions:
    """Options that every provider understands; of the log only errors are kept."""
    result = onnxruntime.SessionOptions()
    result.log_severity_level = 3
    names = {"disabled": "DISABLE_ALL", "basic": "ENABLE_BASIC", "extended": "ENABLE_EXTENDED", "all": "ENABLE_ALL"}
    result.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_{names[level]}")
    return result


def open_session(
    source: Path | bytes, options: onnxruntime.SessionOptions, providers: Sequence[Provider]
) -> onnxruntime.InferenceSession:
    """A session that really has the first of ``providers``; NavigatorError with the reason where it cannot.

    The list of available providers proves nothing: it names CUDA on machines without a GPU, and the session then
    runs on the CPU. ONNX Runtime's own habit of starting again on the CPU after an error is switched off.
    """
    wanted = providers[0] if isinstance(providers[0], str) else providers[0][0]
    if wanted not in onnxruntime.get_available_providers():
        raise NavigatorError(f"onnxruntime {onnxruntime.__version__} was built without {wanted}")
    model = source if isinstance(source, bytes) else os.fspath(source)
    session = onnxruntime.InferenceSession(model, options, providers=list(providers), enable_fallback=0)
    session.disable_fallback()
    if wanted not in session.get_providers():
        raise NavigatorError(
            f"{wanted} cannot be used: the session came up with {', '.join(session.get_providers())} only"
        )
    return session


def bindings(session: onnxruntime.InferenceSession, context: Context) -> Bindings:
    """Names matched, and types checked: NavigatorError for a tensor that numpy cannot hold."""
    for tensor in (*session.get_inputs(), *session.get_outputs()):
        if not tensor.type.startswith("tensor(") or any(word in tensor.type for word in ("float8", "float4", "int4")):
            raise NavigatorError(
                f"{tensor.name!r} is a {tensor.type}, which numpy cannot hold, so it cannot be passed to onnxruntime; "
                "export the model with float32 or float16 inputs and outputs (a Cast inside keeps the arithmetic)"
            )
    return match(context, [i.name for i in session.get_inputs()], [o.name for o in session.get_outputs()])


def bfloat16(session: onnxruntime.InferenceSession) -> frozenset[str]:
    """The names of the inputs and outputs of that type."""
    ends = (*session.get_inputs(), *session.get_outputs())
    return frozenset(tensor.name for tensor in ends if tensor.type == "tensor(bfloat16)")


class NumpyCall:
    """A session called with numpy arrays by our names.

    It is the session ``below`` ONNX Runtime's own wrapper that is called, where there is one: all that the wrapper does
    in a call is to look whether an input is missing, and that costs as much as everything here.
    """

    def __init__(self, session: onnxruntime.InferenceSession, names: Bindings) -> None:
        self.session, self.below = session, getattr(session, "_sess", session)
        self._inputs = names.inputs
        self._ours = [ours for ours, _ in names.outputs]
        self._theirs = [theirs for _, theirs in names.outputs]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """New arrays by our names; each call costs about a microsecond beyond the session's own time."""
        feed = {}
        for ours, theirs in self._inputs:
            array = inputs[ours]
            plain = type(array) is np.ndarray and array.dtype.isnative
            feed[theirs] = array if plain else tensors.native(np.asarray(array))
        return dict(zip(self._ours, self.below.run(self._theirs, feed, None), strict=True))


class BFloat16Call:
    """A session called as `NumpyCall` is; ONNX Runtime passes bfloat16 only as OrtValues, around the arrays' memory."""

    def __init__(self, session: onnxruntime.InferenceSession, names: Bindings, half: frozenset[str]) -> None:
        self.session = session
        self._inputs = [(ours, theirs, theirs in half) for ours, theirs in names.inputs]
        self._ours = [ours for ours, _ in names.outputs]
        self._theirs = [theirs for _, theirs in names.outputs]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """New arrays by our names."""
        feed = {}
        for ours, theirs, half in self._inputs:
            array = np.asarray(inputs[ours])
            feed[theirs] = tensors.from_numpy(array, "cpu", "bfloat16" if half else array.dtype.name)
        values = self.session.run_with_ort_values(self._theirs, feed)
        return dict(zip(self._ours, map(tensors.on_host, values), strict=True))


def loaded(call: Any) -> LoadedModel:
    """A `LoadedModel` around a callable that has a ``session``, which closing releases and several threads may run."""

    def close() -> None:
        call.session = call.below = _Closed()

    return LoadedModel(call, close=close, thread_safe=True)


class _Closed:
    def __getattr__(self, name: str) -> Any:
        raise NavigatorError("this model was closed; load it again")
