"""What the plugin declares, and that declaring costs nothing."""

import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from navigator_core import BF16, FP16, INT8, Probe, Requirement
from navigator_onnx import plugin
from navigator_onnx.options import CpuOptions, GpuOptions, TensorRTOptions


def test_loading_the_plugin_and_asking_every_hook_imports_nothing_heavy():
    script = (
        "import sys; from navigator_onnx import plugin; "
        "[getattr(plugin, name)() for name in dir(plugin) if name.startswith('declare_')]; "
        "plugin.identify_model('model.onnx'); "
        "print(*sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in outcome.stdout.split()}
    assert "navigator_onnx" in loaded
    assert loaded.isdisjoint(
        {"numpy", "onnx", "onnxruntime", "onnxscript", "polygraphy", "tensorrt", "torch", "google"}
    )


def test_the_entry_point_names_the_plugin():
    (found,) = (e for e in entry_points(group="navigator") if e.name == "onnx")
    assert found.load() is plugin


@pytest.mark.parametrize("model", ["model.onnx", "a/b/Model.ONNX", Path("no/such/file.onnx")])
def test_a_path_that_ends_in_onnx_is_known_without_looking_at_the_file(model):
    assert plugin.identify_model(model) == "onnx"


@pytest.mark.parametrize("model", ["model.pt", Path("onnx"), b"model.onnx", object(), None, len])
def test_anything_else_is_not(model):
    assert plugin.identify_model(model) is None


def test_runners_are_named_by_execution_provider():
    runners = {runner.name: (runner.formats, runner.devices) for runner in plugin.declare_runners()}
    assert runners == {
        "onnxruntime-cpu": (("onnx",), ("cpu",)),
        "onnxruntime-cuda": (("onnx",), ("cuda",)),
        "onnxruntime-tensorrt": (("onnx",), ("cuda",)),
        "tensorrt": (("tensorrt",), ("cuda",)),
    }


def test_only_the_engine_is_tied_to_its_device():
    assert {f.name: f.portable for f in plugin.declare_formats()} == {"onnx": True, "tensorrt": False}


def declared():
    return [*plugin.declare_converters(), *plugin.declare_runners()]


def references():
    for thing in declared():
        yield thing.implementation
        yield from (r.check for r in thing.requirements if isinstance(r, Probe))
    for thing in plugin.declare_formats():
        yield from (ref for ref in (thing.signature, thing.noise) if ref)
    yield from (kind.source for kind in plugin.declare_tensors())


@pytest.mark.parametrize("ref", sorted(set(references()), key=str), ids=str)
def test_every_reference_leads_somewhere(ref):
    if ref.target.startswith("navigator_onnx.trt:"):
        pytest.importorskip("polygraphy")
    assert ref.resolve() is not None


def name(thing):
    return getattr(thing, "name", None) or f"{thing.source}->{thing.target}{[v.name for v in thing.variants]}"


@pytest.mark.parametrize("thing", declared(), ids=name)
def test_what_may_be_absent_is_a_requirement_with_a_remedy(thing):
    needs_nothing_more = thing.implementation.target.startswith("navigator_onnx.half:")
    assert any(isinstance(r, Requirement) for r in thing.requirements) is not needs_nothing_more
    assert all(r.remedy for r in thing.requirements)


def test_passes_promise_their_precision_and_the_device_that_can_run_it():
    passes = {v.name: (v.precision, c.devices) for c in plugin.declare_converters() for v in c.variants}
    assert passes == {
        "slim": (None, ("cpu",)),
        "fp16": (FP16, ("cpu",)),
        "bf16": (BF16, ("cuda",)),
        "int8-dynamic": (INT8, ("cpu",)),
        "int8-qdq": (INT8, ("cpu", "cuda")),
    }


def test_either_onnxruntime_will_do_for_the_cpu_but_only_one_for_the_gpu():
    runners = {runner.name: runner for runner in plugin.declare_runners()}
    assert runners["onnxruntime-cpu"].requirements[0].any_of == ("onnxruntime>=1.18", "onnxruntime-gpu>=1.18")
    assert runners["onnxruntime-cuda"].requirements[0].any_of == ("onnxruntime-gpu>=1.18",)


@pytest.mark.parametrize(
    ("cls", "values"),
    [
        (CpuOptions, {"threads": -1}),
        (CpuOptions, {"threads": "4"}),
        (CpuOptions, {"graph_optimization_level": "most"}),
        (CpuOptions, {"execution_mode": "both"}),
        (CpuOptions, {"enable_mem_arena": 1}),
        (CpuOptions, {"allow_spinning": None}),
        (GpuOptions, {"graph_optimization_level": 99}),
        (TensorRTOptions, {"optimization_level": 6}),
    ],
)
def test_a_value_that_no_tool_takes_is_refused(cls, values):
    with pytest.raises((ValueError, TypeError)):
        cls(**values)


def test_an_option_without_effect_is_refused():
    with pytest.raises(ValueError, match="only with execution_mode='parallel'"):
        CpuOptions(inter_op_threads=2)
    assert CpuOptions(inter_op_threads=2, execution_mode="parallel").inter_op_threads == 2
