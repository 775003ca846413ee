"""Who may import whom: the contracts in pyproject.toml hold, and they cover every package there is."""

import ast
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("navigator_*/src"), *ROOT.glob("plugins/*/src")])
FACADE = ROOT / "navigator_core" / "src" / "navigator"


def contracts():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]


def lint_imports(*arguments, cwd=ROOT, path=SOURCES):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as main; main()"]
    command += ["--no-cache", "--no-logo", *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("contract", [contract["id"] for contract in contracts()["contracts"]])
def test_contract_is_kept(contract):
    outcome = lint_imports("--contract", contract)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_plugin_that_imports_another_breaks_the_contract(tmp_path):
    rule = next(contract for contract in contracts()["contracts"] if contract["id"] == "one-way")
    packages = [name for layer in rule["layers"] for name in layer.split(" | ")]
    for name in packages:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("import navigator_core\n" if name != "navigator_core" else "")
    (tmp_path / ".importlinter").write_text(
        "[importlinter]\nroot_packages =\n"
        + "".join(f"    {name}\n" for name in packages)
        + "[importlinter:contract:one-way]\nname = one way\ntype = layers\nlayers =\n"
        + "".join(f"    {layer}\n" for layer in rule["layers"])
    )
    assert lint_imports(cwd=tmp_path, path=[tmp_path]).returncode == 0
    with (tmp_path / "navigator_torch" / "__init__.py").open("a") as stream:
        stream.write("import navigator_onnx\n")
    assert lint_imports(cwd=tmp_path, path=[tmp_path]).returncode == 1


def test_every_package_is_under_the_contracts():
    packages = {folder.name for source in SOURCES for folder in source.iterdir() if (folder / "__init__.py").exists()}
    assert set(contracts()["root_packages"]) == packages
    layers = next(contract for contract in contracts()["contracts"] if contract["id"] == "one-way")["layers"]
    assert {name for layer in layers for name in layer.split(" | ")} == packages


@pytest.mark.parametrize("module", sorted(FACADE.rglob("*.py")), ids=lambda path: path.name)
def test_the_facade_imports_only_the_core_and_the_standard_library(module):
    imported = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.partition(".")[0])
    assert imported <= {"navigator", "navigator_core"} | sys.stdlib_module_names


def test_importing_navigator_imports_nothing_heavy():
    script = "import sys; before = set(sys.modules); import navigator; print(*set(sys.modules) - before)"
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    loaded = {name.partition(".")[0] for name in outcome.stdout.split()}
    assert "navigator" in loaded
    assert loaded - sys.stdlib_module_names <= {"navigator", "navigator_core", "attr", "attrs", "pluggy"}
