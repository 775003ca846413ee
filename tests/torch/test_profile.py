"""What a GPU says of torch's work on it; without one, that the right questions are asked in the right order."""

import pytest
import torch

from navigator_core import Context, Signature
from navigator_core.instruments import ProfilerUse, ready
from navigator_torch import plugin, profile

CONTEXT = Context(signature=Signature(()), device="cuda:0")
CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def device(monkeypatch):
    """A device that notes what it is asked, and whose clock moves by 2 ms with each call."""
    asked = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            asked.append(f"record on {stream}")

        def synchronize(self):
            asked.append("wait for the event")

        def elapsed_time(self, last):
            return 2.0 * asked.count("call")

    fakes = {
        "Event": Event,
        "current_stream": lambda device: f"the stream of {device}",
        "reset_peak_memory_stats": lambda device: asked.append(f"reset {device}"),
        "synchronize": lambda device: asked.append(f"wait for {device}"),
        "max_memory_allocated": lambda device: asked.append(f"peak of {device}") or 2**30,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return asked


def test_the_time_is_between_two_events_around_the_call_in_seconds(device):
    measure = profile.device_time(CONTEXT)
    assert measure(lambda: device.append("call")) == 0.002
    around = "record on the stream of cuda:0"
    assert device == [around, "call", around, "wait for the event"]


def test_the_peak_is_that_since_before_the_call_once_all_is_done(device):
    measure = profile.device_memory(CONTEXT)
    assert measure(lambda: device.append("call")) == 2**30
    assert device == ["reset cuda:0", "call", "wait for cuda:0", "peak of cuda:0"]


def test_both_are_for_torchs_own_runners_on_a_gpu():
    for declared in plugin.declare_profilers():
        assert (declared.tensors, declared.devices) == ("torch", ("cuda",))


@pytest.mark.gpu
@CUDA
def test_a_gpu_measures_its_own_work_and_memory():
    uses = [
        ProfilerUse(name=one.name, implementation=one.implementation, memory=one.memory)
        for one in plugin.declare_profilers()
    ]
    found = ready(uses, CONTEXT)
    a = torch.randn(2048, 2048, device="cuda:0")

    def work(number=0):
        return a @ a

    work()
    (seconds,) = found.quantities(work).values()
    assert 0 < seconds.value < 1
    _, peaks = found.around(work)
    assert peaks["cuda:0"] >= 2 * a.numel() * a.element_size()


@pytest.mark.gpu
@CUDA
def test_a_run_on_a_gpu_reports_memory_and_time_of_the_device(tmp_path):
    import navigator as nav

    model = torch.nn.Linear(512, 512)
    report = nav.optimize(
        model,
        torch.randn(4, 512),
        device="cuda",
        runners=["torch-eager"],
        batch_sizes=[4],
        workspace=tmp_path,
        objective=nav.Objective(minimize="memory", limits=("memory<=16GiB", "device-time<=10s")),
    )
    (measurement,) = report.best.measurements
    assert measurement.memory["cuda:0"] >= 512 * 512 * 4
    assert 0 < measurement.others["device-time"].value <= measurement.p50.high * 2
