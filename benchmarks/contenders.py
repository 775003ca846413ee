"""Ways to run the models: Navigator's winner, and the raw tools called by hand with their defaults."""

from __future__ import annotations

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


def compiled(model: str, batch: int) -> Call:
    """`torch.compile` with its defaults."""
    return _inference(torch.compile(models.make(model)), model, batch)


def onnxruntime(model: str, batch: int, path: str) -> Call:
    """A session of ONNX Runtime with its defaults; numpy in, numpy out."""
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    ready = [{name: tensor.numpy() for name, tensor in one.items()} for one in _inputs(model, batch)]
    return lambda i: session.run(None, ready[i % INPUTS])


def _inference(function: Any, model: str, batch: int) -> Call:
    ready = _inputs(model, batch)

    def call(i: int) -> object:
        with torch.inference_mode():
            return function(**ready[i % INPUTS])

    return call


def _inputs(model: str, batch: int) -> list[dict[str, torch.Tensor]]:
    return [models.inputs(model, batch, seed) for seed in range(INPUTS)]


def _named(opened: Any, name: str) -> Any:
    return next(c for c in opened.report.candidates if c.name == name)
