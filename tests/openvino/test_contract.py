"""navigator-openvino keeps the contracts that every plugin keeps."""

from typing import ClassVar

import onnx_format  # noqa: F401 - what `module` names is imported by name
import pytest
from networks import answers, converted, convnet, rows, two_in_two_out, write

from navigator_core import BF16, availability, testing
from navigator_openvino import plugin, probes
from navigator_openvino.options import CpuOptions

MODULE = "navigator_openvino.plugin"
WITH_ONNX = "onnx_format"
NO_NNCF = availability.missing((plugin.NNCF,))


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("numpy", "openvino", "openvino_telemetry", "nncf", "onnx", "torch")


class OnTheCpu(testing.RunnerContract):
    module = MODULE
    runner = "openvino-cpu"
    fields: ClassVar = {}

    def case(self, folder):
        path, context = converted(folder, two_in_two_out(), **self.fields)
        calls = []
        for n in (1, 3, 8):
            inputs = {"x": rows(n, 3), "gain": rows(2, seed=n)}
            calls.append((inputs, answers(folder / "source.onnx", inputs)))
        return testing.RunnerCase(path, context, calls)


class TestRunner(OnTheCpu):
    pass


class TestRunnerForEachBatchSize(OnTheCpu):
    options = CpuOptions(static=True)


@pytest.mark.skipif(probes.bf16() is not None, reason=str(probes.bf16()))
class TestRunnerInHalfPrecision(OnTheCpu):
    fields: ClassVar = {"precision": BF16}
    rtol, atol = 0.05, 0.05


class OfOnnx(testing.ConversionContract):
    module = WITH_ONNX

    def source(self, folder):
        return write(folder / "model.onnx", convnet()), [{"x": rows(2, 3, 8, 8)}, {"x": rows(3, 3, 8, 8)}]


class TestFromOnnx(OfOnnx):
    conversion = "onnx->openvino"


@pytest.mark.skipif(NO_NNCF is not None, reason=str(NO_NNCF))
class TestInt8(OfOnnx):
    conversion = "onnx->openvino->openvino[int8]"
    rtol = 0.05
