"""Can this machine do the work? Checks from Python to the last runner, each with what helps."""

from __future__ import annotations

import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from attrs import asdict, frozen

from navigator_core import availability, execution, graph, machine, obstacles, plugins, survey
from navigator_core.asking import NEWEST, OLDEST
from navigator_core.availability import Unavailable
from navigator_core.declarations import Converter, Exporter, Probe, Requirement, Runner
from navigator_core.elsewhere import spelt
from navigator_core.errors import WorkspaceError
from navigator_core.graph import Graph
from navigator_core.plugins import Plugins
from navigator_core.session import Session
from navigator_core.survey import Questions, Survey
from navigator_core.workspace import DEFAULT, Workspace

Status = Literal["ok", "unavailable", "broken", "blocks"]


@frozen(kw_only=True)
class Check:
    """One finding: "unavailable" cannot be used here, "broken" is to be mended, "blocks" lets nothing run."""

    name: str
    status: Status
    detail: str
    remedy: str | None = None


def examine(workspace: Path | None = None) -> list[Check]:
    """Look at everything; probes and devices are asked in a worker, as a run does. Leaves nothing behind."""
    found = plugins.installed()
    checks = [_python(), _platform(), _workspace(workspace), _worker()]
    checks += [
        Check(
            name=f"plugin {spelt(one.name, one.environment)}",
            status="broken",
            detail=one.reason,
            remedy="update or remove it",
        )
        for one in found.broken
    ]
    checks += [
        Check(name=f"environment {one.name}", status="ok", detail=f"Python {one.version} at {one.python}")
        for one in found.environments.values()
    ]
    checks += [
        Check(name=f"environment {one.name}", status="broken", detail=one.reason, remedy=one.remedy)
        for one in found.lost
    ]
    if not blocked(checks):
        checks += _machine(found)
    return checks


def blocked(checks: Iterable[Check]) -> bool:
    """Whether something keeps everything from running."""
    return any(check.status == "blocks" for check in checks)


def to_dict(checks: Iterable[Check]) -> dict[str, Any]:
    """The checks in plain values, as ``--json`` prints them."""
    listed = list(checks)
    return {"ok": not blocked(listed), "checks": [asdict(check) for check in listed]}


def to_text(checks: Sequence[Check]) -> str:
    """One line for each check, and one below it for what helps."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<11}  {check.name:<{width}}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':<13}{'':<{width}}  -> {check.remedy}")
    return "\n".join(lines)


def _python() -> Check:
    version = platform.python_version()
    fits = OLDEST <= sys.version_info[:2] <= NEWEST
    remedy = f"use Python {'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    where = f"{version} at {sys.executable}"
    return Check(name="python", status="ok" if fits else "blocks", detail=where, remedy=None if fits else remedy)


def _platform() -> Check:
    fits = sys.platform.startswith("linux")
    remedy = None if fits else "use Linux; a container or WSL will do"
    return Check(name="platform", status="ok" if fits else "blocks", detail=platform.platform(), remedy=remedy)


def _workspace(path: Path | None) -> Check:
    """One that is there is opened as a run opens it; where there is none, or an empty folder, it could be made."""
    folder = Path(DEFAULT if path is None else path).expanduser().absolute()
    try:
        if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
            Workspace.open(folder)
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(b"writable")
    except (OSError, WorkspaceError) as error:
        remedy = "name a folder that can be written: --workspace FOLDER"
        return Check(name="workspace", status="blocks", detail=str(error), remedy=remedy)
    free = shutil.disk_usage(there).free / 2**30
    return Check(name="workspace", status="ok", detail=f"{folder} can be written, {free:.1f} GiB free")


def _worker() -> Check:
    begun = time.monotonic()
    try:
        execution.start_worker(execution.Kind()).end()
    except (OSError, EOFError) as error:  # a timeout is an OSError
        command = f"{sys.executable} -P -m navigator_core.worker"
        detail = f"a worker process does not start ({type(error).__name__}: {error})"
        return Check(name="worker", status="blocks", detail=detail, remedy=f"see what {command} prints")
    return Check(name="worker", status="ok", detail=f"starts in {time.monotonic() - begun:.1f} s")


def _machine(found: Plugins) -> Iterator[Check]:
    built = graph.build(found, availability.missing)
    answers = _ask(found, built)
    for device in answers.devices:
        memory = "" if device.memory is None else f", {device.memory / 2**30:.0f} GiB"
        yield Check(name=f"device {device.name}", status="ok", detail=f"{device.description}{memory}")
    for problem in answers.problems:
        yield Check(name="devices", status="broken", detail=problem)
    for name, runner in found.runners.items():
        yield _usable(f"runner {name}", _obstacle(runner, runner.requirements, answers))
    for one in built.conversions:
        requirements = (*one.declaration.requirements, *(one.variant.requirements if one.variant else ()))
        yield _usable(f"conversion {one.name}", _obstacle(one.declaration, requirements, answers) or one.unavailable)


def _ask(found: Plugins, built: Graph) -> Survey:
    """The devices, and every probe whose requirements hold, whichever devices it is for."""
    declared = [*(one.declaration for one in built.conversions), *found.runners.values()]
    kinds = {kind for one in declared for kind in one.devices} | {survey.CPU}
    questions = Questions(devices=found.devices, probes=obstacles.questions_of(found, built, kinds))
    with tempfile.TemporaryDirectory(prefix="navigator-doctor-") as folder:
        workspace = Workspace.open(Path(folder) / "workspace")
        with Session(workspace, workspace.new_run(), execution.Workers(), []) as active:
            return machine.ask_machine(questions, found, active)


def _obstacle(
    declared: Exporter | Converter | Runner, requirements: Iterable[Requirement | Probe], answers: Survey
) -> Unavailable | None:
    """The probe's answer first, it knows most; then the device, without which installing anything is no help."""
    asked = list(requirements)
    here = {survey.kind(device.name) for device in answers.devices}
    wanted = declared.devices
    if found := obstacles.probed(asked, answers):
        return found
    if wanted and not here & set(wanted):
        kinds = " or ".join(wanted)
        return Unavailable(f"runs on {kinds}, and no such device was found here", f"use a machine that has {kinds}")
    return availability.missing(asked)


def _usable(name: str, obstacle: Unavailable | None) -> Check:
    if obstacle is None:
        return Check(name=name, status="ok", detail="can be used")
    return Check(name=name, status="unavailable", detail=obstacle.reason, remedy=obstacle.remedy)
