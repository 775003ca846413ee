"""Ways to run the models: Navigator's winner, and the raw tools called by hand as their documentation shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import models
import torch
from turns import Call

INPUTS = 4
"""Different inputs that a contender goes through."""


def winner(model: str, batch: int, package: str, candidate: str) -> Call:
    """A candidate of a saved package, called as the source is: tensors of torch in, tensors of torch out."""
    import navigator as nav

    opened = nav.load(package)
    found = _named(opened, candidate)
    if found.recipe is not None and found.recipe.live:
        opened.attach(models.make(model))
        found = _named(opened, candidate)
    loaded = found.load()
    ready = _inputs(model, batch)
    return lambda i: loaded(**ready[i % INPUTS])


def eager(model: str, batch: int) -> Call:
    """The model in inference mode."""
    return _inference(models.make(model), model, batch)


def autocast(model: str, batch: int) -> Call:
    """The model under autocast to bfloat16."""
    return _inference(models.make(model), model, batch, bf16=True)


def compiled(model: str, batch: int) -> Call:
    """`torch.compile` with its defaults."""
    return _inference(torch.compile(models.make(model)), model, batch)


def frozen(model: str, batch: int, bf16: bool = False) -> Call:
    """`torch.compile` with inductor's freezing, in fp32 or under autocast to bfloat16."""
    return _inference(torch.compile(models.make(model), options={"freezing": True}), model, batch, bf16=bf16)


def script(model: str, batch: int) -> Call:
    """A trace, frozen and optimized for inference."""
    ready = _inputs(model, batch)
    with torch.no_grad():
        example = tuple(ready[0].values())
        traced = torch.jit.trace(models.make(model), example, strict=False, check_trace=False)
        optimized = torch.jit.optimize_for_inference(torch.jit.freeze(traced))

    def call(i: int) -> object:
        with torch.inference_mode():
            return optimized(*ready[i % INPUTS].values())

    return call


def onnxruntime(model: str, batch: int, path: str) -> Call:
    """A session of ONNX Runtime with its defaults; tensors of torch in and out, as for all others."""
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    ready = _inputs(model, batch)

    def call(i: int) -> torch.Tensor:
        given = {name: tensor.numpy() for name, tensor in ready[i % INPUTS].items()}
        return torch.from_numpy(session.run(None, given)[0])

    return call


def openvino(model: str, batch: int, path: str, hint: str | None = None) -> Call:
    """OpenVINO on the CPU, tuned for latency and for this batch; tensors of torch in and out, as for all others.

    ``hint`` is the precision of inference, "f32" or "bf16"; None leaves it to OpenVINO.
    """
    with models.no_telemetry():
        import openvino as ov
    ready = _inputs(model, batch)
    read = ov.Core().read_model(path)
    read.reshape({name: tuple(tensor.shape) for name, tensor in ready[0].items()})
    config = {"PERFORMANCE_HINT": "LATENCY", **({"INFERENCE_PRECISION_HINT": hint} if hint else {})}
    request = ov.Core().compile_model(read, "CPU", config).create_infer_request()

    def call(i: int) -> torch.Tensor:
        given = {name: tensor.numpy() for name, tensor in ready[i % INPUTS].items()}
        return torch.from_numpy(request.infer(given, share_inputs=True)[0])

    return call


def similarity(build: str, given: Mapping[str, Any]) -> float:
    """How near a contender's outputs are to the model's own in fp32: the least cosine of a row, over all inputs."""
    import common

    call: Call = common.resolve(build)(**given)
    source = models.make(given["model"])
    found = []
    for i, one in enumerate(_inputs(given["model"], given["batch"])):
        with torch.inference_mode():
            expected = models.tensor(source(**one)).flatten(1)
        output: Any = call(i)
        found.append(torch.cosine_similarity(models.tensor(output).float().flatten(1), expected).min().item())
    return min(found)


def _inference(function: Any, model: str, batch: int, bf16: bool = False) -> Call:
    ready = _inputs(model, batch)

    def call(i: int) -> object:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return function(**ready[i % INPUTS])

    return call


def _inputs(model: str, batch: int) -> list[dict[str, torch.Tensor]]:
    return [models.inputs(model, batch, seed) for seed in range(INPUTS)]


def _named(opened: Any, name: str) -> Any:
    return next(c for c in opened.report.candidates if c.name == name)
