"""Writing a candidate for a server, by an installed deployer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from navigator_core import availability, plugins
from navigator_core import options as wishes
from navigator_core.candidates import Candidate
from navigator_core.declarations import Context
from navigator_core.errors import RequestError, unknown
from navigator_core.signature import Signature


def deploy(candidate: Candidate, signature: Signature, deployer: str, path: Path, name: str, options: Any) -> Path:
    """Write the candidate below ``path`` under ``name`` and return its folder.

    Raises RequestError where the deployer is not installed, cannot take the format, or something is there already.
    """
    installed = plugins.installed().deployers
    if deployer not in installed:
        raise unknown("deployer", deployer, installed)
    declared = installed[deployer]
    lacking = availability.missing(declared.requirements)
    if lacking is not None:
        raise RequestError(f"deployer {deployer!r}: {lacking}")
    recipe = candidate.recipe
    if recipe is None or candidate.path is None or recipe.format not in declared.formats:
        what = recipe.format if recipe else candidate.status
        raise RequestError(
            f"{candidate.name} ({what}) cannot be deployed by {deployer!r}, which takes {declared.formats}"
        )
    target = path / name
    if target.exists():
        raise RequestError(f"{target} is there already; choose another name, or remove it yourself")
    choice = next(iter(wishes.choices({"@": dict(options or {})}, ("@",), declared.options, None)))
    context = Context(signature=signature, device=candidate.device, precision=recipe.precision, names=recipe.names)
    declared.implementation.resolve()(candidate.path, target, choice.value, context)
    return target
