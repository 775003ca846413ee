"""What the distributions of this repository declare, whatever else is installed."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from attrs import frozen

from navigator_core.plugins import Plugins, discover

ROOT = Path(__file__).resolve().parents[2]


@frozen
class Distribution:
    """One of them: its folder, the ``project`` table of its pyproject.toml, and its own plugins."""

    folder: Path
    project: Mapping[str, Any]
    plugins: Plugins

    @property
    def name(self) -> str:
        """As pip knows it."""
        return str(self.project["name"])


def distributions() -> list[Distribution]:
    """The core first, then in order of folder."""
    paths = sorted((*ROOT.glob("navigator_*/pyproject.toml"), *ROOT.glob("plugins/*/pyproject.toml")))
    found = []
    for path in paths:
        project = tomllib.loads(path.read_text())["project"]
        found.append(Distribution(path.parent, project, _plugins(project)))
    return found


def together() -> Plugins:
    """All of their plugins at once."""
    return _plugins(*(one.project for one in distributions()))


def _plugins(*projects: Mapping[str, Any]) -> Plugins:
    modules = {name: module for project in projects for name, module in project["entry-points"]["navigator"].items()}
    extra = [(name, import_module(module)) for name, module in modules.items()]
    found = discover(extra=extra, entry_points=False)
    assert not found.broken, found.broken
    return found
