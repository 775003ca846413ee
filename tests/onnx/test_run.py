"""ONNX Runtime on the CPU."""

import gc
import weakref

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from onnx_models import context, linear, model, node, value, write, write_external

import navigator as nav
from navigator_core import Context, Signature, TensorSpec, rendering, tensors
from navigator_core.errors import NavigatorError, PluginError
from navigator_core.memory import PeakMemory
from navigator_onnx.options import CpuOptions
from navigator_onnx.run import CPU, cpu, loaded, open_session, session_options

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)


def load(path, options=None, **names):
    return cpu(path, options or CpuOptions(), context(path, **names))


@pytest.mark.parametrize("save", [write, write_external], ids=["inside", "external"])
def test_results_are_those_of_the_reference_evaluator(tmp_path, save):
    path = save(tmp_path / "m.onnx", linear())
    expected = ReferenceEvaluator(str(path)).run(None, {"x": X})[0]
    found = load(path).call({"x": X})
    assert list(found) == ["y"]
    np.testing.assert_allclose(found["y"], expected, rtol=1e-6)


def test_each_call_returns_arrays_of_its_own(linear):
    loaded = load(linear)
    first = loaded.call({"x": X})["y"]
    kept = first.copy()
    loaded.call({"x": X + 1})
    assert (first == kept).all()


def test_arrays_in_any_order_of_memory_are_taken(linear):
    strided = np.asfortranarray(X)[::-1]
    assert (load(linear).call({"x": strided})["y"] == load(linear).call({"x": strided.copy("C")})["y"]).all()


def test_arrays_of_another_byte_order_are_taken(linear):
    assert (load(linear).call({"x": X.astype(">f4")})["y"] == load(linear).call({"x": X})["y"]).all()


def test_samples_of_another_byte_order_are_the_same_samples(linear, tmp_path):
    asked = {"runners": ["onnxruntime-cpu"], "targets": ["onnx"], "batch_sizes": [1], "workspace": tmp_path / "w"}
    report = nav.optimize(linear, X.astype(">f4"), precisions=["fp32"], **asked)
    assert report.signature.inputs[0].dtype == "float32"
    with report.load() as model:
        assert (model(X.astype(">f4"))["y"] == model(X)["y"]).all()


def test_a_list_of_thread_counts_makes_candidates_that_are_measured_and_loaded_with_them(linear, tmp_path):
    report = nav.optimize(
        linear,
        runners=["onnxruntime-cpu"],
        targets=["onnx"],
        batch_sizes=[1],
        workspace=tmp_path / "workspace",
        options={"@onnxruntime-cpu": {"threads": [1, 2], "allow_spinning": False}},
    )
    found = {c.name: c for c in report.candidates if c.name.startswith("onnx @")}
    assert set(found) == {f"onnx @ onnxruntime-cpu[threads={n}]" for n in (1, 2)}
    for number, name in enumerate(sorted(found), 1):
        assert found[name].status == "ok"
        assert found[name].measurements[0].calls > 0
        assert name in rendering.text(report, width=300)
        with found[name].load() as model:
            settings = model._running.model.call.session.get_session_options()
        assert settings.intra_op_num_threads == number
        assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_numpys_own_scalars_are_taken(tmp_path):
    proto = model([node("Mul", "x k", "y")], [value("x", [2]), value("k", [])], [value("y", [2])])
    path = write(tmp_path / "m.onnx", proto)
    found = load(path).call({"x": np.ones(2, np.float32), "k": np.float32(3)})
    assert found["y"].tolist() == [3, 3]


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64])
def test_types_are_never_cast(linear, dtype):
    with pytest.raises(Exception, match=r"Unexpected input data type.*expected: \(tensor\(float\)\)"):
        load(linear).call({"x": X.astype(dtype)})


def test_names_of_the_artifact_are_mapped(linear):
    signature = Signature((TensorSpec("image.0", "float32", (5, 3)),), (TensorSpec("logits", "float32", (5, 2)),))
    names = context(linear, {"image.0": "x"}, {"logits": "y"}).names
    found = cpu(linear, CpuOptions(), Context(signature=signature, names=names)).call({"image.0": X})
    assert list(found) == ["logits"]


def two_in_two_out(path):
    return write(
        path,
        model(
            [node("Add", "a b", "s"), node("Sub", "a b", "d")],
            [value("a", [2]), value("b", [2])],
            [value("s", [2]), value("d", [2])],
        ),
    )


def test_names_decide_and_positions_never(tmp_path):
    path = two_in_two_out(tmp_path / "m.onnx")
    a, b = np.array([1, 2], np.float32), np.array([10, 20], np.float32)
    crossed = load(path, inputs={"a": "b", "b": "a"}, outputs={"s": "d", "d": "s"}).call({"a": a, "b": b})
    assert {name: array.tolist() for name, array in crossed.items()} == {"s": [9, 18], "d": [11, 22]}


def test_without_known_outputs_all_come_by_our_names(tmp_path):
    path = two_in_two_out(tmp_path / "m.onnx")
    known = context(path, outputs={"sum": "s"})
    found = cpu(path, CpuOptions(), Context(signature=Signature(known.signature.inputs), names=known.names))
    assert set(found.call({"a": np.ones(2, np.float32), "b": np.ones(2, np.float32)})) == {"sum", "d"}


def test_an_input_that_the_export_dropped_is_not_fed(linear):
    known = context(linear)
    extra = Signature((*known.signature.inputs, TensorSpec("mask", "bool", (5,))), known.signature.outputs)
    found = cpu(linear, CpuOptions(), Context(signature=extra)).call({"x": X, "mask": np.ones(5, bool)})
    assert found["y"].shape == (5, 2)


def test_an_input_that_nobody_names_is_an_error_that_lists_them(linear):
    wrong = Signature((TensorSpec("image", "float32", (5, 3)),))
    with pytest.raises(PluginError, match=r"takes input 'x'; the signature leads to 'image'; .*return Names"):
        cpu(linear, CpuOptions(), Context(signature=wrong))


def test_an_output_that_is_not_there_is_an_error_that_lists_them(linear):
    known = context(linear).signature
    wrong = Signature(known.inputs, (TensorSpec("logits", "float32", (5, 2)),))
    with pytest.raises(PluginError, match=r"lacks output 'logits'; it gives 'y'"):
        cpu(linear, CpuOptions(), Context(signature=wrong))


def test_a_type_that_numpy_lacks_is_refused_when_loading(tmp_path):
    ends = [value("x", [2], TensorProto.FLOAT8E4M3FN)], [value("y", [2], TensorProto.FLOAT8E4M3FN)]
    path = write(tmp_path / "m.onnx", model([node("Identity", "x", "y")], *ends, opset=19))
    with pytest.raises(NavigatorError, match=r"'x' is a tensor\(float8e4m3fn\), which numpy cannot hold"):
        load(path)


def in_bfloat16(path):
    """x squared as a matrix, bfloat16 outside and fp32 inside, and an integer that passes through."""
    nodes = [
        node("Cast", "x", "wide", to=TensorProto.FLOAT),
        node("MatMul", "wide wide", "square"),
        node("Cast", "square", "y", to=TensorProto.BFLOAT16),
        node("Identity", "n", "m"),
    ]
    inputs = [value("x", ["k", "k"], TensorProto.BFLOAT16), value("n", [2], TensorProto.INT64)]
    outputs = [value("y", ["k", "k"], TensorProto.BFLOAT16), value("m", [2], TensorProto.INT64)]
    return write(path, model(nodes, inputs, outputs))


@pytest.mark.parametrize("given", [np.float32, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(3, 3), (0, 0)])
def test_bfloat16_goes_in_and_comes_out(tmp_path, given, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(ml_dtypes.bfloat16)
    found = load(in_bfloat16(tmp_path / "m.onnx")).call({"x": x.astype(given), "n": np.array([1, 2])})
    wide = x.astype(np.float32)
    assert found["y"].dtype == ml_dtypes.bfloat16
    np.testing.assert_array_equal(found["y"], (wide @ wide).astype(ml_dtypes.bfloat16))
    assert found["m"].tolist() == [1, 2]


def test_a_model_in_bfloat16_is_verified_against_its_values_in_float32(tmp_path):
    path = in_bfloat16(tmp_path / "m.onnx")
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(ml_dtypes.bfloat16)
    asked = {"batching": False, "runners": ["onnxruntime-cpu"], "workspace": tmp_path / "w"}
    report = nav.optimize(path, {"x": x, "n": np.array([1, 2])}, **asked)
    assert report.precision == "bf16"
    assert report.best.verdict.outputs["y"].max_absolute == 0
    with report.load() as loaded:
        found = loaded(x=x, n=np.array([1, 2]))["y"]
    assert tensors.dtype_of(found) == "bfloat16"


LARGE = 2**26  # elements, four times as many bytes


def test_a_large_input_is_not_copied(tmp_path):
    proto = model([node("ReduceMax", "x", "y", keepdims=0)], [value("x", ["n"])], [value("y", [])])
    found = load(write(tmp_path / "m.onnx", proto), CpuOptions(threads=1))
    x = np.ones(LARGE, np.float32)
    with PeakMemory() as memory:
        found.call({"x": x})
    assert memory.peak < x.nbytes / 4


def test_a_large_output_is_not_copied(tmp_path):
    proto = model([node("Expand", "x n", "y")], [value("x", [1]), value("n", [1], 7)], [value("y", ["n"])])
    found = load(write(tmp_path / "m.onnx", proto), CpuOptions(threads=1, enable_mem_arena=False))
    with PeakMemory() as memory:
        y = found.call({"x": np.ones(1, np.float32), "n": np.array([LARGE])})["y"]
    assert 0.9 * y.nbytes < memory.peak < 1.25 * y.nbytes
    assert not y.flags.owndata


def test_a_closed_model_says_so_and_frees_its_session(linear):
    found = load(linear)
    session = weakref.ref(found.call.session)
    found.close()
    gc.collect()
    assert session() is None
    with pytest.raises(NavigatorError, match="was closed"):
        found.call({"x": X})
    found.close()


def test_an_operator_that_onnxruntime_lacks_is_named(tmp_path):
    path = write(tmp_path / "m.onnx", linear())
    proto = onnx.load(path)
    proto.graph.node[0].op_type = "NoSuchOperator"
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(Exception, match="NoSuchOperator"):
        load(path)


def test_a_provider_that_was_not_built_in_is_an_error_not_a_warning(linear):
    with pytest.raises(NavigatorError, match="built without RocketExecutionProvider"):
        open_session(linear, session_options(CpuOptions()), ["RocketExecutionProvider"])


def test_a_provider_that_is_listed_but_does_not_come_up_is_an_error(linear, monkeypatch):
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda self: [CPU])
    listed = [*onnxruntime.get_available_providers(), "CUDAExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: listed)
    made = onnxruntime.InferenceSession
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda *a, providers, **k: made(*a, providers=[CPU], **k))
    with pytest.raises(NavigatorError, match="CUDAExecutionProvider cannot be used: the session came up with CPU"):
        open_session(linear, session_options(CpuOptions()), ["CUDAExecutionProvider", CPU])


def chain(path):
    """Foldable constants, a no-op and a pattern that only the extended level fuses."""
    return write(
        path,
        model(
            [
                node("Add", "c c", "two_c"),
                node("Identity", "x", "same"),
                node("MatMul", "same w", "m"),
                node("Add", "m two_c", "g"),
                node("Div", "g root", "d"),
                node("Erf", "d", "e"),
                node("Add", "e one", "p"),
                node("Mul", "g p", "q"),
                node("Mul", "q half", "y"),
            ],
            [value("x", ["batch", 4])],
            [value("y", ["batch", 4])],
            {
                "c": np.ones(4, np.float32),
                "w": np.eye(4, dtype=np.float32),
                "root": np.array(2**0.5, np.float32),
                "one": np.array(1, np.float32),
                "half": np.array(0.5, np.float32),
            },
        ),
    )


def optimized(tmp_path, level):
    options = session_options(CpuOptions(graph_optimization_level=level))
    options.optimized_model_filepath = str(tmp_path / f"{level}.onnx")
    options.log_severity_level = 4
    open_session(chain(tmp_path / "m.onnx"), options, [CPU])
    return [n.op_type for n in onnx.load(tmp_path / f"{level}.onnx").graph.node]


def test_each_graph_optimization_level_goes_further(tmp_path):
    disabled, basic, extended = (optimized(tmp_path, level) for level in ("disabled", "basic", "extended"))
    assert len(disabled) == 9
    assert "Identity" in disabled
    assert "Identity" not in basic
    assert "Erf" in basic
    assert "Erf" not in extended
    assert len(optimized(tmp_path, "all")) <= len(extended) < len(basic) < len(disabled)


@pytest.mark.parametrize(
    ("options", "attribute", "expected"),
    [
        ({"threads": 2}, "intra_op_num_threads", 2),
        ({"inter_op_threads": 2, "execution_mode": "parallel"}, "inter_op_num_threads", 2),
        ({"execution_mode": "parallel"}, "execution_mode", onnxruntime.ExecutionMode.ORT_PARALLEL),
        ({}, "execution_mode", onnxruntime.ExecutionMode.ORT_SEQUENTIAL),
        ({"enable_mem_arena": False}, "enable_cpu_mem_arena", False),
        ({}, "enable_cpu_mem_arena", True),
        ({}, "intra_op_num_threads", 0),
        ({}, "graph_optimization_level", onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL),
    ],
)
def test_options_arrive_in_the_session(linear, options, attribute, expected):
    session = load(linear, CpuOptions(**options)).call.session
    assert getattr(session.get_session_options(), attribute) == expected


@pytest.mark.parametrize("spinning", [True, False])
def test_spinning_arrives_in_the_session(linear, spinning):
    session = load(linear, CpuOptions(allow_spinning=spinning)).call.session
    for pool in ("intra_op", "inter_op"):
        entry = session.get_session_options().get_session_config_entry(f"session.{pool}.allow_spinning")
        assert entry == str(int(spinning))


def test_threads_are_really_started(linear, monkeypatch):
    def threads():
        with open("/proc/self/status") as status:  # noqa: PTH123 - a kernel file
            return next(int(line.split()[1]) for line in status if line.startswith("Threads:"))

    before = threads()
    four = load(linear, CpuOptions(threads=4))
    assert threads() == before + 3  # the calling thread is the fourth
    four.close()


def test_a_call_adds_little_to_the_sessions_own_time(linear):
    from time import perf_counter_ns

    found = load(linear, CpuOptions(threads=1))
    session, x = found.call.session, {"x": X}

    def fastest(call):
        times = []
        for _ in range(2000):
            start = perf_counter_ns()
            call()
            times.append(perf_counter_ns() - start)
        return min(times)

    assert fastest(lambda: found.call(x)) - fastest(lambda: session.run(["y"], x)) < 20_000


def test_nothing_is_printed(linear, capfd):
    load(linear).call({"x": X})
    assert capfd.readouterr() == ("", "")


def test_what_is_closed_twice_stays_closed():
    class Call:
        session = object()

    call = Call()
    loaded(call).close()
    with pytest.raises(NavigatorError, match="closed"):
        _ = call.session.run
