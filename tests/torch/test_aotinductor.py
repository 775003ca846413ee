from unittest import mock

import attrs
import numpy as np
import pytest
import torch

from navigator_core import FP32, TF32
from navigator_core.errors import NavigatorError, RequestError
from navigator_torch import aotinductor, devices, exported, options, source

from .conftest import BATCH, Mlp, as_torch, assert_close, batch_of, context_for, reference

needs_compiler = pytest.mark.skipif(devices.compiler() is not None, reason="no C++ compiler")


def compiled(model, context, folder, **chosen):
    (folder / "library").mkdir()
    exported.export(source.prepare(model), folder / "model.pt2", None, context)
    library = folder / "library" / "model.pt2"
    aotinductor.convert(folder / "model.pt2", library, options.ToAotInductor(**chosen), context)
    return library


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    torch.manual_seed(0)
    model = Mlp()
    context = context_for(model, {"x": torch.randn(1, 4), "unused": torch.zeros(2), "scale": 0.5}, {"x": {0: BATCH}})
    return model, context, compiled(model, context, tmp_path_factory.mktemp("aotinductor"))


@pytest.mark.slow
@needs_compiler
def test_a_library_matches_eager_at_several_batch_sizes(case):
    model, context, library = case
    run = aotinductor.run(library, None, context)
    for size in (1, 3, 8, 64):
        arrays = batch_of(context, size)
        assert_close(run.call(as_torch(context.signature, arrays)), reference(model, context, arrays))


@pytest.mark.slow
@needs_compiler
def test_a_tensor_in_another_memory_order_is_taken_as_it_is_meant(case):
    model, context, library = case
    run = aotinductor.run(library, None, context)
    x = torch.randn(4, 3).T
    expected = reference(model, context, {"x": x.numpy(), "unused": np.zeros(2, np.float32)})
    assert_close(run.call({"x": x, "unused": torch.zeros(2)}), expected)


@pytest.mark.slow
@needs_compiler
def test_a_tensor_of_another_size_is_refused_instead_of_read_past_its_end(case):
    _, context, library = case
    run = aotinductor.run(library, None, context)
    with pytest.raises(RequestError, match=r"input 'x' has the shape \(3, 2\)"):
        run.call({"x": torch.zeros(3, 2), "unused": torch.zeros(2)})


@pytest.mark.slow
@needs_compiler
def test_a_library_for_another_device_says_so(case):
    _, context, library = case
    package = mock.Mock(get_metadata=lambda: {"AOTI_DEVICE_KEY": "cuda"})
    assert aotinductor.run(library, None, context)
    with (
        mock.patch("torch._inductor.aoti_load_package", return_value=package),
        pytest.raises(NavigatorError, match="compiled for cuda and cannot run on cpu"),
    ):
        aotinductor.run(library, None, context)


@pytest.mark.slow
@needs_compiler
def test_frozen_weights_give_the_same_answers(tmp_path):
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU())
    context = context_for(model, torch.randn(1, 3, 8, 8), {"input": {0: BATCH}})
    run = aotinductor.run(compiled(model, context, tmp_path, freezing=True), None, context)
    for size in (1, 3):
        arrays = batch_of(context, size)
        assert_close(run.call(as_torch(context.signature, arrays)), reference(model, context, arrays))


@pytest.mark.parametrize("precision", [FP32, TF32])
def test_kernels_for_cuda_are_compiled_with_the_arithmetic_that_was_promised(tmp_path, precision):
    model = torch.nn.Linear(4, 3)
    context = context_for(model, torch.randn(1, 4), {"input": {0: BATCH}})
    exported.export(source.prepare(model), tmp_path / "model.pt2", None, context)
    seen = []

    def note(*args, **given):
        seen.append(torch.get_float32_matmul_precision())

    with (
        mock.patch("navigator_torch.exported.load"),
        mock.patch("torch._inductor.aoti_compile_and_package", side_effect=note),
    ):
        asked = attrs.evolve(context, device="cuda:0", precision=precision)
        aotinductor.convert(tmp_path / "model.pt2", tmp_path / "library.pt2", options.ToAotInductor(), asked)
    assert seen == ["highest" if precision == FP32 else "high"]
    assert torch.get_float32_matmul_precision() == "highest"
