"""The runner: types and sizes of every kind, shapes and threads, and the precision that is promised."""

import gc
import os
import threading
from pathlib import Path

import ml_dtypes
import numpy as np
import openvino
import pytest
from networks import answers, attention, converted, convnet, doubled, mlp, model, node, rows, two_in_two_out, value
from onnx import TensorProto

from navigator_core import BF16, FP16, FP32, FP64, INT8, TF32, Context, Dim, Signature, TensorSpec
from navigator_core.errors import NavigatorError, NothingToDoError, PluginError, RequestError
from navigator_openvino import probes, run
from navigator_openvino.options import CpuOptions

PLAIN, STATIC = CpuOptions(), CpuOptions(static=True)
both = pytest.mark.parametrize("options", [PLAIN, STATIC], ids=["dynamic", "static"])


def load(folder, proto, options=PLAIN, **fields):
    path, context = converted(folder, proto, **fields)
    return run.cpu(path, options, context)


@pytest.mark.parametrize(
    "dtype",
    ["float32", "float16", "float64", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"],
)
def test_a_tensor_of_any_type_goes_in_and_comes_out_as_such(tmp_path, dtype):
    kind = {"float32": "FLOAT", "float64": "DOUBLE"}.get(dtype, dtype.upper())
    found = load(tmp_path, doubled(getattr(TensorProto, kind))).call({"x": np.array([[1, 2, 30]], dtype)})["y"]
    assert found.dtype == dtype
    assert found.tolist() == [[2, 4, 60]]


def test_so_does_a_boolean_one(tmp_path):
    shape = ["batch", 3]
    ends = [value(name, shape, TensorProto.BOOL) for name in "xy"]
    proto = model([node("Not", "x", "y")], ends[:1], ends[1:])
    found = load(tmp_path, proto).call({"x": np.array([[True, False, True]])})["y"]
    assert found.dtype == bool
    assert found.tolist() == [[False, True, False]]


@both
@pytest.mark.parametrize("given", [np.float32, ml_dtypes.bfloat16])
def test_bfloat16_is_taken_rounded_and_given_widened(tmp_path, options, given):
    path, _ = converted(tmp_path, doubled(TensorProto.BFLOAT16))
    spec = (Dim("batch"), 3)
    signature = Signature((TensorSpec("x", "bfloat16", spec),), (TensorSpec("y", "bfloat16", spec),))
    loaded = run.cpu(path, options, Context(signature=signature, precision=BF16))
    x = np.array([[1, 1.00390625, 3]], np.float32).astype(given)
    found = loaded.call({"x": x})["y"]
    assert found.dtype == np.float32
    assert found == pytest.approx(np.array([[2, 2, 6]]), rel=2**-7)  # what computes wider need not round
    assert loaded.call({"x": x[:0]})["y"].shape == (0, 3)


@both
def test_a_batch_of_nothing_gives_nothing(tmp_path, options):
    loaded = load(tmp_path, convnet(), options)
    found = loaded.call({"x": np.zeros((0, 3, 8, 8), np.float32)})["y"]
    assert (found.shape, found.dtype) == ((0, 4), np.float32)
    assert loaded.call({"x": rows(2, 3, 8, 8)})["y"].shape == (2, 4)


@both
def test_a_tensor_without_axes_is_one(tmp_path, options):
    proto = model([node("Mul", "x s", "y")], [value("x", ["batch"]), value("s", [])], [value("y", ["batch"])])
    found = load(tmp_path, proto, options).call({"x": rows(3), "s": np.array(2, np.float32)})["y"]
    np.testing.assert_array_equal(found, 2 * rows(3))


def test_another_type_is_refused_by_name_and_not_cast(tmp_path):
    loaded = load(tmp_path, mlp())
    with pytest.raises(RequestError, match="input 'x' is float64, and the model takes float32"):
        loaded.call({"x": rows(2, 32).astype(np.float64)})


@both
@pytest.mark.parametrize("shape", [(2, 31), (32,), (2, 32, 1)])
def test_a_shape_that_the_model_does_not_take_is_refused_by_name(tmp_path, options, shape):
    loaded = load(tmp_path, mlp(), options)
    with pytest.raises(RequestError, match=r"input 'x' has the shape .*, and the model was converted for"):
        loaded.call({"x": np.zeros(shape, np.float32)})
    assert loaded.call({"x": rows(2, 32)})["y"].shape == (2, 8)


def test_an_array_in_order_is_read_where_it_lies():
    array = rows(4, 4)
    tensor = run._tensor("x", array, np.dtype(np.float32))
    assert tensor.data.ctypes.data == array.ctypes.data


def test_an_end_whose_name_the_signature_lacks_is_an_error_that_names_it(tmp_path):
    path, _ = converted(tmp_path, mlp())
    spec = (Dim("batch"), 32)
    for inputs, outputs, said in ((["z"], ["y"], "takes input 'x'"), (["x"], ["z"], "lacks output 'z'")):
        signature = Signature(*(tuple(TensorSpec(n, "float32", spec) for n in names) for names in (inputs, outputs)))
        with pytest.raises(PluginError, match=said):
            run.cpu(path, PLAIN, Context(signature=signature))


def test_with_no_outputs_in_the_signature_all_are_given(tmp_path):
    path, context = converted(tmp_path, two_in_two_out())
    loaded = run.cpu(path, PLAIN, Context(signature=Signature(context.signature.inputs)))
    assert set(loaded.call({"x": rows(2, 3), "gain": rows(2)})) == {"scaled", "sum"}


@both
def test_threads_that_call_at_once_each_get_their_own_answer(tmp_path, options):
    loaded = load(tmp_path, mlp(), options)
    wrong, barrier = [], threading.Barrier(6)

    def call(number):
        x = rows(number % 3 + 1, 32, seed=number)
        expected = answers(tmp_path / "source.onnx", {"x": x})["y"]
        barrier.wait()
        for _ in range(50):
            found = loaded.call({"x": x})["y"]
            if found.shape != expected.shape or not np.allclose(found, expected, rtol=1e-4, atol=1e-5):
                wrong.append(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_first_sizes_are_compiled_for_and_the_others_share_one_model(tmp_path):
    loaded = load(tmp_path, mlp(), STATIC)
    for n in (3, 1, 3, 2, 8, 5, 0, 9, 1):
        x = {"x": rows(n, 32)}
        np.testing.assert_allclose(loaded.call(x)["y"], answers(tmp_path / "source.onnx", x)["y"], rtol=1e-4, atol=1e-5)
    assert list(loaded.call._calls) == [3, 1, 2, 8, None]
    assert {n: str(c.compiled.inputs[0].partial_shape) for n, c in loaded.call._calls.items()} == {
        **{n: f"[{n},32]" for n in (3, 1, 2, 8)}, None: "[?,32]",
    }  # fmt: skip


def test_other_axes_stay_dynamic_where_the_batch_is_fixed(tmp_path):
    loaded = load(tmp_path, attention(), STATIC)
    for n, length in ((2, 3), (2, 7), (3, 5)):
        x = {"x": rows(n, length, 16)}
        np.testing.assert_allclose(loaded.call(x)["y"], answers(tmp_path / "source.onnx", x)["y"], rtol=1e-4, atol=1e-5)
    assert sorted(loaded.call._calls) == [2, 3]


def test_without_a_batch_a_model_is_compiled_once(tmp_path):
    proto = model([node("Relu", "x", "y")], [value("x", [4])], [value("y", [4])])
    loaded = load(tmp_path, proto, STATIC)
    np.testing.assert_array_equal(loaded.call({"x": rows(4)})["y"], np.maximum(rows(4), 0))
    assert list(loaded.call._calls) == [None]


@both
def test_a_closed_model_says_so(tmp_path, options):
    loaded = load(tmp_path, mlp(), options)
    loaded.call({"x": rows(1, 32)})
    loaded.close()
    with pytest.raises(NavigatorError, match="this model was closed; load it again"):
        loaded.call({"x": rows(1, 32)})


def threads_now():
    return len(list(Path("/proc/self/task").iterdir()))


def test_closing_gives_the_threads_back(tmp_path):
    before = threads_now()
    for _ in range(5):
        loaded = load(tmp_path, mlp(), CpuOptions(hint="throughput"))
        loaded.call({"x": rows(1, 32)})
        loaded.close()
    gc.collect()
    assert threads_now() <= before + (os.cpu_count() or 1) + 2


HINTS = {
    FP32: "f32",
    TF32: "f32",
    BF16: "bf16" if probes.bf16() is None else "f32",
    FP16: "f16" if probes.fp16() is None else "f32",
}


@pytest.mark.parametrize("precision", HINTS, ids=lambda precision: precision.name)
def test_a_model_computes_in_what_its_candidate_promises(tmp_path, precision):
    compiled = load(tmp_path, mlp(), precision=precision).call.compiled
    assert compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name() == HINTS[precision]
    assert compiled.get_property("DYNAMIC_QUANTIZATION_GROUP_SIZE") == 0


@pytest.mark.skipif(probes.bf16() is not None, reason=str(probes.bf16()))
def test_what_is_promised_shows_in_the_error(tmp_path):
    x = {"x": rows(64, 32)}
    errors = {}
    for precision in (FP32, BF16):
        found = load(tmp_path, mlp(), precision=precision).call(x)["y"]
        errors[precision] = np.abs(found - answers(tmp_path / "source.onnx", x)["y"]).max()
    assert errors[FP32] < 1e-5 < 1e-3 < errors[BF16] < 0.1


def test_around_int8_openvino_may_do_as_it_likes(tmp_path):
    compiled = load(tmp_path, mlp(), precision=INT8).call.compiled
    own = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT")
    assert compiled.get_property("INFERENCE_PRECISION_HINT") == own


def test_float64_is_not_passed_off_as_computed_in_it(tmp_path):
    with pytest.raises(NothingToDoError, match="in fp32 at most, not in fp64"):
        load(tmp_path, doubled(TensorProto.DOUBLE), precision=FP64)


def test_importing_openvino_sends_and_writes_nothing(tmp_path):
    import subprocess
    import sys

    script = "import navigator_openvino.run, sys; print('openvino' in sys.modules, 'openvino_telemetry' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "HOME": str(tmp_path)}
    )
    assert done.stdout.split() == ["True", "False"], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_model_is_an_error_in_openvinos_words(tmp_path):
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(NavigatorError, match="OpenVINO cannot load the model: "):
        run.cpu(Path(tmp_path / "model.xml"), PLAIN, Context(signature=Signature(())))


def test_what_numpy_cannot_hold_is_refused(tmp_path):
    x = openvino.opset13.parameter([2], openvino.Type.f8e4m3, name="x")
    x.output(0).set_names({"x"})
    y = openvino.opset13.convert(x, "f32")
    y.output(0).set_names({"y"})
    openvino.save_model(openvino.Model([y], [x]), tmp_path / "model.xml")
    with pytest.raises(NavigatorError, match="'x' is of type f8e4m3, which numpy cannot hold"):
        run.cpu(tmp_path / "model.xml", PLAIN, Context(signature=Signature((TensorSpec("x", "float8_e4m3fn", (2,)),))))
