"""OpenVINO on the CPU: numpy in, numpy out, in the precision that the candidate promises."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from navigator_core import BF16, FP16, FP32, Context, LoadedModel
from navigator_core.errors import NavigatorError, NothingToDoError, RequestError
from navigator_openvino import engine, names, probes
from navigator_openvino.engine import openvino
from navigator_openvino.options import CpuOptions

MOST = 4
"""Batch sizes for which ``static`` compiles the model: each holds its weights, and takes as long as loading."""

TYPES = {
    "boolean": "bool", "f16": "float16", "f32": "float32", "f64": "float64",
    "i8": "int8", "i16": "int16", "i32": "int32", "i64": "int64",
    "u8": "uint8", "u16": "uint16", "u32": "uint32", "u64": "uint64",
}  # fmt: skip
"""OpenVINO's element types that numpy has too; it offers to pass the others as something else."""


def cpu(source: Path, options: CpuOptions, context: Context) -> LoadedModel:
    """The model compiled for the CPU. Inputs are read where they lie; outputs are copied: OpenVINO uses its own again.

    Calls from several threads at once are answered side by side. Raises NothingToDoError for a model in float64, which
    would be computed in float32; NavigatorError where the model cannot be compiled or has ends that numpy cannot hold;
    PluginError where names do not match.
    """
    if context.precision.epsilon < FP32.epsilon:
        raise NothingToDoError(f"OpenVINO computes in fp32 at most, not in {context.precision.name}: see [fp32]")
    try:
        model = _widened(engine.core().read_model(source))
        ready = _Ready(model, settings(options, context), context)
        call = Static(ready) if options.static else ready.compiled(model)
    except RuntimeError as error:
        raise NavigatorError(f"OpenVINO cannot load the model: {engine.said(error)}") from error
    return LoadedModel(call, close=call.close, thread_safe=True)


def settings(options: CpuOptions, context: Context) -> dict[str, Any]:
    """OpenVINO's own form of the options and of the precision that is promised."""
    found: dict[str, Any] = {"PERFORMANCE_HINT": options.hint.upper(), **arithmetic(context)}
    if options.streams:
        found["NUM_STREAMS"] = options.streams
    if options.threads:
        found["INFERENCE_NUM_THREADS"] = options.threads
    if options.cache_dir:
        found["CACHE_DIR"] = options.cache_dir
    return found


def arithmetic(context: Context) -> dict[str, Any]:
    """What may be computed how: nothing below what the candidate promises.

    Left to itself OpenVINO takes bf16 or fp16 for fp32 where the CPU has it. So it may around what is int8, which is
    coarser.
    """
    if context.precision.epsilon >= BF16.epsilon and context.precision != BF16:
        return {}
    hint = "f32"
    if context.precision == BF16 and probes.has("BF16"):
        hint = "bf16"
    if context.precision == FP16 and probes.has("FP16"):
        hint = "f16"
    return {"INFERENCE_PRECISION_HINT": hint, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def _widened(model: Any) -> Any:
    """The model with ends in float32 where they are in bfloat16, which numpy lacks."""
    half = openvino.Type.bf16
    if all(end.get_element_type() != half for end in (*model.inputs, *model.outputs)):
        return model
    process = openvino.preprocess.PrePostProcessor(model)
    for take, ends in ((process.input, model.inputs), (process.output, model.outputs)):
        for place, end in enumerate(ends):
            if end.get_element_type() == half:
                take(place).tensor().set_element_type(openvino.Type.f32)
    return process.build()


@frozen
class _Ready:
    """What is the same for every compilation of the model."""

    model: Any
    config: Mapping[str, Any]
    context: Context

    def compiled(self, model: Any) -> Call:
        """Compile it, or a copy with other shapes."""
        return Call(engine.core().compile_model(model, engine.CPU, dict(self.config)), self.context)


class Call:
    """A compiled model called with numpy arrays by our names."""

    def __init__(self, compiled: Any, context: Context) -> None:
        bound = names.match(context, compiled.inputs, compiled.outputs)
        for end in (*compiled.inputs, *compiled.outputs):
            _dtype(end)
        self.compiled: Any = compiled
        self._inputs = [(ours, place, _dtype(compiled.inputs[place])) for ours, place in bound.inputs]
        self._outputs = bound.outputs
        self._idle = [compiled.create_infer_request()]

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """New arrays by our names. A request is nobody else's while it works: there are as many as calls at once."""
        feed = {place: _tensor(ours, inputs[ours], dtype) for ours, place, dtype in self._inputs}
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._open().create_infer_request()
        try:
            results = request.infer(feed, share_outputs=True)
            found = {ours: np.array(results[place]) for ours, place in self._outputs}
        except RuntimeError as error:
            raise self._explained(inputs, error) from error
        self._idle.append(request)
        return found

    def close(self) -> None:
        """Let go of the compiled model, with its threads and memory."""
        self.compiled = None
        self._idle.clear()

    def _open(self) -> Any:
        compiled = self.compiled
        if compiled is None:
            raise NavigatorError("this model was closed; load it again")
        return compiled

    def _explained(self, inputs: Mapping[str, Any], error: RuntimeError) -> Exception:
        for ours, place, _ in self._inputs:
            shape, wanted = np.shape(inputs[ours]), self._open().inputs[place].partial_shape
            if not wanted.compatible(openvino.PartialShape(list(shape))):
                return RequestError(
                    f"input {ours!r} has the shape {shape}, and the model was converted for {wanted}; for other sizes, "
                    "optimize again with samples that have them"
                )
        return NavigatorError(f"OpenVINO cannot answer: {engine.said(error)}")


class Static:
    """A model compiled for batch sizes that it is called with, and for any batch once there are `MOST` of them."""

    def __init__(self, ready: _Ready) -> None:
        model, signature = ready.model, ready.context.signature
        axes = {spec.name: spec.batch_axis for spec in signature.inputs}
        taken = names.match(ready.context, model.inputs, model.outputs).inputs
        self._axes = {place: axis for ours, place in taken if (axis := axes[ours]) is not None}
        self._tells = next(((ours, self._axes[place]) for ours, place in taken if place in self._axes), None)
        self._ready: _Ready | None = ready
        self._calls: dict[int | None, Call] = {}
        self._lock = threading.Lock()
        if self._tells is None:
            self._calls[None] = ready.compiled(model)

    def __call__(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """As `Call`; the first call of a size may wait for its compilation."""
        return self._of(self._size(inputs))(inputs)

    def close(self) -> None:
        """Let go of all that was compiled."""
        with self._lock:
            self._ready = None
            for call in self._calls.values():
                call.close()
            self._calls.clear()

    def _size(self, inputs: Mapping[str, Any]) -> int | None:
        if self._tells is None:
            return None
        name, axis = self._tells
        shape = np.shape(inputs[name])
        return shape[axis] if axis < len(shape) else None

    def _of(self, size: int | None) -> Call:
        with self._lock:
            if size not in self._calls and len(self._calls.keys() - {None}) >= MOST:
                size = None
            if size not in self._calls:
                self._calls[size] = self._made(size)
            return self._calls[size]

    def _made(self, size: int | None) -> Call:
        if self._ready is None:
            raise NavigatorError("this model was closed; load it again")
        if size is None:
            return self._ready.compiled(self._ready.model)
        model = self._ready.model.clone()
        shapes = {}
        for place, end in enumerate(model.inputs):
            shape = end.partial_shape
            if place in self._axes:
                shape[self._axes[place]] = size
            shapes[end] = shape
        model.reshape(shapes)
        return self._ready.compiled(model)


def _dtype(end: Any) -> np.dtype[Any]:
    """The numpy type of an end. Raises NavigatorError where there is none."""
    kind = end.get_element_type().get_type_name()
    if kind not in TYPES:
        raise NavigatorError(
            f"{end.any_name!r} is of type {kind}, which numpy cannot hold; make the model's inputs and outputs float32"
        )
    return np.dtype(TYPES[kind])


def _tensor(name: str, value: Any, dtype: np.dtype[Any]) -> openvino.Tensor:
    """The array's own memory, where OpenVINO can read it there. Raises RequestError for another type: none is cast."""
    array = np.asarray(value)
    if array.dtype != dtype:
        array = _same_numbers(name, array, dtype)
    return openvino.Tensor(np.require(array, requirements=("C", "A", "W")), shared_memory=True)


def _same_numbers(name: str, array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Of another byte order, or bfloat16 for float32."""
    if array.dtype.newbyteorder("=") == dtype or (array.dtype.name == "bfloat16" and dtype == np.float32):
        return array.astype(dtype)
    raise RequestError(f"input {name!r} is {array.dtype}, and the model takes {dtype}")
