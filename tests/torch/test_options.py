"""What each option of navigator-torch does, seen."""

import contextlib
import warnings
from typing import ClassVar
from unittest import mock

import attrs
import importlib_metadata
import torch

from navigator_core import BF16, testing
from navigator_torch import aotinductor, compile, export, exported, onnx_by_torchscript, run, torchscript
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
    """Holds what an optimizer takes away: axes swapped twice, a sum of constants, weights the other way round."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(4, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.transpose(0, 1).transpose(0, 1) * (torch.ones(4) + torch.ones(4))) @ self.weight.t()


def to_onnx(options, folder, model=None):
    """By whichever exporter the options are of."""
    import onnx

    write = export.onnx if isinstance(options, chosen.Onnx) else onnx_by_torchscript.onnx
    model = (model or Foldable()).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        write(model, folder / "model.onnx", options, context(model))
    return onnx.load(folder / "model.onnx")


def opset(options, folder):
    return to_onnx(options, folder).opset_import[0].version


def operators(options, folder):
    return sorted(node.op_type for node in to_onnx(options, folder).graph.node)


def follows_control_flow(options, folder):
    return any(node.op_type == "If" for node in to_onnx(options, folder, Signed()).graph.node)


def asked_of_aotinductor(options, folder):
    model = Foldable().eval()
    exported.export(model, folder / "model.pt2", None, context(model))
    with mock.patch("torch._inductor.aoti_compile_and_package") as asked:
        aotinductor.convert(folder / "model.pt2", folder / "library.pt2", options, context(model))
    return asked.call_args.kwargs["inductor_configs"]


def eager_threads(options, folder):
    return run.eager(Threads(), options, context(Threads())).call({"x": torch.ones(2, 4)})["output"].max().item()


def exported_threads(options, folder):
    exported.export(Foldable().eval(), folder / "model.pt2", None, context(Foldable()))
    loaded = exported.run(folder / "model.pt2", options, context(Foldable()))
    with mock.patch("torch.set_num_threads", wraps=torch.set_num_threads) as asked:
        loaded.call({"x": torch.ones(2, 4)})
    return [call.args for call in asked.call_args_list]


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


def asked_of_inductor(options, folder):
    return asked_of_the_compiler(options, folder).get("options", {}).get("freezing", False)


def half(model):
    """The context of a candidate that promises bfloat16."""
    return attrs.evolve(context(model), precision=BF16)


def eager_error(options, folder):
    """How far an eager call is off the source: nothing in fp32."""
    model = torch.nn.Sequential(torch.nn.Linear(4, 4)).eval()
    torch.nn.init.constant_(model[0].weight, 1 / 3)
    given = context_for(model, torch.ones(2, 4), {"input": {0: BATCH}})
    promised = attrs.evolve(given, precision=BF16 if options.autocast else given.precision)
    with torch.no_grad():
        expected = model(torch.ones(2, 4))
    return (
        (run.eager(model, options, promised).call({"input": torch.ones(2, 4)})["output"] - expected).abs().max().item()
    )


class Layout(torch.nn.Module):
    """Answers with how its weights are laid out."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 0 + int(self.convolution.weight.stride()[1] == 1)


def eager_layout(options, folder):
    return run.eager(Layout(), options, context(Layout())).call({"x": torch.ones(2, 4)})["output"].max().item()


def compiled_layout(options, folder):
    with mock.patch("torch.compile", lambda model, **given: model):
        loaded = compile.run(Layout(), options, context(Layout()))
        try:
            return loaded.call({"x": torch.ones(2, 4)})["output"].max().item()
        finally:
            loaded.close()


def compiled_type(options, folder):
    """The type in which the model that is given to the compiler holds its weights."""
    given = half(Layout()) if options.autocast else context(Layout())
    with mock.patch("torch.compile", wraps=torch.compile) as asked:
        compile.run(Layout(), options, given).close()
    return str(next(asked.call_args.args[0].parameters()).dtype)


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
            "opset": testing.Effect(19, opset) if HAS_ONNX else NO_ONNX,
            "optimize": testing.Effect(False, operators) if HAS_ONNX else NO_ONNX,
            "method": testing.Effect("script", follows_control_flow) if HAS_ONNX else NO_ONNX,
        },
        "exported-program->aotinductor": {
            "freezing": testing.Effect(True, asked_of_aotinductor),
            "max_autotune": testing.Effect(True, asked_of_aotinductor),
        },
        "@exported-program": {"threads": testing.Effect(torch.get_num_threads() + 2, exported_threads)},
        "@torch-eager": {
            "threads": testing.Effect(torch.get_num_threads() + 2, eager_threads),
            "channels_last": testing.Effect(True, eager_layout),
            "autocast": testing.Effect("bf16", eager_error),
        },
        "@torch-compile": {
            "mode": testing.Effect("max-autotune", asked_of_the_compiler),
            "dynamic": testing.Effect(False, asked_of_the_compiler),
            "fullgraph": testing.Effect(True, asked_of_the_compiler),
            "freezing": testing.Effect(True, asked_of_inductor),
            "channels_last": testing.Effect(True, compiled_layout),
            "autocast": testing.Effect("bf16", compiled_type),
            "threads": testing.Effect(torch.get_num_threads() + 2, compiled_threads),
        },
        "@torchscript": {
            "freeze": testing.Effect(False, scripted),
            "optimize_for_inference": testing.Effect(True, scripted),
            "threads": testing.Effect(torch.get_num_threads() + 2, scripted),
        },
    }
