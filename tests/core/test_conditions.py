"""What is written down about the machine beside every measurement."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import navigator as nav
from navigator_core import Device, Ref, Runner, conditions, hookimpl
from navigator_core.contention import Others
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Three cores with files as Linux has them, of which this process may use two."""
    for core, (governor, clock) in enumerate([("powersave", 1_200_000), ("performance", 3_400_000), ("ondemand", 1)]):
        folder = tmp_path / f"cpu{core}/cpufreq"
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text(f"{governor}\n")
        (folder / "scaling_cur_freq").write_text(f"{clock}\n")
    (tmp_path / "info").write_text("model name\t: Abacus 3000\ncpu MHz\t\t: 2000.5\n\nmodel name\t: Abacus 3000\n")
    return tmp_path


def test_model_governor_and_clocks_are_those_of_the_cores_that_may_be_used(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    found = conditions.read(Others(), {"sm clock": "1410 MHz"}, machine, machine / "info")
    assert (found.cpu, found.cores) == ("Abacus 3000", 2)
    assert (found.governor, found.megahertz) == ("performance, powersave", 2300.0)
    assert found.device == {"sm clock": "1410 MHz"}


def test_without_a_driver_the_clock_is_what_the_processor_says(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    found = conditions.read(Others(), {}, machine / "none", machine / "info")
    assert (found.governor, found.megahertz) == (None, 2000.5)


def test_what_a_machine_does_not_tell_is_none_and_no_error(tmp_path: Path) -> None:
    found = conditions.read(Others(), {}, tmp_path, tmp_path / "missing")
    assert (found.governor, found.megahertz) == (None, None)
    assert found.cpu


def test_what_others_and_other_machines_took_is_among_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    clock = iter([0.0, 2.0])
    monkeypatch.setattr("navigator_core.contention.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("navigator_core.contention.time.process_time", lambda: 0.0)
    monkeypatch.setattr("navigator_core.contention.os.cpu_count", lambda: 2)
    monkeypatch.setattr("navigator_core.contention._TICKS", 100)
    stat.write_text("cpu  0 0 0 0 0 0 0 0\n")
    with Others(stat) as others:
        stat.write_text("cpu  100 0 0 200 0 0 0 60\n")  # of 4 core seconds 1.6 busy, 0.6 of them elsewhere
    found = conditions.read(others, {})
    assert (found.others, found.stolen) == pytest.approx((0.4, 0.15))


def test_a_device_says_how_fast_it_runs_and_it_is_written_down_with_each_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a hook of the plugin that declares the device, in the worker that has measured."""
    monkeypatch.syspath_prepend(Path(__file__).parent)  # workers find `pacing` there
    import pacing

    device = Device(kind="npu", detect=Ref("pacing:devices"), clocks=Ref("pacing:clocks"))
    runner = Runner(
        name="on-npu", formats=("mini-npz",), devices=("npu",), implementation=Ref("pacing:load"), options=pacing.Pace
    )
    plugin = SimpleNamespace(
        __name__="npu plugin",
        declare_devices=hookimpl(lambda: [device]),
        declare_runners=hookimpl(lambda: [runner]),
    )
    layer = mini.Model(np.ones((4, 3), np.float32), np.ones(3, np.float32))
    samples = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
    with using(mini, plugin):
        report = nav.optimize(
            layer, samples, device="npu", precisions=["fp32"], batch_sizes=[1], workspace=tmp_path / "w"
        )
    measured = {c.name: c.measurements for c in report.candidates if c.runner == "on-npu" and c.measurements}
    ((one,),) = measured.values()
    assert one.conditions is not None
    assert one.conditions.device == {"clock": "7 MHz", "of": "npu:7"}
    assert one.conditions.cores == len(os.sched_getaffinity(0))
    saved = report.to_dict()["candidates"][0]["measurements"][0]["conditions"]
    assert saved["device"] == {"clock": "7 MHz", "of": "npu:7"}
    assert "7 MHz" not in str(report)
