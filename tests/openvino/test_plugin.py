"""What the plugin declares, and what is said of what is missing here."""

from unittest import mock

import openvino
import pytest

import navigator as nav
from navigator_core import BF16, FP16, FP32, INT8, availability, testing
from navigator_openvino import plugin, probes


def conversions(found):
    return {conversion.name: conversion for conversion in found.conversions}


def test_each_precision_is_a_variant_of_its_own_and_only_the_source_s_is_kept_without_one():
    (runner,) = plugin.declare_runners()
    assert {v.name: v.precision for v in runner.variants} == {
        "": None, "static": None, "fp32": FP32, "bf16": BF16, "fp16": FP16,
    }  # fmt: skip
    (quantized,) = (one for one in plugin.declare_converters() if one.source == "openvino")
    assert [v.precision for v in quantized.variants] == [INT8]


def test_it_starts_from_what_other_tools_have_not_changed():
    assert {one.source: one.from_passes for one in plugin.declare_converters()} == {
        "onnx": False, "savedmodel": False, "exported-program": False, "openvino": True,
    }  # fmt: skip


def test_a_format_that_no_plugin_declares_makes_its_conversion_unavailable_and_nothing_else():
    with testing.using(plugin):
        found = conversions(nav.graph())
    for source in ("onnx", "savedmodel", "exported-program"):
        assert found[f"{source}->openvino"].unavailable.reason == f"no installed plugin declares the format {source!r}"
    assert "openvino->openvino[int8]" in found


def test_what_is_not_installed_is_named_with_what_helps(monkeypatch):
    monkeypatch.setattr(availability, "installed_version", lambda name: "2026.1" if name == "openvino" else None)
    with testing.using(plugin):
        found = conversions(nav.graph())
    int8 = found["openvino->openvino[int8]"].unavailable
    assert int8.reason == "needs nncf>=2.16, which is not installed"
    assert int8.remedy == "pip install 'navigator-openvino[int8]'"
    assert found["exported-program->openvino"].unavailable.remedy == "pip install navigator-torch"


@pytest.mark.parametrize(("probe", "name", "dtype"), [("bf16", "BF16", "bfloat16"), ("fp16", "FP16", "float16")])
def test_a_cpu_that_lacks_a_precision_says_so(probe, name, dtype):
    told = {"OPTIMIZATION_CAPABILITIES": ["FP32"], "FULL_DEVICE_NAME": "An old one "}
    old = mock.Mock(get_property=lambda device, what: told[what])
    with mock.patch.object(probes.engine, "core", return_value=old):
        assert getattr(probes, probe)() == f"OpenVINO does not compute in {dtype} on this CPU (An old one)"
        told["OPTIMIZATION_CAPABILITIES"].append(name)
        assert getattr(probes, probe)() is None


def test_probes_ask_this_cpu():
    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert (probes.bf16() is None, probes.fp16() is None) == ("BF16" in able, "FP16" in able)
