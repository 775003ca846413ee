"""Profilers at work: who measures what of whom, and what it decides."""

from types import SimpleNamespace

import numpy as np
import pytest

import navigator as nav
from navigator_core import Context, Profiler, Ref, Signature, hookimpl
from navigator_core.errors import PluginError, RequestError
from navigator_core.instruments import Instruments, ProfilerUse, ready
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

SAMPLES = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
CONTEXT = Context(signature=Signature(()), device="npu:1")
MODEL = mini.Model(np.random.default_rng(0).standard_normal((4, 3)).astype("float32"), np.ones(3, "float32"))
BIG = Profiler(
    name="big-device", unit="B", implementation=Ref("turning:bytes_of_the_device"), memory="cpu", tensors="mini"
)


def use(name, target, memory=None):
    return ProfilerUse(name=name, implementation=Ref(target), memory=memory)


def test_each_is_put_where_it_belongs(importable):
    found = ready(
        [
            use("latency", "navigator_core.builtin:wall_clock"),
            use("memory", "navigator_core.builtin:process_memory", "host"),
            use("big-device", "turning:bytes_of_the_device", "npu"),
            use("mini-cpu-time", f"{mini.__name__}:cpu_time"),
        ],
        CONTEXT,
    )
    assert found.clock is not None
    assert [place for place, _ in found.memory] == ["host", "npu:1"]
    assert list(found.others) == ["mini-cpu-time"]
    held, peaks = found.around(lambda: bytearray(50_000_000)[:1])
    assert held == b"\0"
    assert peaks["npu:1"] == 2**40
    assert peaks["host"] > 50_000_000, "all that the process holds: the core knows what it held when it was empty"


def test_what_frees_before_it_ends_is_seen():
    (_, measure), *_ = ready([use("memory", "navigator_core.builtin:process_memory", "host")], CONTEXT).memory
    before = measure(lambda: None)
    assert measure(lambda: len(bytearray(80_000_000))) - before > 60_000_000


@pytest.mark.parametrize("times", [0, 2])
def test_a_profiler_of_memory_that_does_not_run_what_it_is_given_once_is_its_authors_mistake(times):
    def measure(call):
        for _ in range(times):
            call()
        return 0.0

    with pytest.raises(PluginError, match="exactly once"):
        Instruments(memory=(("host", measure),)).around(lambda: None)


@pytest.fixture
def report(optimize):
    plugin = SimpleNamespace(__name__="device memory", declare_profilers=hookimpl(lambda: [BIG]))
    with using(mini, plugin):
        yield optimize(MODEL, SAMPLES, objective=nav.Objective(minimize="memory", limits=("memory<=1TiB",)))


def test_memory_decides_and_is_asked_only_where_the_runners_tensors_are_known(report):
    by_runner = {c.runner: c for c in report.candidates}
    eager, runtime = by_runner["mini-eager"], by_runner["mini-runtime"]
    assert {place for m in eager.measurements for place in m.memory} == {"host", "cpu"}
    assert {place for m in runtime.measurements for place in m.memory} == {"host"}
    assert eager.measurements[0].memory["cpu"] == 2**40
    assert report.best.runner == "mini-runtime"
    assert report.select(nav.Objective(minimize="memory", limits=("memory<=1B",))) is None
    refused = nav.Objective(minimize="latency", limits=("memory<=100GiB",))
    assert report.select(refused).runner == "mini-runtime"


def test_a_plugins_quantity_is_limited_in_its_own_unit(optimize):
    with using(mini):
        report = optimize(MODEL, SAMPLES, objective=nav.Objective(limits=("mini-cpu-time<=10s",)))
        assert report.best is not None
        assert report.units["mini-cpu-time"] == "s"
        assert "memory" not in report.units
    assert report.select(nav.Objective(minimize="mini-cpu-time", limits=("mini-cpu-time<=5000ms",))) is not None
    with pytest.raises(RequestError, match="unit in the limit"):
        report.select(nav.Objective(limits=("mini-cpu-time<=5J",)))


def test_a_profiler_of_memory_is_no_quantity_of_its_own(optimize):
    plugin = SimpleNamespace(__name__="device memory", declare_profilers=hookimpl(lambda: [BIG]))
    with using(mini, plugin), pytest.raises(RequestError, match="big-device"):
        optimize(MODEL, SAMPLES, objective=nav.Objective(minimize="big-device"))
