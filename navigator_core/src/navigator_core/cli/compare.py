"""`navigator compare`: an upgrade gate. Exit code 1 where B is worse than A."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from navigator_core.cli import arguments

WORSE = 1


@click.command("compare")
@click.argument("a", metavar="A.nav")
@click.argument("b", metavar="B.nav")
@click.option("--samples", metavar="PATH", help="As of optimize. Default: those that both packages hold.")
@click.option(
    "--batch-size",
    "batch_sizes",
    multiple=True,
    type=int,
    metavar="N",
    help="Compare at this one. Default: those that both measured. May be repeated.",
)
@click.option("--runner", metavar="NAME", help="Compare the candidate of this runner. Default: the best of each.")
@click.option("--latency-ratio", type=float, metavar="1.03", help="How many times A's time B may take. Default: 1.03.")
@click.option(
    "--memory-ratio", type=float, metavar="1.1", help="How many times A's memory. Default: that does not decide."
)
@click.option("--size-ratio", type=float, metavar="1.1", help="How many times A's size. Default: that does not decide.")
@click.option("--rtol", type=float, help="Allowed drift relative to A's outputs. Default: the bars of both together.")
@click.option("--atol", type=float, help="Allowed absolute drift.")
@click.option(
    "--trust", is_flag=True, help="Load formats that can execute code from packages that were not written here."
)
@click.option("--html", metavar="PAGE.html", help="Write the comparison as a page.")
@click.option("--json", "json_wanted", is_flag=True, help="Print JSON, and nothing else, on stdout.")
def command(
    a: str,
    b: str,
    samples: str | None,
    batch_sizes: Sequence[int],
    runner: str | None,
    latency_ratio: float | None,
    memory_ratio: float | None,
    size_ratio: float | None,
    rtol: float | None,
    atol: float | None,
    trust: bool,
    html: str | None,
    json_wanted: bool,
) -> None:
    """Say whether B may take A's place: as fast, as small, the same answers.

    Exit code 0: it may; 1: it is worse beyond what is allowed; 2: they cannot be compared.
    """
    from navigator_core import api
    from navigator_core.results import Tolerance

    arguments.check_targets(html)
    given = None if samples is None else arguments.read_samples(Path(samples).expanduser())
    said = rtol is not None or atol is not None
    made = api.compare(
        a,
        b,
        samples=given,
        batch_sizes=batch_sizes or None,
        runner=runner,
        tolerance=Tolerance(rtol=rtol or 0.0, atol=atol or 0.0) if said else None,
        latency_ratio=latency_ratio,
        memory_ratio=memory_ratio,
        size_ratio=size_ratio,
        trust=trust,
    )
    if html is not None:
        made.html(html)
    click.echo(json.dumps(made.to_dict(), indent=2, allow_nan=False) if json_wanted else str(made))
    click.get_current_context().exit(WORSE if made.worse else 0)
