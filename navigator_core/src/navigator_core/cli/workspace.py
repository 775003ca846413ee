"""`navigator workspace`: list, gc, verify."""

from __future__ import annotations

import json
from typing import Any

import click

folder = click.option("--workspace", metavar="FOLDER", help="Default: ./navigator_workspace.")
as_json = click.option("--json", "json_wanted", is_flag=True, help="Print JSON, and nothing else, on stdout.")


@click.group("workspace")
def commands() -> None:
    """Look after the folder in which runs keep their work."""


@commands.command("list")
@folder
@as_json
def show(workspace: str | None, json_wanted: bool) -> None:
    """Say what is in it: runs, finished steps, their sizes."""
    from navigator_core import housekeeping, rendering, serde
    from navigator_core.workspace import Workspace

    found = housekeeping.contents(Workspace.existing(workspace))
    if json_wanted:
        return _print(serde.to_data(found))
    for run in found.runs:
        steps = ", ".join(f"{count} {status}" for status, count in run.steps.items()) or "no steps"
        click.echo(f"{run.name}  {rendering.size(run.size):>9}  {steps}" + ("  (at work)" if run.active else ""))
    click.echo(
        f"{found.path}: {found.objects} objects, {rendering.size(found.size)}; {found.unused} of them "
        f"({rendering.size(found.unused_size)}) no run needs, {found.damaged} were damaged"
    )


@commands.command()
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Remove all but the N newest runs first.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
@folder
@as_json
def gc(workspace: str | None, keep: int | None, dry_run: bool, json_wanted: bool) -> None:
    """Remove what no run needs.

    Runs that are at work, and what they use, always stay.
    """
    from navigator_core import housekeeping, rendering, serde
    from navigator_core.workspace import Workspace

    cleared = housekeeping.clear(Workspace.existing(workspace), keep, only_say=dry_run)
    if json_wanted:
        return _print(serde.to_data(cleared))
    word = "would remove" if dry_run else "removed"
    click.echo(f"{word} {len(cleared.runs)} runs and {len(cleared.objects)} objects, {rendering.size(cleared.size)}")


@commands.command()
@folder
@as_json
def verify(workspace: str | None, json_wanted: bool) -> None:
    """Read every object and set damaged ones aside.

    They are built again when a run needs them. Exit code 1 where there were any.
    """
    from navigator_core import housekeeping
    from navigator_core.workspace import Workspace

    opened = Workspace.existing(workspace)
    count = len(opened.object_keys())
    damaged = housekeeping.verify(opened)
    if json_wanted:
        _print({"objects": count, "damaged": list(damaged)})
    else:
        lines = [f"damaged, and set aside: {key}" for key in damaged]
        click.echo("\n".join([*lines, f"{count - len(damaged)} of {count} objects are as they were stored"]))
    click.get_current_context().exit(1 if damaged else 0)


def _print(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, allow_nan=False))
