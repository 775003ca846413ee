import shutil
import subprocess
import sys

import pytest
import torch

from navigator_core import FP32, TF32
from navigator_core.errors import NavigatorError
from navigator_torch import compile, options, run, source, torchscript

from .conftest import BATCH, as_torch, assert_close, batch_of, context_for, reference

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_eager_takes_and_returns_tensors_by_name(mlp, mlp_context):
    loaded = run.eager(source.prepare(mlp), options.Eager(), mlp_context)
    arrays = batch_of(mlp_context, 3)
    outputs = loaded.call(as_torch(mlp_context.signature, arrays))
    loaded.synchronize()
    loaded.close()
    assert_close(outputs, reference(mlp, mlp_context, arrays))
    assert outputs["logits"].is_inference()


def test_containers_of_transformers_are_taken_apart(bert, bert_context):
    loaded = run.eager(source.prepare(bert), options.Eager(), bert_context)
    arrays = batch_of(bert_context, 2)
    outputs = loaded.call(as_torch(bert_context.signature, arrays))
    assert_close(outputs, reference(bert, bert_context, arrays))
    assert "last_hidden_state" in outputs


def test_state_with_another_batch_axis_goes_in_and_out(recurrent, recurrent_context):
    loaded = run.eager(source.prepare(recurrent), options.Eager(), recurrent_context)
    outputs = loaded.call(as_torch(recurrent_context.signature, batch_of(recurrent_context, 4)))
    assert [tuple(v.shape) for v in outputs.values()] == [(4, 6, 5), (2, 4, 5), (2, 4, 5)]


class Threads(torch.nn.Module):
    def forward(self, x):
        return x + torch.get_num_threads()


def test_threads_take_effect_during_the_call_only():
    model = Threads()
    context = context_for(model, torch.zeros(1), {})
    before = torch.get_num_threads()
    loaded = run.eager(model, options.Eager(threads=before + 2), context)
    assert loaded.call({"x": torch.zeros(1)})["output"].item() == before + 2
    assert torch.get_num_threads() == before


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_compiled_model_matches_eager_at_several_batch_sizes():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh()).eval()
    context = context_for(model, torch.randn(2, 3), {"input": {0: BATCH}})
    limit = torch._dynamo.config.recompile_limit
    loaded = compile.run(model, options.Compile(dynamic=True, fullgraph=True), context)
    for size in (2, 5):
        arrays = batch_of(context, size)
        assert_close(loaded.call(as_torch(context.signature, arrays)), reference(model, context, arrays))
    loaded.close()
    assert torch._dynamo.config.recompile_limit == limit


@pytest.mark.parametrize("said", ["nothing", "older", "newer"])
@pytest.mark.parametrize("allowed", [True, False])
def test_tf32_is_as_promised_during_a_call_and_put_back(allowed, said):
    """In a process of its own, for the switches are the process'."""
    code = f"""
import torch
from navigator_torch.run import tf32
backends = torch.backends
newer = hasattr(backends.cudnn, "conv")
if {said!r} == "older":
    torch.set_float32_matmul_precision("medium")
if {said!r} == "newer" and newer:
    backends.cuda.matmul.fp32_precision = "tf32"
def now():
    if newer:
        kinds = backends.cuda.matmul, backends.cudnn.conv, backends.cudnn.rnn, backends.mkldnn.matmul
        return [kind.fp32_precision for kind in kinds]
    return [backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32]
before = now()
with tf32({allowed}):
    assert backends.cuda.matmul.allow_tf32 is {allowed}
    assert backends.cudnn.allow_tf32 is {allowed}
    assert torch.get_float32_matmul_precision() == ("high" if {allowed} else "highest")
assert now() == before, (before, now())
if {said!r} == "older":
    assert torch.get_float32_matmul_precision() == "medium"
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def double_error(loaded, model, x):
    exact = x.double() @ model.weight.detach().double().T + model.bias.detach().double()
    out = loaded.call({"input": x})["output"]
    loaded.synchronize()
    return ((out.double() - exact).norm() / exact.norm()).item()


@pytest.mark.gpu
@cuda
def test_fp32_on_cuda_is_computed_without_tf32_and_tf32_with_it():
    model = torch.nn.Linear(512, 512).cuda().eval()
    x = torch.randn(64, 512, device="cuda")
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        errors = {}
        for precision in (FP32, TF32):
            context = context_for(model.cpu(), torch.randn(64, 512), {}, device="cuda", precision=precision)
            errors[precision.name] = double_error(run.eager(model.cuda(), options.Eager(), context), model, x)
        assert errors["fp32"] < 1e-6 < errors["tf32"]
        assert torch.backends.cuda.matmul.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.gpu
@cuda
@pytest.mark.parametrize("name", ["mlp", "recurrent"])
@pytest.mark.parametrize("how", ["eager", "compile", "reduce-overhead", "trace", "script"])
def test_every_runner_matches_the_cpu_on_cuda(name, how, request, tmp_path):
    import attrs

    model = request.getfixturevalue(name)
    context = attrs.evolve(request.getfixturevalue(f"{name}_context"), device="cuda:0")
    ready = source.prepare(model, "cuda:0")
    if how == "eager":
        loaded = run.eager(ready, options.Eager(), context)
    elif how in ("compile", "reduce-overhead"):
        mode = "default" if how == "compile" else how
        loaded = compile.run(ready, options.Compile(mode=mode), context)
    else:
        torchscript.export(ready, tmp_path / "m.pt", options.ToTorchScript(method=how), context)
        loaded = torchscript.run(tmp_path / "m.pt", options.TorchScript(), context)
    for size in (2, 3, 5):
        arrays = batch_of(context, size)
        outputs = loaded.call(as_torch(context.signature, arrays, "cuda:0"))
        loaded.synchronize()
        assert_close(outputs, reference(model, context, arrays))
    loaded.close()


def test_torch_compile_refuses_a_scripted_module_which_it_would_run_uncompiled():
    with pytest.warns(DeprecationWarning, match="jit.script"):
        scripted = torch.jit.script(torch.nn.Linear(4, 2).eval())
    with pytest.raises(NavigatorError, match="does not compile a scripted module"):
        compile.run(scripted, options.Compile(), context_for(scripted, torch.ones(2, 4), {"input": {0: BATCH}}))
