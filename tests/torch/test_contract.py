"""navigator-torch keeps the contracts that every plugin keeps."""

import pytest
import torch

from navigator_core import testing
from navigator_torch import source

from .conftest import BATCH, Mlp, batch_of, context_for, reference

MODULE = "navigator_torch.plugin"


def mlp():
    torch.manual_seed(0)
    return Mlp()


def given():
    return {"x": torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), "unused": torch.zeros(2), "scale": 0.5}


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("torch",)


class TestTensors(testing.TensorsContract):
    module = MODULE
    kind = "torch"
    widened = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class TestEager(testing.RunnerContract):
    module = MODULE
    runner = "torch-eager"

    def case(self, folder):
        model = mlp()
        context = context_for(model, given(), {"x": {0: BATCH}})
        batches = [batch_of(context, rows) for rows in (1, 3, 8)]
        model = self.artifact(source.prepare(model), folder, context)
        return testing.RunnerCase(model, context, [(inputs, reference(mlp(), context, inputs)) for inputs in batches])

    def artifact(self, model, folder, context):
        return model


class TestTorchScript(TestEager):
    runner = "torchscript"
    named = False

    def artifact(self, model, folder, context):
        from navigator_torch import options, torchscript

        torchscript.export(model, folder / "model.pt", options.ToTorchScript(), context)
        return folder / "model.pt"


class Conversion(testing.ConversionContract):
    module = MODULE

    def source(self, folder):
        return mlp(), given()


class TestTrace(Conversion):
    conversion = "torch->torchscript[trace]"


class TestScript(Conversion):
    conversion = "torch->torchscript[script]"


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.gpu
@CUDA
class TestTensorsOnCuda(TestTensors):
    device = "cuda:0"


@pytest.mark.gpu
@CUDA
class TestTraceOnCuda(TestTrace):
    device = "cuda"
