"""navigator-torch keeps the contracts that every plugin keeps."""

import functools
import shutil
import tempfile
from pathlib import Path

import importlib_metadata
import pytest
import torch

from navigator_core import testing
from navigator_torch import devices, source

from .conftest import BATCH, Mlp, batch_of, context_for, reference

MODULE = "navigator_torch.plugin"
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
COMPILER = pytest.mark.skipif(devices.compiler() is not None, reason="no C++ compiler")
ONNX = pytest.mark.skipif(
    not any(importlib_metadata.distributions(name="navigator-onnx")), reason="navigator-onnx is not installed"
)


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


class TestExportedProgram(TestEager):
    runner = "exported-program"
    named = False

    def artifact(self, model, folder, context):
        from navigator_torch import exported, options

        exported.export(model, folder / "model.pt2", options.ToExportedProgram(), context)
        return folder / "model.pt2"


@pytest.mark.slow
@COMPILER
class TestAotInductor(TestEager):
    runner = "aotinductor"
    named = False

    def artifact(self, model, folder, context):
        return shutil.copy(compiled(model, context), folder / "model.pt2")


@functools.cache
def compiled_in() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


def compiled(model, context):
    """Compiled once for all tests: it takes ten seconds and more."""
    from navigator_torch import aotinductor, exported, options

    folder = Path(compiled_in().name)
    (folder / "aotinductor").mkdir(exist_ok=True)
    library = folder / "aotinductor" / "model.pt2"
    if not library.exists():
        exported.export(model, folder / "model.pt2", options.ToExportedProgram(), context)
        aotinductor.convert(folder / "model.pt2", library, options.ToAotInductor(), context)
    return library


class Conversion(testing.ConversionContract):
    module = MODULE

    def source(self, folder):
        return mlp(), given()


class TestTrace(Conversion):
    conversion = "torch->torchscript[trace]"


class TestScript(Conversion):
    conversion = "torch->torchscript[script]"


class TestExport(Conversion):
    conversion = "torch->exported-program"


class TestExportOfAProgram(Conversion):
    conversion = "torch->exported-program"

    def source(self, folder):
        axes = {"x": {0: torch.export.Dim("batch", min=1, max=64)}, "unused": None}
        x, unused = given()["x"], given()["unused"]
        return torch.export.export(mlp().eval(), (x, unused), dynamic_shapes=axes), {"x": x, "unused": unused}


@pytest.mark.slow
@COMPILER
class TestCompilation(Conversion):
    conversion = "torch->exported-program->aotinductor"


@ONNX
class TestOnnx(Conversion):
    conversion = "torch->onnx[dynamo]"


@ONNX
class TestOnnxByTrace(Conversion):
    conversion = "torch->onnx[torchscript]"


@ONNX
class TestOnnxByScript(Conversion):
    conversion = "torch->onnx[script]"


@pytest.mark.gpu
@CUDA
class TestTensorsOnCuda(TestTensors):
    device = "cuda:0"


@pytest.mark.gpu
@CUDA
class TestTraceOnCuda(TestTrace):
    device = "cuda"


@pytest.mark.gpu
@CUDA
class TestExportOnCuda(TestExport):
    device = "cuda"


@pytest.mark.gpu
@pytest.mark.slow
@CUDA
@COMPILER
class TestCompilationOnCuda(TestCompilation):
    device = "cuda"
