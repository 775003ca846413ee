"""How a package says what loads a candidate: by the names of runner and format, which this machine's plugins explain.

A package may come from a stranger, so it names no code, and what it says of a format (that it executes none) does not
count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from navigator_core.declarations import Ref
from navigator_core.elsewhere import environment_of
from navigator_core.plugins import Plugins

RUNNER = ("name", "options", "passed")
RECIPE = ("format", "precision", "names", "live")
UNKNOWN = Ref("navigator_core.recipes:unknown_runner")


def without_code(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report's data with of each recipe only what is no code. Raises KeyError or TypeError for another form."""

    def bare(recipe: Mapping[str, Any]) -> dict[str, Any]:
        runner = {key: recipe["runner"][key] for key in RUNNER}
        return {"runner": runner, **{key: recipe[key] for key in RECIPE}}

    return _mapped(report, bare)


def with_code(report: Mapping[str, Any], plugins: Plugins) -> dict[str, Any]:
    """The inverse, with the code of the plugins that are installed here, whatever the report says of code.

    A format that none of them declares counts as one that executes code. Raises what data of another form makes
    Python raise.
    """

    def whole(recipe: Mapping[str, Any]) -> dict[str, Any]:
        runner = plugins.runner_for(recipe["runner"]["name"])
        declared = plugins.formats.get(recipe["format"])
        options = runner.options if runner is not None else None
        code = {
            "implementation": {"target": (runner.implementation if runner is not None else UNKNOWN).target},
            "options_type": {"target": f"{options.__module__}:{options.__qualname__}"} if options is not None else None,
            "tensors": runner.tensors if runner is not None else None,
            "environment": environment_of(runner),
        }
        judged = {
            "portable": getattr(declared, "portable", True),
            "executes_code": getattr(declared, "executes_code", declared is None),
        }
        return {**recipe, "runner": {**recipe["runner"], **code}, **judged}

    return _mapped(report, whole)


def unknown_runner(model: Any, options: Any, context: Any) -> Any:
    """Stands for a runner that no installed plugin declares."""
    raise LookupError("no installed plugin declares this runner")


def _mapped(report: Mapping[str, Any], change: Callable[[Mapping[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    candidates = [
        {**one, "recipe": change(one["recipe"]) if one["recipe"] is not None else None} for one in report["candidates"]
    ]
    return {**report, "candidates": candidates}
