"""TensorRT through Polygraphy: every loader is made for real; what needs the libraries runs where they are."""

import numpy as np
import pytest
from onnx_models import context, linear, write

from navigator_core import FP32, TF32, Context, Dim, Signature, TensorSpec
from navigator_core.errors import NavigatorError, RequestError
from navigator_onnx import probes
from navigator_onnx.options import TensorRTOptions

pytest.importorskip("polygraphy")

from navigator_onnx import trt

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
INPUT = TensorSpec("x", "float32", (Dim("batch", 1, 8), 3))


def given(spec=INPUT, **fields):
    return Context(signature=Signature((spec,)), device="cuda", **fields)


def config(options=None, **fields):
    save = trt.builder("m.onnx", "m.plan", options or TensorRTOptions(), given(**fields))
    return save._bytes._config


def test_building_is_put_together_without_tensorrt_and_without_reading_the_file(tmp_path):
    save = trt.builder(tmp_path / "no.onnx", tmp_path / "m.plan", TensorRTOptions(), given())
    assert type(save).__name__ == "SaveBytes"
    assert type(save._bytes).__name__ == "EngineBytesFromNetwork"
    network = save._bytes._network
    assert network.path == str(tmp_path / "no.onnx")
    assert network.strongly_typed is True


def test_the_profile_is_the_signatures_range():
    (profile,) = config().profiles
    assert {name: tuple(shape) for name, shape in profile.items()} == {"x": ((1, 3), (8, 3), (8, 3))}


def test_fixed_shapes_need_no_profile():
    assert config(spec=TensorSpec("x", "float32", (5, 3))).profiles[0].dct == {}


@pytest.mark.parametrize(("precision", "tf32"), [(FP32, False), (TF32, True)])
def test_tf32_is_off_unless_it_is_the_precision_that_is_asked_for(precision, tf32):
    assert config(precision=precision).tf32 is tf32


@pytest.mark.parametrize("level", [None, 0, 5])
def test_the_optimization_level_reaches_the_builder(level):
    assert config(TensorRTOptions(optimization_level=level)).builder_optimization_level == level


def test_an_axis_without_an_upper_end_is_refused():
    with pytest.raises(RequestError, match="no upper end, which TensorRT needs"):
        config(spec=TensorSpec("x", "float32", (Dim("batch"), 3)))


def test_another_gpu_than_the_first_is_refused_with_what_to_do():
    there = Context(signature=Signature((INPUT,)), device="cuda:1")
    with pytest.raises(NavigatorError, match="CUDA_VISIBLE_DEVICES=1"):
        trt.builder("m.onnx", "m.plan", TensorRTOptions(), there)
    with pytest.raises(NavigatorError, match="CUDA_VISIBLE_DEVICES=1"):
        trt.load("m.plan", None, there)


def test_the_runner_is_put_together_without_tensorrt(tmp_path):
    assert type(trt.runner(tmp_path / "no.plan", given())).__name__ == "TrtRunner"


def test_without_tensorrt_building_names_what_is_missing(tmp_path, monkeypatch):
    if probes.tensorrt() is None:
        pytest.skip("TensorRT is installed")
    path = write(tmp_path / "m.onnx", linear())
    with pytest.raises(Exception, match="tensorrt"):
        trt.convert(path, tmp_path / "m.plan", TensorRTOptions(), given())
    assert not (tmp_path / "m.plan").exists()


class FakeRunner:
    """An engine as Polygraphy shows it, whose output buffer is used again in every call."""

    num_io_tensors = 2

    def __init__(self):
        self.engine = self
        self.buffer = np.zeros(1, np.float32)
        self.active = False

    def activate(self):
        self.active = True

    def deactivate(self):
        self.active = False

    def get_tensor_name(self, index):
        return ["x", "y"][index]

    def get_input_metadata(self):
        return {"x": None}

    def infer(self, feed):
        assert feed["x"].flags.c_contiguous
        self.buffer[0] = feed["x"].sum()
        return {"y": self.buffer}


def test_what_the_runner_returns_is_the_callers_own(monkeypatch):
    fake = FakeRunner()
    monkeypatch.setattr(trt, "runner", lambda source, context: fake)
    loaded = trt.load("m.plan", None, given())
    first = loaded.call({"x": X.T})["y"]
    loaded.call({"x": X.T + 1})
    assert first[0] == pytest.approx(X.sum(), rel=1e-5)
    loaded.close()
    assert not fake.active


@pytest.mark.tensorrt
def test_an_engine_computes_what_the_model_says(tmp_path):
    reason = probes.tensorrt()
    if reason:
        pytest.skip(reason)
    path = write(tmp_path / "m.onnx", linear())
    ranged = Signature((INPUT,), context(path).signature.outputs)
    known = Context(signature=ranged, device="cuda")
    trt.convert(path, tmp_path / "m.plan", TensorRTOptions(optimization_level=0), known)
    loaded = trt.load(tmp_path / "m.plan", None, known)
    weight = np.arange(6, dtype=np.float32).reshape(3, 2) / 7
    for batch in (1, 5):
        found = loaded.call({"x": X[:batch]})["y"]
        np.testing.assert_allclose(found, X[:batch] @ weight + [0.5, -0.25], rtol=1e-5, atol=1e-5)
    loaded.close()
