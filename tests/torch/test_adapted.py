"""Models in another arithmetic or memory layout: what is cast, what stays, and that the model given stays as it was."""

from types import SimpleNamespace

import attrs
import pytest
import torch
from torch import nn

from navigator_core import BF16, FP16, FP32, processor
from navigator_core.errors import NavigatorError, NothingToDoError
from navigator_torch import compile, devices, options, run
from navigator_torch.adapted import Autocast, adapted

from .conftest import BATCH, Tied, as_torch, context_for


class Mixed(nn.Module):
    """A convolution, a normalization, and a linear layer whose weight an embedding holds as well."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.embedding, self.head = nn.Embedding(5, 8), nn.Linear(8, 5, bias=False)
        self.inner = nn.Linear(8, 8)
        self.head.weight = self.embedding.weight

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        features = torch.relu(self.norm(self.convolution(image)))
        pooled = self.inner(features.mean((2, 3))) + self.embedding(torch.zeros(1, dtype=torch.int64))
        return {"scores": self.head(pooled), "best": self.head(pooled).argmax(-1), "features": features}


@pytest.fixture
def mixed():
    torch.manual_seed(0)
    return Mixed().eval()


@pytest.fixture
def context(mixed):
    return context_for(mixed, torch.randn(2, 3, 6, 6), {"image": {0: BATCH}})


def state(model):
    return {name: (tensor.clone(), tensor.stride()) for name, tensor in model.state_dict().items()}


def assert_as_it_was(model, before):
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name][0])
        assert tensor.stride() == before[name][1]


@pytest.mark.parametrize(("name", "promised", "dtype"), [("bf16", BF16, torch.bfloat16), ("fp16", FP16, torch.float16)])
def test_what_only_linear_and_convolution_layers_hold_is_cast_once(mixed, context, name, promised, dtype):
    before = state(mixed)
    ready = adapted(mixed, attrs.evolve(context, precision=promised), autocast=name).model
    assert {ready.convolution.weight.dtype, ready.convolution.bias.dtype, ready.inner.weight.dtype} == {dtype}
    assert {ready.norm.weight.dtype, ready.embedding.weight.dtype, ready.head.weight.dtype} == {torch.float32}
    assert ready.head.weight is ready.embedding.weight
    assert ready.norm.weight is mixed.norm.weight  # what is not cast takes no memory
    assert_as_it_was(mixed, before)


def test_a_layer_of_ones_own_is_left_as_it_is():
    class Careful(nn.Linear):
        def forward(self, x):
            assert self.weight.dtype == torch.float32
            return super().forward(x)

    model = nn.Sequential(Careful(4, 2)).eval()
    given = attrs.evolve(context_for(model, torch.ones(2, 4), {"input": {0: BATCH}}), precision=BF16)
    assert adapted(model, given, autocast="bf16")(torch.ones(2, 4)).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_outputs_come_in_the_types_of_the_source_and_near_its_values(mixed, context, name):
    promised = attrs.evolve(context, precision={"bf16": BF16, "fp16": FP16}[name])
    inputs = as_torch(context.signature, context.samples[0])
    with torch.no_grad():
        expected = mixed(**inputs)
    found = run.eager(mixed, options.Eager(autocast=name), promised).call(inputs)
    assert {key: value.dtype for key, value in found.items()} == {key: value.dtype for key, value in expected.items()}
    error = (found["scores"] - expected["scores"]).norm() / expected["scores"].norm()
    assert 0 < error < 0.05


def test_autocast_in_a_candidate_that_promises_fp32_is_refused(mixed, context):
    with pytest.raises(NavigatorError, match=r"autocast='bf16' does not compute in fp32.*precisions=\['bf16'\]"):
        run.eager(mixed, options.Eager(autocast="bf16"), attrs.evolve(context, precision=FP32))


def test_convolutions_are_laid_out_by_channel_last_and_answer_the_same(mixed, context):
    before = state(mixed)
    ready = adapted(mixed, context, channels_last=True)
    assert ready.convolution.weight.is_contiguous(memory_format=torch.channels_last)
    assert ready.inner.weight is mixed.inner.weight
    image = torch.randn(2, 3, 6, 6)
    with torch.no_grad():
        torch.testing.assert_close(ready(image), mixed(image))
    assert_as_it_was(mixed, before)


def test_a_model_without_convolutions_has_nothing_to_lay_out():
    model = Tied().eval()
    given = context_for(model, torch.arange(4).reshape(2, 2), {"ids": {0: BATCH}})
    with pytest.raises(NothingToDoError, match="has no 2-D convolution"):
        adapted(model, given, channels_last=True)


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [None, "bf16"])
def test_a_frozen_compiled_model_takes_every_batch_and_answers_in_the_sources_types(mixed, context, autocast):
    promised = attrs.evolve(context, precision=BF16 if autocast else FP32)
    loaded = compile.run(mixed, options.Compile(freezing=True, autocast=autocast), promised)
    try:
        for rows in (2, 1, 5):
            image = torch.randn(rows, 3, 6, 6)
            with torch.no_grad():
                expected = mixed(image)
            found = loaded.call({"image": image})
            error = (found["scores"] - expected["scores"]).norm() / expected["scores"].norm()
            assert error < (0.05 if autocast else 1e-5)
            assert found["scores"].dtype == torch.float32
    finally:
        loaded.close()


def test_autocast_is_a_module_that_is_evaluated(mixed):
    assert not Autocast(mixed, torch.bfloat16, "cpu").training


CPUINFO = "processor\t: 0\nflags\t\t: fpu {}\n"


@pytest.mark.parametrize(
    ("flags", "bf16", "fp16"),
    [("avx2", False, False), ("avx512_bf16", True, False), ("amx_bf16 avx512_fp16", True, True)],
)
def test_half_precision_is_offered_where_the_cpu_has_instructions_for_it(tmp_path, monkeypatch, flags, bf16, fp16):
    (tmp_path / "cpuinfo").write_text(CPUINFO.format(flags))
    monkeypatch.setattr(processor, "INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(devices, "DRIVER_SIGNS", (tmp_path / "none",))
    assert (devices.bf16() is None, devices.fp16() is None) == (bf16, fp16)
    assert devices.gpu() is not None


def test_half_precision_is_offered_where_there_is_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "INFO", tmp_path / "none")
    monkeypatch.setattr(devices, "DRIVER_SIGNS", (tmp_path,))
    assert devices.bf16() is devices.fp16() is devices.gpu() is None
    monkeypatch.setattr(devices, "DRIVER_SIGNS", (tmp_path / "none",))
    assert "bfloat16" in devices.bf16()


def test_a_gpu_says_how_fast_it_runs_by_the_drivers_own_program(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\ntest "$1" = --id=GPU-abc && echo "1410 MHz, 1215 MHz, 1980 MHz, 41, [N/A], P0"\n')
    program.chmod(0o755)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid="abc"))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = devices.clocks("cuda:0")
    assert (found["clocks.sm"], found["pstate"]) == ("1410 MHz", "P0")
    assert "power.draw" not in found
    program.write_text("#!/bin/sh\nexit 9\n")
    assert devices.clocks("cuda:0") == {}
