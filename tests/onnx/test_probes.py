"""What the machine can do, said in one sentence."""

import importlib
import importlib.metadata
import os
import sys
import types

import onnxruntime
import pytest

import navigator as nav
from navigator_core import availability, doctor, testing
from navigator_onnx import probes


@pytest.fixture
def distributions(tmp_path, monkeypatch):
    """Only these distributions are installed, as far as metadata says."""

    def install(*names):
        for name in names:
            folder = tmp_path / f"{name.replace('-', '_')}-1.20.0.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.20.0\n")
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        importlib.invalidate_caches()

    return install


def test_both_distributions_at_once_are_noticed(distributions):
    distributions("onnxruntime", "onnxruntime-gpu")
    assert "both installed" in probes.one_onnxruntime()


@pytest.fixture
def both_beside(tmp_path, monkeypatch):
    """Both distributions beside what is installed: workers look there too."""
    for name in ("onnxruntime", "onnxruntime-gpu"):
        folder = tmp_path / f"{name.replace('-', '_')}-1.20.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.20.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    availability.reset()
    yield
    monkeypatch.undo()
    availability.reset()


GPU = """
from navigator_core import Device, DeviceInfo, Ref, hookimpl

@hookimpl
def declare_devices():
    return [Device(kind="cuda", detect=Ref("a_gpu:detect"))]

def detect():
    return [DeviceInfo("cuda:0", "one that is said to be here", 2**30)]
"""


def test_a_run_for_a_gpu_says_so_of_the_runners_that_are_lost_and_what_helps(tmp_path, both_beside, linear):
    (tmp_path / "a_gpu.py").write_text(GPU)
    importlib.invalidate_caches()
    asked = {"device": "cuda", "runners": ["onnxruntime-cuda"], "targets": ["onnx"], "workspace": tmp_path / "w"}
    with testing.using(importlib.import_module("a_gpu"), installed=True):
        reason, remedy = nav.plan(linear, device="cuda").unavailable["onnx @ onnxruntime-cuda"]
        with pytest.raises(nav.NoPathError, match=r"onnx @ onnxruntime-cuda: onnxruntime and .* are both installed"):
            nav.optimize(linear, **asked)
    assert reason.startswith("onnxruntime and onnxruntime-gpu are both installed; they share one folder")
    assert remedy == "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"


def test_the_doctor_says_so_of_the_runners_that_are_lost(tmp_path, both_beside):
    checks = {check.name: check for check in doctor.examine(tmp_path / "workspace")}
    for runner in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        found = checks[f"runner {runner}"]
        assert found.status == "unavailable"
        assert "are both installed" in found.detail
        assert found.remedy == ("pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu")
    assert checks["runner onnxruntime-cpu"].status == "ok"


@pytest.mark.parametrize("names", [("onnxruntime-gpu",), ("onnxruntime",), ()])
def test_one_distribution_is_as_it_should_be(distributions, names):
    distributions(*names)
    assert probes.one_onnxruntime() is None


def test_a_session_on_the_cpu_passes_the_very_check_that_gpus_are_put_to():
    assert probes.session_with("CPUExecutionProvider") is None


def test_a_provider_that_is_not_built_in_is_said(monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    assert probes.cuda_provider().endswith("was built without CUDAExecutionProvider")
    assert probes.tensorrt_provider().endswith("was built without TensorrtExecutionProvider")


def failing(text, error):
    def open_session(*args):
        os.write(2, text.encode())
        raise error

    return open_session


def test_the_missing_library_is_named_although_only_the_log_says_it(monkeypatch, capfd):
    log = (
        "2026-11-02 10:00:00.1 [W:onnxruntime:, session.cc:1] nothing\n"
        "\x1b[1;31m2026-11-02 10:00:00.2 [E:onnxruntime:Default, provider_bridge_ort.cc:2195 Get] "
        "Failed to load library libcublasLt.so.12\x1b[m\n"
    )
    monkeypatch.setattr("navigator_onnx.run.open_session", failing(log, RuntimeError("cannot be used\nmore")))
    assert probes.cuda_provider() == "cannot be used: Failed to load library libcublasLt.so.12"
    assert capfd.readouterr().err == ""
    os.write(2, b"back")
    assert capfd.readouterr().err == "back"


def test_an_error_without_words_is_still_a_sentence(monkeypatch):
    monkeypatch.setattr("navigator_onnx.run.open_session", failing("", RuntimeError()))
    assert probes.cuda_provider() == "RuntimeError"


def test_without_tensorrt_the_probe_says_why(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert probes.tensorrt().startswith("TensorRT cannot start: ModuleNotFoundError: ")


@pytest.mark.parametrize("error", [Exception("libnvonnxparser.so.10 is missing"), TypeError("no CUDA device")])
def test_a_tensorrt_that_finds_no_gpu_says_why(monkeypatch, error):
    def builder(logger):
        raise error

    logger = type("Logger", (), {"ERROR": 1, "__init__": lambda self, level: None})
    monkeypatch.setitem(sys.modules, "tensorrt", types.SimpleNamespace(Logger=logger, Builder=builder))
    assert probes.tensorrt() == f"TensorRT cannot start: {type(error).__name__}: {error}"


@pytest.mark.gpu
def test_cuda_is_usable_where_onnxruntime_gpu_is_installed():
    try:
        importlib.metadata.version("onnxruntime-gpu")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("onnxruntime-gpu is not installed")
    assert probes.one_onnxruntime() is None
    assert probes.cuda_provider() is None
