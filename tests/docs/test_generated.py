"""What the documentation takes from the declarations: it is up to date, and it has all of them."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from navigator_core import (
    BF16,
    Converter,
    Deployer,
    Device,
    Executor,
    Exporter,
    Format,
    Framework,
    Probe,
    Profiler,
    Ref,
    Requirement,
    Runner,
    Tensors,
    Variant,
)
from navigator_core.plugins import Plugins

ROOT = Path(__file__).parents[2]
GENERATE = ROOT / "docs" / "generate"
REF = Ref("somewhere:something")
HELPS = "What helps where something is missing"


@pytest.fixture
def load(monkeypatch):
    """Imports a module of docs/generate, which is a script and no package."""
    monkeypatch.syspath_prepend(GENERATE)
    yield importlib.import_module
    for path in GENERATE.glob("*.py"):
        sys.modules.pop(path.stem, None)


def rows(page, heading):
    """The rows of the table under a heading, as lists of cells."""
    text = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.M | re.S)[1]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines[2:]]


def test_what_is_generated_says_what_is_declared():
    done = subprocess.run([sys.executable, str(GENERATE), "--check"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_distribution_has_a_page_with_all_that_it_declares(load):
    packages, declared = load("packages"), load("declared")
    found = declared.distributions()
    assert {"navigator-core", "navigator-torch", "navigator-onnx", "navigator-example"} <= {one.name for one in found}
    for one in found:
        page = (packages.FOLDER / f"{one.name}.md").read_text()
        plugins = one.plugins
        implemented = [(f"{e.source}->{e.target}", e) for e in (*plugins.exporters, *plugins.converters)]
        implemented += plugins.runners.items()
        names = [
            f"{name}[{v.name}]" if v and v.name else name
            for name, value in implemented
            for v in value.variants or (None,)
        ]
        names += [*plugins.formats, *plugins.tensors, *(device.kind for device in plugins.devices), *plugins.profilers]
        assert [name for name in names if f"`{name}`" not in page] == []
        requirements = [r for _, value in implemented for r in value.requirements if isinstance(r, Requirement)]
        assert [r for r in requirements if any(f"`{name}`" not in page for name in r.any_of)] == []


def test_the_picture_in_the_readme_has_every_format_variant_and_runner(load):
    found = load("declared").together()
    picture = (ROOT / "README.md").read_text().partition("<!-- graph:")[2].partition("<!-- end of graph")[0]
    said = set(re.split(r'<br>|, |"', picture))
    assert found.formats.keys() | found.runners.keys() <= said
    assert {v.name for edge in (*found.exporters, *found.converters) for v in edge.variants if v.name} <= said


def test_a_page_grows_with_the_declarations(load, tmp_path):
    packages, declared = load("packages"), load("declared")
    (tmp_path / "README.md").write_text("# x\n\n## What it recognises\n\nNothing.\n\n## Known gaps\n\n- All.\n")
    engine = Requirement(("engine>=2", "engine-gpu>=2"), remedy="pip install 'navigator-x[engine]'")
    driver = Probe(REF, remedy="install the driver")
    slow = Variant("bf16", precision=BF16, requirements="extra; python_version>'3'")
    bound = {"portable": False, "executes_code": True}
    plugins = Plugins(
        formats={
            "net": Framework(name="net", source=REF, reference="eager"),
            "plan": Format(name="plan", file="m.plan", signature=REF, reference="run", **bound),
        },
        tensors={"t": Tensors(name="t", source=REF)},
        devices=(Device(kind="npu", detect=REF),),
        exporters=(Exporter(source="net", target="plan", implementation=REF, requirements=(engine, driver)),),
        converters=(
            Converter(
                source="plan",
                target="plan",
                implementation=REF,
                variants=(slow, Variant("slim")),
                devices=("npu", "cpu"),
            ),
        ),
        runners={"run": Runner(name="run", formats=("net", "plan"), implementation=REF, variants=(Variant("fast"),))},
        profilers={"energy": Profiler(name="energy", unit="J", implementation=REF)},
        deployers={"server": Deployer(name="server", formats=("plan",), implementation=REF)},
        executors={"cluster": Executor(name="cluster", implementation=REF, requirements=("ray",))},
    )
    project = {
        "name": "navigator-x",
        "description": "X.",
        "requires-python": ">=3.11",
        "dependencies": ["numpy>=1"],
        "optional-dependencies": {"engine": ["engine>=2"]},
    }
    packages.ROOT = tmp_path
    page = "\n".join(packages.page(declared.Distribution(tmp_path, project, plugins)))
    assert rows(page, "Paths") == [
        ["`net->plan`", "", "cpu", "`engine>=2` or `engine-gpu>=2`, check `something`"],
        ["`plan->plan[bf16]`", "bf16", "npu, cpu", "`extra; python_version>'3'`"],
        ["`plan->plan[slim]`", "", "npu, cpu", ""],
    ]
    assert rows(page, "Runners") == [["`run[fast]`", "`net`, `plan`", "cpu"]]
    assert ["`engine>=2` or `engine-gpu>=2`", "`pip install 'navigator-x[engine]'`"] in rows(page, HELPS)
    assert ["`extra; python_version>'3'`", "`pip install extra`"] in rows(page, HELPS)
    assert ["check `something`", "install the driver"] in rows(page, HELPS)
    (net, plan) = rows(page, "Formats and frameworks")
    assert "run as they are by `eager`" in net[1]
    assert all(word in plan[1] for word in ("m.plan", "tied to the device", "execute code", "`run` says what it means"))
    assert rows(page, "Tensors and devices") == [["array", "`t`"], ["device", "`npu`"]]
    assert rows(page, "Measuring and deploying") == [
        ["profiler", "`energy`", ""],
        ["deployer", "`server`", ""],
        ["executor", "`cluster`", "`ray`"],
    ]
    assert "- with `pip install 'navigator-x[engine]'`: `engine>=2`" in page
    assert page.endswith("## Known gaps\n\n- All.\n")


def test_a_readme_without_its_part_is_named(load, tmp_path):
    packages = load("packages")
    packages.ROOT = tmp_path
    (tmp_path / "README.md").write_text("# x\n\n## Known gaps\n")
    with pytest.raises(ValueError, match=r"README\.md must have a section '## Known gaps'"):
        packages.written(tmp_path / "README.md", "Known gaps")


def test_links_taken_from_a_readme_lead_from_the_page(load, tmp_path):
    packages = load("packages")
    packages.FOLDER = tmp_path / "docs" / "packages"
    packages.ROOT = tmp_path
    (tmp_path / "README.md").write_text("## Known gaps\n\n[a](docs/a.md#b), [here](#c), [far](https://x.org/y)\n")
    text = packages.written(tmp_path / "README.md", "Known gaps")
    assert text == "[a](../a.md#b), [here](#c), [far](https://x.org/y)"
