"""`navigator env`: add, list, remove."""

from __future__ import annotations

import json
from typing import Any

import click

as_json = click.option("--json", "json_wanted", is_flag=True, help="Print JSON, and nothing else, on stdout.")


@click.group("env")
def commands() -> None:
    """Let plugins of other virtual environments take part.

    Their steps run there; what is from one bears its name: onnxruntime-cpu@old.
    """


@commands.command()
@click.argument("name")
@click.option("--python", required=True, metavar="PATH", help="Its interpreter, or its folder.")
@as_json
def add(name: str, python: str, json_wanted: bool) -> None:
    """Register one under a NAME.

    It is asked at once; one that cannot take part is refused with the reason.
    """
    from navigator_core import environments

    made = environments.add(name, python)
    if json_wanted:
        return _print({"name": made.name, "python": made.python, "version": made.version})
    click.echo(f"{made.name}: Python {made.version} at {made.python}")


@commands.command("list")
@as_json
def show(json_wanted: bool) -> None:
    """Ask each whether it can take part."""
    from navigator_core import api
    from navigator_core.cli import listing

    found = listing.environments_to_dict(api.plugins())
    if json_wanted:
        return _print(found)
    for one in found:
        said = f"Python {one['version']}" if one["reason"] is None else f"set aside: {one['reason']}; {one['remedy']}"
        click.echo(f"{one['name']}  {one['python']}  {said}")
    if not found:
        click.echo("no environment is registered; navigator env add NAME --python PATH")


@commands.command()
@click.argument("name")
def remove(name: str) -> None:
    """Forget one; the environment itself stays as it is."""
    from navigator_core import environments

    environments.remove(name)


def _print(data: Any) -> None:
    click.echo(json.dumps(data, indent=2, allow_nan=False))
