"""Which models of JAX's libraries go through `navigator.optimize`, by every path, with random weights.

The models are those of the tests: Flax (nnx and linen), Equinox, plain functions with loops. Nothing is timed here: the
table says which candidates are right, and for the others why they are not. Wants `navigator-jax[onnx]`, `flax` and
`equinox` beside everything else.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
from types import ModuleType

import architectures
import common
from common import Table

MODELS = common.ROOT / "tests" / "jax" / "models.py"
PAGE = common.ROOT / "docs" / "reference" / "jax-models.md"
HEAD = "# Models of JAX that were tried\n\n<!-- Written by `python benchmarks/jax_models.py`. -->\n"


def models() -> ModuleType:
    """The module with the models, which is no part of a package."""
    if "models_of_jax" in sys.modules:
        return sys.modules["models_of_jax"]
    spec = importlib.util.spec_from_file_location("models_of_jax", MODELS)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["models_of_jax"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def optimize(name: str, workspace: str) -> list[list[str]]:
    """What `architectures.tried` says of a run."""
    import navigator as nav

    make, samples = models().MODELS[name]
    runners = [runner for runner in nav.runners() if not runner.startswith("example")]  # it knows eight operators
    right = nav.Objective(minimize="memory")  # nobody asks who is the fastest: no playoff
    report = nav.optimize(make(), samples(), batch_sizes=[1], runners=runners, objective=right, workspace=workspace)
    return architectures.tried(report)


def main() -> None:
    asked = common.arguments(__doc__)
    names = list(models().MODELS)[:2] if asked.quick else list(models().MODELS)
    lines: list[list[str]] = []
    for name in names:
        common.note(name)
        with tempfile.TemporaryDirectory(prefix="navigator-jax-models-") as folder:
            try:
                found = common.call_fresh("jax_models:optimize", name=name, workspace=folder)
            except subprocess.CalledProcessError as error:
                found = [["navigator.optimize", "raised", "", f"exit code {error.returncode}, see above"]]
        lines += architectures.rows(name, found)
    about = (
        "Small models with random weights, two samples of different batch and, for text and sequences, length each, on "
        "a CPU with every runner. What is not right has its reason; candidates in reduced precision are held to what "
        "that explains."
    )
    table = Table("Flax, Equinox and plain functions", about, ("model", "", "candidates"), lines)
    common.finish([table], asked, None)
    if not asked.quick:
        PAGE.write_text(f"{HEAD}\n{common.environment()}\n\n{table.markdown()}")


if __name__ == "__main__":
    main()
