"""What each option of navigator-openvino does, seen."""

import hashlib
import tempfile
from pathlib import Path
from typing import ClassVar

import openvino
import pytest
from networks import attention, converted, convnet, mlp, rows

from navigator_core import availability, testing
from navigator_openvino import plugin, run
from navigator_openvino.options import CpuOptions, Int8Options

NO_NNCF = availability.missing((plugin.NNCF,))
CACHE = tempfile.TemporaryDirectory(prefix="navigator-openvino-cache-")
TOLD = ("PERFORMANCE_HINT", "NUM_STREAMS", "INFERENCE_NUM_THREADS")


def settings(options, folder):
    """What OpenVINO says of a compiled model."""
    loaded = run.cpu(*loadable(options, folder))
    return {name: str(loaded.call.compiled.get_property(name)) for name in TOLD}


def loadable(options, folder):
    path, context = converted(folder, mlp())
    return path, options, context


def compiled_for(options, folder):
    """The shapes of what was compiled, after calls of two sizes."""
    loaded = run.cpu(*loadable(options, folder))
    for n in (1, 3):
        loaded.call({"x": rows(n, 32)})
    calls = getattr(loaded.call, "_calls", {0: loaded.call})
    return [str(call.compiled.inputs[0].partial_shape) for call in calls.values()]


def kept(options, folder):
    """Whether a compiled model was written to the cache."""
    run.cpu(*loadable(options, folder)).close()
    return any(Path(CACHE.name).iterdir())


def quantized(make, shape):
    """By network: what NNCF made of it, its operators and the bits of its constants."""

    def observe(options, folder):
        from navigator_openvino import quantize

        path, context = converted(folder, make(), calibration=[{"x": rows(4, *shape, seed=n) ** 3} for n in range(3)])
        (folder / "out").mkdir()
        quantize.int8(path, folder / "out" / "model.xml", options, context)
        nodes = openvino.Core().read_model(folder / "out" / "model.xml").get_ops()
        kinds = [node.get_type_name() for node in nodes]
        constants = sorted(n.data.tobytes() for n in nodes if n.get_type_name() == "Constant")
        return sorted(kinds), hashlib.sha256(b"".join(constants)).hexdigest()

    return observe


def effect(value, make, shape):
    return testing.Effect(value, quantized(make, shape)) if NO_NNCF is None else str(NO_NNCF)


class TestOptions(testing.OptionsContract):
    module = "navigator_openvino.plugin"
    effects: ClassVar = {
        "@openvino-cpu": {
            "static": testing.Effect(True, compiled_for),
            "hint": testing.Effect("throughput", settings),
            "streams": testing.Effect(2, settings),
            "threads": testing.Effect(1, settings),
            "cache_dir": testing.Effect(CACHE.name, kept),
        },
        "openvino->openvino": {
            "preset": effect("mixed", mlp, (32,)),
            "transformer": effect(False, attention, (5, 16)),
            "fast_bias_correction": effect(False, convnet, (3, 8, 8)),
            "nodes_to_exclude": effect(("conv/WithoutBiases",), convnet, (3, 8, 8)),
            "op_types_to_exclude": effect(("MatMul",), convnet, (3, 8, 8)),
        },
    }


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (CpuOptions, {"threads": -1}),
        (CpuOptions, {"streams": "2"}),
        (CpuOptions, {"hint": "speed"}),
        (CpuOptions, {"static": 1}),
        (CpuOptions, {"cache_dir": "here"}),
        (Int8Options, {"preset": "accuracy"}),
        (Int8Options, {"nodes_to_exclude": [1]}),
    ],
)
def test_a_value_that_no_tool_takes_is_refused(cls, values):
    with pytest.raises((ValueError, TypeError)):
        cls(**values)
