"""ONNX to ONNX in int8 by ONNX Runtime's quantizer: ranges taken in each call, or once from the samples."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime import quantization

from navigator_core import Context, Names, processor
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_onnx import names, proto, rewrite, run
from navigator_onnx.options import DynamicOptions, QdqOptions

DYNAMIC = frozenset({"Attention", "Conv", "Gather", "Gemm", "LSTM", "MatMul"})
STATIC = frozenset({"Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"})
BETWEEN = ("Clip", "Flatten", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
"""What goes on in int8 where its input is in int8 already, so that nothing is dequantized in between."""

METHODS = {
    # "entropy" is left out: with as many bins as levels, which cannot be changed, it finds the whole range
    "minmax": quantization.CalibrationMethod.MinMax,
    "percentile": quantization.CalibrationMethod.Percentile,
}

INT8_NODES = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QAttention"}
    | {"DynamicQuantizeLSTM"}
)


def dynamic(source: Path, output: Path, options: DynamicOptions, context: Context) -> Names:
    """Write the model with weights in signed int8 and activations quantized in each call. Raises as `qdq`."""
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        ready = prepare(source, Path(folder))
        excluded = _excluded(source, ready, options, DYNAMIC, "dynamic quantization")
        quantization.quantize_dynamic(
            ready,
            output,
            op_types_to_quantize=sorted({"MatMul" if op == "Gemm" else op for op in options.op_types}),
            per_channel=options.per_channel,
            reduce_range=_reduced(options.reduce_range, context),
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=[*excluded, *(f"{name}_MatMul" for name in excluded)],  # it makes MatMul of Gemm
            use_external_data_format=_is_large(ready),
        )
        changed = _int8_nodes(output) > _int8_nodes(ready)
    return _finished(output, context, options.op_types, changed)


def qdq(source: Path, output: Path, options: QdqOptions, context: Context) -> Names:
    """Write the model with QuantizeLinear and DequantizeLinear around what computes in int8, calibrated on samples.

    Raises NothingToDoError where there is nothing to quantize, NavigatorError where there is nothing to calibrate on
    and where the result does not load, RequestError for a node in the options that the model does not have.
    """
    if not context.calibration:
        raise NavigatorError("static quantization needs samples to calibrate on, and there are none")
    symmetric = (options.activations or ("int8" if context.device.startswith("cuda") else "uint8")) == "int8"
    with tempfile.TemporaryDirectory(dir=output.parent) as folder:
        ready = prepare(source, Path(folder))
        excluded = _excluded(source, ready, options, STATIC, "static quantization")
        quantization.quantize_static(
            ready,
            output,
            _Samples(ready, context),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=[*options.op_types, *BETWEEN],
            per_channel=options.per_channel,
            reduce_range=_reduced(options.reduce_range, context),
            activation_type=quantization.QuantType.QInt8 if symmetric else quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            nodes_to_exclude=excluded,
            use_external_data_format=_is_large(ready),
            calibrate_method=METHODS[options.calibration],
            extra_options={
                "ActivationSymmetric": symmetric,
                "CalibTensorRangeSymmetric": symmetric,
                "WeightSymmetric": True,
                "QuantizeBias": not symmetric,  # TensorRT takes biases in fp32 only
            },
        )
        changed = _int8_nodes(output) > _int8_nodes(ready)
    return _finished(output, context, options.op_types, changed)


class _Samples(quantization.CalibrationDataReader):  # type: ignore[misc]
    """The samples by the artifact's names, one call after the other, for those inputs that it takes."""

    def __init__(self, model: Path, context: Context) -> None:
        graph = proto.read(model).graph
        bound = names.match(context, [value.name for value in graph.input], [value.name for value in graph.output])
        self._calls: Iterator[Mapping[str, np.ndarray]] = iter(
            [{theirs: sample[ours] for ours, theirs in bound.inputs} for sample in context.calibration]
        )

    def get_next(self) -> Any:
        """The next call's inputs, None after the last."""
        return next(self._calls, None)


def prepare(source: Path, folder: Path) -> Path:
    """The model as the quantizer wants it, in ``folder``: constants folded, every node named, no stale shapes.

    The folding is ONNX Runtime's basic one, which leaves standard operators; weights go into a side file.
    """
    ready = folder / "ready.onnx"
    options = run.base_options("basic")
    options.optimized_model_filepath = str(ready)
    options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "ready.onnx.data")
    # Gemm made of MatMul and Add would have another name than the one to exclude
    onnxruntime.InferenceSession(str(source), options, providers=[run.CPU], disabled_optimizers=["MatMulAddFusion"])
    model = proto.read(ready)
    for graph in proto.graphs(model.graph):
        del graph.value_info[:]  # dynamo leaves entries of what it fused
    taken = {node.name for node in model.graph.node}
    for number, node in enumerate(model.graph.node):
        if not node.name:
            node.name = next(name for name in _fresh(f"{node.op_type}_{number}") if name not in taken)
    _untie(model.graph)
    entry = model.metadata_props.add()
    entry.key, entry.value = "onnx.quant.pre_process", "onnxruntime.quant"  # else it advises to do what is done here
    ready.write_bytes(model.SerializeToString())
    return ready


def _fresh(name: str) -> Iterator[str]:
    while True:
        yield name
        name += "_"


def _untie(graph: onnx.GraphProto) -> None:
    """Give each Gemm that transposes its weight one of its own: the quantizer transposes it for all who share it."""
    users: dict[str, int] = {}
    for node in graph.node:
        for name in node.input:
            users[name] = users.get(name, 0) + 1
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Gemm" and node.input[1] in weights and users[node.input[1]] > 1:
            copy = graph.initializer.add()
            copy.CopyFrom(weights[node.input[1]])
            copy.name = next(name for name in _fresh(f"{copy.name}_{node.name}") if name not in weights)
            node.input[1] = copy.name


def _excluded(
    source: Path, ready: Path, options: DynamicOptions | QdqOptions, able: frozenset[str], what: str
) -> Sequence[str]:
    """The names of the nodes that stay as they are: not wanted, not asked for, or products of two activations."""
    unable = [op for op in options.op_types if op not in able]
    if unable:
        raise NavigatorError(f"{what} of ONNX Runtime knows no {unable[0]}; it knows {', '.join(sorted(able))}")
    rewrite.require_nodes("node", options.nodes_to_exclude, (node.name for node in proto.read(source).graph.node))
    graph = proto.read(ready).graph
    weights = {tensor.name for tensor in graph.initializer}
    others = [n for n in graph.node if n.op_type in able]
    others = [n for n in others if n.op_type not in options.op_types or weights.isdisjoint(n.input)]
    return [*options.nodes_to_exclude, *(n.name for n in others)]


def _reduced(wanted: bool | None, context: Context) -> bool:
    """Whether weights are kept to 7 bits."""
    return wanted if wanted is not None else context.device == "cpu" and processor.sums_of_int8_overflow()


def _is_large(ready: Path) -> bool:
    return sum(path.stat().st_size for path in ready.parent.iterdir()) > rewrite.INLINE


def _int8_nodes(model: Path) -> int:
    return sum(node.op_type in INT8_NODES for node in proto.read(model).graph.node)


def _finished(output: Path, context: Context, asked: Sequence[str], changed: bool) -> Names:
    if not changed:
        kinds = " or ".join(filter(None, (", ".join(asked[:-1]), asked[-1])))
        raise NothingToDoError(f"nothing to quantize: the model has no {kinds} in fp32 with constant weights")
    rewrite.check(output)
    return context.names
