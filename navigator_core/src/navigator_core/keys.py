"""What names a step in the workspace: all that its result depends on, and nothing else."""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import navigator_core
from navigator_core import availability, serde
from navigator_core.declarations import Converter, Exporter, Requirement, Runner
from navigator_core.execution import Job
from navigator_core.plugins import PluginInfo


@cache
def base_versions() -> dict[str, str]:
    """The core's version and source, Python's and numpy's versions: part of every key."""
    return {
        "navigator-core": navigator_core.__version__,
        "source": source_digest("navigator_core"),
        "python": platform.python_version(),
        "numpy": availability.installed_version("numpy") or "",
    }


def versions(declared: Exporter | Converter | Runner, owner: PluginInfo) -> dict[str, str]:
    """All that takes part in what a plugin declares: its version and source, what it requires, `base_versions`."""
    requirements = [r for r in declared.requirements if isinstance(r, Requirement)]
    for variant in declared.variants:
        requirements += [r for r in variant.requirements if isinstance(r, Requirement)]
    names = {availability.parse(text).name for r in requirements for text in r.any_of}
    found = {name: version for name in names if (version := availability.installed_version(name))}
    own = {owner.distribution or owner.name: owner.version or "", "source": source_digest(owner.module)}
    return {**base_versions(), **own, **found}


def key_of(job: Job[Any], workspace: Path, versions: Mapping[str, str]) -> str | None:
    """The key of a step: what it does with what, and the versions of all that takes part.

    Paths of stored objects are part of it as they lie in the workspace, wherever that is. None where the step uses
    something of this run alone, which no later run could find.
    """
    argument = serde.to_data(job.argument)
    root = json.dumps(f"{workspace}/")[1:-1]
    text = json.dumps(argument)
    if f"{root}runs/" in text:
        return None
    plain = json.loads(text.replace(root, ""))
    return serde.digest(job.function.target, plain, dict(versions))


def source_digest(module: str) -> str:
    """What a plugin's own Python files hold, "" where there are none: while it is written, its version stays.

    ``module`` is the one that its entry point names; the files are those of the whole package, which is imported.
    """
    package = sys.modules.get(module.partition(".")[0])
    folders = [Path(folder) for folder in getattr(package, "__path__", ())]
    single = getattr(package, "__file__", None)
    found = [(file.relative_to(folder), file) for folder in folders for file in folder.rglob("*.py")]
    if not folders and single:
        found = [(Path(Path(single).name), Path(single))]
    digest = hashlib.sha256()
    for name, file in sorted(found):
        digest.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest() if found else ""
