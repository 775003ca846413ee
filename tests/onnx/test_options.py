"""What each option of navigator-onnx does, seen."""

from typing import ClassVar
from unittest import mock

import importlib_metadata
import numpy as np
import onnx
from onnx import numpy_helper
from onnx_models import attention, context, linear, mlp, model, node, value, wordy, write

from navigator_core import Context, Dim, Signature, TensorSpec, processor, testing
from navigator_onnx import half, quantize, run, run_gpu, simplify
from navigator_onnx.options import DynamicOptions, HalfOptions, QdqOptions, SlimOptions

HAS_POLYGRAPHY = any(importlib_metadata.distributions(name="polygraphy"))
NO_POLYGRAPHY = "polygraphy, with which TensorRT engines are built, is not installed"


def settings(options, folder):
    """What ONNX Runtime says of a session on the CPU."""
    path = write(folder / "model.onnx", linear())
    found = run.cpu(path, options, context(path)).call.session.get_session_options()
    return {
        "threads": found.intra_op_num_threads,
        "inter_op_threads": found.inter_op_num_threads,
        "mode": found.execution_mode,
        "arena": found.enable_cpu_mem_arena,
        "spinning": found.get_session_config_entry("session.intra_op.allow_spinning"),
    }


def operators(options, folder):
    """What is left of a model that can be simplified, as ONNX Runtime executes it."""
    proto = model([node("Identity", "x", "same"), node("Relu", "same", "y")], [value("x", [2])], [value("y", [2])])
    path = write(folder / "model.onnx", proto)
    asked = run.session_options(options)
    asked.optimized_model_filepath = str(folder / "optimized.onnx")
    asked.log_severity_level = 4
    run.open_session(path, asked, [run.CPU])
    return [one.op_type for one in onnx.load(folder / "optimized.onnx").graph.node]


def level_on(load):
    """With which level a session on a GPU is asked for; it is opened on the CPU."""

    def observe(options, folder):
        path = write(folder / "model.onnx", linear(batch=2))
        on_cpu = run.open_session(path, run.base_options("all"), [run.CPU])
        with (
            mock.patch.object(run, "open_session", return_value=on_cpu) as asked,
            mock.patch.object(run_gpu, "preload"),
        ):
            load(path, options, context(path, device="cuda"))
        return asked.call_args.args[1].graph_optimization_level

    return observe


def search_of_the_builder(options, folder):
    from navigator_onnx import trt

    signature = Signature((TensorSpec("x", "float32", (Dim("batch", 1, 8), 3)),))
    save = trt.builder(
        folder / "model.onnx", folder / "model.plan", options, Context(signature=signature, device="cuda")
    )
    return save._bytes._config.builder_optimization_level


PASSES = {
    SlimOptions: (simplify.simplify, wordy),
    HalfOptions: (half.fp16, attention),
    DynamicOptions: (quantize.dynamic, mlp),
    QdqOptions: (quantize.qdq, mlp),
}


def written(options, folder):
    """What a pass makes of a model: its operators, and its weights to the last bit."""
    convert, made = PASSES[type(options)]
    proto = made()
    next(one for one in proto.graph.node if one.op_type in ("MatMul", "Gemm")).name = "first"
    source = write(folder / "source" / "m.onnx", proto)
    calls = [{"x": (np.random.default_rng(0).standard_normal((400, 64)) ** 5).astype(np.float32)}]
    (folder / "out").mkdir()
    convert(source, folder / "out" / "model.onnx", options, context(source, calibration=calls))
    graph = onnx.load(folder / "out" / "model.onnx").graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    return [one.op_type for one in graph.node], {n: (str(t.dtype), t.tobytes()) for n, t in tensors.items()}


class TestOptions(testing.OptionsContract):
    module = "navigator_onnx.plugin"
    effects: ClassVar = {
        "onnx->tensorrt": {
            "optimization_level": testing.Effect(5, search_of_the_builder) if HAS_POLYGRAPHY else NO_POLYGRAPHY
        },
        "onnx->onnx": {
            "skip_optimizations": testing.Effect(("constant_folding",), written),
            "keep_sensitive": testing.Effect(False, written),
            "op_types_to_exclude": testing.Effect(("MatMul",), written),
            "nodes_to_exclude": testing.Effect(("first",), written),
            "op_types": testing.Effect(("MatMul",), written),
            "per_channel": testing.Effect(False, written),
            "reduce_range": testing.Effect(not processor.sums_of_int8_overflow(), written),
            "calibration": testing.Effect("percentile", written),
            "activations": testing.Effect("int8", written),
        },
        "@onnxruntime-cpu": {
            "threads": testing.Effect(2, settings),
            "inter_op_threads": testing.Effect(2, settings, beside={"execution_mode": "parallel"}),
            "graph_optimization_level": testing.Effect("disabled", operators),
            "execution_mode": testing.Effect("parallel", settings),
            "enable_mem_arena": testing.Effect(False, settings),
            "allow_spinning": testing.Effect(False, settings),
        },
        "@onnxruntime-cuda": {"graph_optimization_level": testing.Effect("basic", level_on(run_gpu.cuda))},
        "@onnxruntime-tensorrt": {"graph_optimization_level": testing.Effect("basic", level_on(run_gpu.tensorrt))},
    }
