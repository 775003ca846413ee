"""Exported programs of torch to OpenVINO IR. Imports torch, which such a program is made of."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.export
from attrs import evolve

from navigator_core import Context, Names
from navigator_core.errors import NavigatorError
from navigator_openvino import convert as convert_file
from navigator_openvino import engine
from navigator_openvino.engine import openvino


def convert(source: Path, output: Path, options: None, context: Context) -> Names:
    """Write the IR with the signature's names. Raises NavigatorError with what OpenVINO says where it cannot."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.load(source)
        try:
            model = openvino.convert_model(program)
        except Exception as error:  # its own exceptions share no base
            raise NavigatorError(f"OpenVINO cannot convert the program: {engine.said(error)}") from error
    return _named(model, output, context)


def _named(model: Any, output: Path, context: Context) -> Names:
    """The program's tensors come in the signature's order, under torch's names: give them ours, unless one is taken."""
    signature = context.signature
    if len(model.inputs) != len(signature.inputs) or len(model.outputs) != len(signature.outputs):
        raise NavigatorError(
            f"OpenVINO made {len(model.inputs)} inputs and {len(model.outputs)} outputs of the program's "
            f"{len(signature.inputs)} and {len(signature.outputs)}"
        )
    _part(model)
    for node in model.get_ops():
        for end in node.outputs():
            end.get_tensor().set_names(set())
    taken = {spec.name for spec in (*signature.inputs, *signature.outputs)}
    inputs = {spec.name for spec in signature.inputs}
    renamed: dict[str, str] = {}
    for end, spec in zip(model.inputs, signature.inputs, strict=True):
        end.get_tensor().add_names({spec.name})
    for end, spec in zip(model.outputs, signature.outputs, strict=True):
        if spec.name in inputs:
            renamed[spec.name] = next(new for n in itertools.count(1) if (new := f"{spec.name}.out{n}") not in taken)
        end.get_tensor().add_names({renamed.get(spec.name, spec.name)})
    names = Names(outputs=renamed)
    return convert_file.write(model, output, evolve(context, names=names))


def _part(model: Any) -> None:
    """Give an output that is an input a tensor of its own: a file keeps one name for each tensor."""
    for result in model.get_results():
        end = result.input_value(0)
        if end.get_node().get_type_name() == "Parameter":
            same = openvino.opset13.convert(end, end.get_element_type())
            result.input(0).replace_source_output(same.output(0))
