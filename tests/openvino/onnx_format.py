"""ONNX as a format, for tests where no other plugin declares it: enough for a file to be a source."""

from __future__ import annotations

import os

import importlib_metadata

from navigator_core import Dim, Format, LoadedModel, Ref, Runner, Signature, TensorSpec, hookimpl

ALONE = not list(importlib_metadata.distributions(name="navigator-onnx"))


@hookimpl
def identify_model(model):
    return "onnx" if ALONE and isinstance(model, str | os.PathLike) and str(model).endswith(".onnx") else None


@hookimpl
def declare_formats():
    declared = Format(
        name="onnx", file="model.onnx", signature=Ref("onnx_format:signature"), reference="onnx-reference"
    )
    return [declared] if ALONE else []


@hookimpl
def declare_runners():
    return [Runner(name="onnx-reference", formats=("onnx",), implementation=Ref("onnx_format:run"))] if ALONE else []


def signature(path):
    import onnx

    graph = onnx.load(path).graph
    return Signature(tuple(map(_spec, graph.input)), tuple(map(_spec, graph.output)))


def _spec(value):
    from onnx import helper

    tensor = value.type.tensor_type
    name = helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return TensorSpec(
        value.name, name, tuple(Dim(d.dim_param) if d.dim_param else d.dim_value for d in tensor.shape.dim)
    )


def run(source, options, context):
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(source))
    outputs = [spec.name for spec in context.signature.outputs] or evaluator.output_names
    return LoadedModel(lambda inputs: dict(zip(outputs, evaluator.run(list(outputs), dict(inputs)), strict=True)))
