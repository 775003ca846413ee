"""navigator-onnx keeps the contracts that every plugin keeps."""

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import context, convnet, inputs, linear, model, node, value, write

from navigator_core import availability, testing
from navigator_onnx.requirements import SLIM, TENSORRT

MODULE = "navigator_onnx.plugin"


class TestPlugin(testing.PluginContract):
    module = MODULE
    forbidden = ("numpy", "onnx", "onnxruntime", "onnxscript", "polygraphy", "tensorrt", "torch", "google")


class TestOrtValue(testing.TensorsContract):
    module = MODULE
    kind = "ortvalue"
    widened = ("bfloat16",)


def two_in_two_out():
    """Two inputs and two outputs of different shape, so that none can be taken for another."""
    return model(
        [
            node("MatMul", "x w", "xw"),
            node("Mul", "xw gain", "scaled"),
            node("ReduceSum", "xw axes", "sum", keepdims=0),
        ],
        [value("x", ["batch", 3]), value("gain", [2])],
        [value("scaled", ["batch", 2]), value("sum", ["batch"])],
        {"w": np.arange(6, dtype=np.float32).reshape(3, 2) / 7, "axes": np.array([1])},
    )


class TestOnnxRuntimeOnTheCpu(testing.RunnerContract):
    module = MODULE
    runner = "onnxruntime-cpu"

    def case(self, folder):
        path = write(folder / "model.onnx", two_in_two_out())
        evaluate = ReferenceEvaluator(str(path))
        calls = []
        for rows in (1, 3, 8):
            rng = np.random.default_rng(rows)
            inputs = {
                name: rng.standard_normal(shape).astype("float32") for name, shape in (("x", (rows, 3)), ("gain", 2))
            }
            calls.append((inputs, dict(zip(("scaled", "sum"), evaluate.run(None, inputs), strict=True))))
        return testing.RunnerCase(path, context(path), calls)


class OfOnnx(testing.ConversionContract):
    """From an .onnx file that has something for every pass to do."""

    module = MODULE

    def source(self, folder):
        return write(folder / "model.onnx", convnet()), [inputs("convnet"), inputs("convnet", 3)]


@pytest.mark.skipif(availability.missing((SLIM,)) is not None, reason="onnxslim is not installed")
class TestSlim(OfOnnx):
    conversion = "onnx->onnx[slim]"


class TestFp16(OfOnnx):
    conversion = "onnx->onnx[fp16]"


class TestInt8Dynamic(OfOnnx):
    conversion = "onnx->onnx[int8-dynamic]"
    rtol = 2e-2  # weights have 7 bits where the processor has no VNNI


class TestInt8Qdq(OfOnnx):
    conversion = "onnx->onnx[int8-qdq]"
    rtol = 2e-2


NO_TENSORRT = availability.missing(TENSORRT) or next(
    filter(None, map(availability.run_probe, availability.probes(TENSORRT))), None
)


@pytest.mark.tensorrt
@pytest.mark.skipif(NO_TENSORRT is not None, reason=str(NO_TENSORRT))
class TestTensorRT(testing.ConversionContract):
    module = MODULE
    conversion = "onnx->tensorrt"
    device = "cuda"

    def source(self, folder):
        return write(folder / "model.onnx", linear()), {"x": np.ones((2, 3), "float32")}
