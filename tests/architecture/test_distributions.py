"""What every distribution ships, and what the pages may say."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = sorted(
    p.parent for p in [*ROOT.glob("navigator_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")]
)
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *(folder / "README.md" for folder in DISTRIBUTIONS)])
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work|opt|home)/\S*")

every_distribution = pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def packages(folder):
    return [path.parent for path in folder.glob("src/*/__init__.py")]


@every_distribution
def test_distribution_ships_its_types(folder):
    shipped = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert packages(folder)
    for package in packages(folder):
        assert (package / "py.typed").exists()
        assert "py.typed" in shipped.get(package.name, shipped.get("*", ()))


@every_distribution
def test_distribution_has_a_readme_that_names_it(folder):
    assert project(folder)["readme"] == "README.md"
    assert project(folder)["name"] in (folder / "README.md").read_text()


@every_distribution
def test_distribution_is_named_after_its_folder_and_says_where_it_runs(folder):
    assert project(folder)["name"] == folder.name.replace("_", "-")
    assert project(folder)["requires-python"] == ">=3.11,<3.14"
    assert project(folder)["license"] == "Apache-2.0"


@every_distribution
def test_plugin_depends_on_the_core_and_is_found_by_its_entry_point(folder):
    names = [re.split(r"[^\w-]", requirement)[0] for requirement in project(folder)["dependencies"]]
    ours = [name for name in names if name.startswith("navigator")]
    assert ours == ([] if folder.name == "navigator_core" else ["navigator-core"])
    assert project(folder)["entry-points"]["navigator"]


def test_the_core_depends_on_no_framework():
    names = {re.split(r"[^\w-]", requirement)[0] for requirement in project(ROOT / "navigator_core")["dependencies"]}
    assert names.isdisjoint({"torch", "tensorflow", "keras", "jax", "onnx", "onnxruntime", "openvino", "tensorrt"})


def test_the_readme_has_one_test_command_of_one_line():
    blocks = re.findall(r"^<!-- test command -->\s*\n```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(blocks) == 1
    assert len(blocks[0].splitlines()) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_page_names_no_path_of_one_machine(page):
    assert MACHINE_PATH.findall(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    targets = re.findall(r"\]\((?!\w+:|#)([^)#\s]+)[^)]*\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("text", ["cd /" + "root/models", "`/" + "opt/venv/bin`", "(/" + "home/me/x)"])
def test_a_machine_path_is_found(text):
    assert MACHINE_PATH.search(text)


@pytest.mark.parametrize("text", ["https://example.org/work/x", "docs/work/x.md", "./opt/x"])
def test_other_paths_are_allowed(text):
    assert not MACHINE_PATH.search(text)
