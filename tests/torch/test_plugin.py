import subprocess
import sys

import pytest
import torch

from navigator_core import Requirement
from navigator_torch import devices, options, plugin


def test_loading_the_declarations_imports_no_torch():
    code = "import sys, navigator_torch.plugin as p, navigator_torch.devices, navigator_torch.tensors\n"
    code += "[f() for n, f in vars(p).items() if n.startswith('declare_')]\n"
    code += "p.identify_model(3, None), navigator_torch.tensors.is_tensor(3)\n"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_modules_are_recognised_and_scripted_ones_too():
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(torch.nn.Linear(1, 1))
    assert plugin.identify_model(torch.nn.Linear(1, 1), None) == "torch"
    assert plugin.identify_model(scripted, None) == "torch"
    assert plugin.identify_model(lambda x: x, None) is None


@pytest.mark.parametrize(
    "declared",
    [
        *plugin.declare_exporters(),
        *plugin.declare_converters(),
        *plugin.declare_runners(),
    ],
    ids=lambda d: getattr(d, "name", None) or f"{d.source}->{d.target}",
)
def test_every_reference_leads_somewhere(declared):
    assert callable(declared.implementation.resolve())
    for variant in declared.variants:
        assert isinstance(variant.options, declared.options)


def test_the_source_module_has_what_the_core_asks_for():
    framework = plugin.declare_formats()[0]
    module = framework.source.resolve()
    for name in ("parameters", "fingerprint", "truth", "noise", "state", "prepare", "reducers", "ship", "receive"):
        assert callable(getattr(module, name))


def test_onnx_names_navigator_onnx_first_as_what_is_missing():
    exporter = next(e for e in plugin.declare_exporters() if e.target == "onnx")
    assert exporter.requirements[0] == Requirement("navigator-onnx")


@pytest.mark.parametrize("wrong", [{"opset": 5}, {"opset": "20"}, {"optimize": 1}])
def test_an_option_outside_its_range_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        options.Onnx(**wrong)


@pytest.mark.parametrize("wrong", [{"mode": "fastest"}, {"dynamic": "yes"}, {"threads": -1}])
def test_a_wrong_choice_for_the_compiler_is_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        options.Compile(**wrong)


def test_without_a_driver_there_are_no_devices_and_torch_is_not_imported(tmp_path):
    code = "import sys, pathlib, navigator_torch.devices as d\n"
    code += f"d.DRIVER_SIGNS = (pathlib.Path({str(tmp_path / 'none')!r}),)\n"
    code += "sys.exit(d.cuda() != [] or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no-such-compiler" in devices.compiler()
    monkeypatch.setenv("CXX", sys.executable)
    assert devices.compiler() is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_devices_have_name_description_and_memory():
    found = devices.cuda()
    assert found[0].name == "cuda:0"
    assert torch.cuda.get_device_name(0) in found[0].description
    assert found[0].memory > 2**30
