"""What each option of navigator-torch does, seen."""

import contextlib
import warnings
from typing import ClassVar
from unittest import mock

import importlib_metadata
import torch

from navigator_core import testing
from navigator_torch import compile, export, run, torchscript
from navigator_torch import options as chosen

from .conftest import BATCH, context_for

HAS_ONNX = any(importlib_metadata.distributions(name="onnxscript"))
NO_ONNX = "onnxscript, which comes with navigator-onnx, is not installed"


class Signed(torch.nn.Module):
    """What a trace cannot follow: it does one thing with positive inputs, another with negative ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool(x.sum() > 0):
            return x + 1
        return x - 1


class Threads(torch.nn.Module):
    """Answers with the number of threads that it is called with."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + torch.get_num_threads()


def context(model):
    return context_for(model, torch.ones(2, 4), {"x": {0: BATCH}})


def answer_below_zero(options, folder):
    model = Signed().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # that it cannot follow is what is to be seen
        torchscript.export(model, folder / "model.pt", options, context(model))
    loaded = torchscript.run(folder / "model.pt", chosen.TorchScript(), context(model))
    return loaded.call({"x": -torch.ones(2, 4)})["output"].tolist()


class Foldable(torch.nn.Module):
    """Holds what an optimizer takes away: axes swapped twice, a sum of constants."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(0, 1).transpose(0, 1) * (torch.ones(4) + torch.ones(4))


def exported(options, folder):
    import onnx

    model = Foldable().eval()
    export.onnx(model, folder / "model.onnx", options, context(model))
    return onnx.load(folder / "model.onnx")


def opset(options, folder):
    return exported(options, folder).opset_import[0].version


def operators(options, folder):
    return sorted(node.op_type for node in exported(options, folder).graph.node)


def eager_threads(options, folder):
    return run.eager(Threads(), options, context(Threads())).call({"x": torch.ones(2, 4)})["output"].max().item()


def compiled_threads(options, folder):
    with mock.patch("torch.compile", lambda model, **given: model):  # what it does with threads is not its own
        loaded = compile.run(Threads(), options, context(Threads()))
        try:
            return loaded.call({"x": torch.ones(2, 4)})["output"].max().item()
        finally:
            loaded.close()


def asked_of_the_compiler(options, folder):
    with mock.patch("torch.compile", wraps=torch.compile) as asked:
        compile.run(Signed(), options, context(Signed())).close()
    return asked.call_args.kwargs


def scripted(options, folder):
    """What is done with a TorchScript file, and with how many threads it is called."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU()).eval()
    given = context_for(model, torch.ones(2, 4), {"input": {0: BATCH}})
    torchscript.export(model, folder / "model.pt", chosen.ToTorchScript(), given)
    with contextlib.ExitStack() as stack:
        spies = [
            stack.enter_context(mock.patch(name, wraps=function))
            for name, function in (
                ("torch.jit.freeze", torch.jit.freeze),
                ("torch.jit.optimize_for_inference", torch.jit.optimize_for_inference),
                ("torch.set_num_threads", torch.set_num_threads),
            )
        ]
        torchscript.run(folder / "model.pt", options, given).call({"input": torch.ones(2, 4)})
        return [spy.call_count for spy in spies]


class TestOptions(testing.OptionsContract):
    module = "navigator_torch.plugin"
    effects: ClassVar = {
        "torch->torchscript": {"method": testing.Effect("script", answer_below_zero)},
        "torch->onnx": {
            "opset": testing.Effect(23, opset) if HAS_ONNX else NO_ONNX,
            "optimize": testing.Effect(False, operators) if HAS_ONNX else NO_ONNX,
        },
        "@torch-eager": {"threads": testing.Effect(torch.get_num_threads() + 2, eager_threads)},
        "@torch-compile": {
            "mode": testing.Effect("max-autotune", asked_of_the_compiler),
            "dynamic": testing.Effect(False, asked_of_the_compiler),
            "fullgraph": testing.Effect(True, asked_of_the_compiler),
            "threads": testing.Effect(torch.get_num_threads() + 2, compiled_threads),
        },
        "@torchscript": {
            "freeze": testing.Effect(False, scripted),
            "optimize_for_inference": testing.Effect(True, scripted),
            "threads": testing.Effect(torch.get_num_threads() + 2, scripted),
        },
    }
