"""Whole runs are costly: each model of the zoo is optimized once, and every test looks at the same report."""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parent))  # for `models` beside the tests, here and in workers

import models
import torch

import navigator as nav
from navigator_core import playoff, request

CONVERTED = ("torch-eager", "torchscript", "onnxruntime-cpu")
"""Without torch-compile, which takes a minute for each model."""

RUNNERS = dict.fromkeys(("resnet18", "minilm"), ("torch-eager", "onnxruntime-cpu"))  # the large ones

SIZES = {"decoder": (1, 2)}


@pytest.fixture(scope="session", autouse=True)
def measured_briefly() -> Iterator[None]:
    """None of these tests asks who is fastest, or how sure a time is, which is half of a run's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(playoff, "MOST", 1)  # tests/core and the pages play it
        patch.setattr(request, "DEFAULT_SECONDS", 0.1)
        yield


class Optimized:
    """A model with its samples and the report; ``named`` are the candidates."""

    def __init__(self, model: Any, samples: Any, report: nav.Report, asked: Mapping[str, Any]) -> None:
        self.model, self.samples, self.report, self.asked = model, samples, report, asked
        self.named: Mapping[str, nav.Candidate] = {candidate.name: candidate for candidate in report.candidates}

    def status(self, *names: str) -> dict[str, str]:
        return {name: self.named[name].status for name in names}

    def expected(self, sample: Any) -> Any:
        """What the source answers in eval mode."""
        call = models.as_call(sample)
        was_training = self.model.training
        try:
            with torch.inference_mode():
                return self.model.eval()(*call.args, **call.kwargs)
        finally:
            self.model.train(was_training)


@pytest.fixture(scope="session")
def optimized(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Optimized]:
    """``optimized("decoder")``: the report on that model of the zoo, made once."""

    @functools.cache
    def make(name: str, *arguments: Any) -> Optimized:
        model, samples = getattr(models, name)(*arguments)
        asked = {
            "runners": RUNNERS.get(name, CONVERTED),
            "batch_sizes": SIZES.get(name, (1,)),
            "precisions": ("fp32",),  # test_precisions.py has the others
            "workspace": tmp_path_factory.mktemp(name) / "workspace",
        }
        return Optimized(model, samples, nav.optimize(model, samples, **asked), asked)

    return make


@pytest.fixture(scope="session")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """``in_process(script)``: what a script prints that runs by itself, where every warning is an error.

    It lies in ``folder``, a new one by default, and so do the files ``beside`` it. ``fails=True``: what it prints as
    it ends with an error.
    """

    def run(
        script: str,
        *arguments: Any,
        folder: Path | None = None,
        beside: Mapping[str, str] | None = None,
        fails: bool = False,
    ) -> str:
        folder = folder or tmp_path_factory.mktemp("script")
        for name, text in {"main.py": script, **(beside or {})}.items():
            (folder / name).write_text(dedent(text))
        done = subprocess.run(
            [sys.executable, "-W", "error", "main.py", *map(str, arguments)],
            cwd=folder, env={**os.environ, "PYTHONPATH": ""}, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert (done.returncode != 0) == fails, done.stderr or done.stdout
        return done.stderr if fails else done.stdout

    return run
