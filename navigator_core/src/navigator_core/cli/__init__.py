"""The command line: thin layers over the functions of `navigator`. What a command needs is imported when it runs."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from navigator_core import __version__
from navigator_core.cli import arguments, compare, env, workspace
from navigator_core.errors import IN_A_WORKER, Interrupted, NavigatorError, NothingCorrectError, unknown

if TYPE_CHECKING:
    from navigator_core.report import Report

NOTHING_CORRECT = MODEL_RAISED = 1
WRONG_REQUEST = 2
INTERRUPTED = {"SIGINT": 130, "SIGTERM": 143}

RUNS = ("optimize", "profile")
"""The commands that perform steps."""

Command = Callable[..., Any]


class Commands(click.Group):
    """Says what went wrong without a traceback of ours; the user's own model shows its own."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except NothingCorrectError as error:
            _fail(ctx, str(error), NOTHING_CORRECT)
        except NavigatorError as error:
            _fail(ctx, str(error), WRONG_REQUEST)
        except KeyboardInterrupt as error:
            kept = "; the steps that were finished are kept in the workspace" if ctx.invoked_subcommand in RUNS else ""
            _fail(ctx, f"interrupted{kept}", INTERRUPTED[getattr(error, "signal", "SIGINT")])
        except arguments.UserError as error:
            _fail(ctx, str(error), MODEL_RAISED, error.shown)
        except Exception as error:
            notes = [note for note in getattr(error, "__notes__", ()) if IN_A_WORKER in note]
            if not notes:
                raise
            what, _, shown = notes[0].partition(f"\n\n{IN_A_WORKER}\n")
            _fail(ctx, what, MODEL_RAISED, shown)


def _fail(ctx: click.Context, message: str, code: int, shown: str = "") -> NoReturn:
    """One message on stderr, below what is to be shown, and the exit code."""
    click.echo(f"{shown}\nerror: {message}" if shown else f"error: {message}", err=True)
    ctx.exit(code)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """The entry point: 0 done; 1 nothing correct was found, or the user's own code raised; 2 the request was wrong."""
    commands.main(args=args, prog_name="navigator")
    raise AssertionError("click leaves by SystemExit")


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, message="navigator %(version)s")
def commands() -> None:
    """Find the fastest way to run a trained model that is still right.

    Exit code 0: done; 1: ran, but nothing correct was found, or the model itself raised; 2: the request was wrong.
    """


def _together(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _several(flag: str, metavar: str, help: str, type: type = str) -> Callable[[Command], Command]:
    """An option that may be repeated; "--batch-size" is the argument ``batch_sizes``."""
    name = f"{flag.lstrip('-').replace('-', '_')}s"
    return click.option(flag, name, multiple=True, type=type, metavar=metavar, help=f"{help} May be repeated.")


as_json = click.option("--json", "json_wanted", is_flag=True, help="Print JSON, and nothing else, on stdout.")

what = _together(
    click.argument("model"),
    click.option(
        "--samples", metavar="PATH", help="An .npz (one sample by input names), a folder of them, or an .npy."
    ),
    _several("--shape", "NAME:1x3x224x224", "Make an input up; the same input again: another sample."),
    _several("--range", "NAME:MIN:MAX", "The smallest and the largest value to make up."),
    click.option("--format", metavar="NAME", help="What the model is, where it cannot be told."),
)

how = _together(
    click.option("--device", default="auto", show_default=True, help="auto, cpu, or another that doctor lists."),
    _several("--batch-size", "N", "Measure at this one. Default: doubling until throughput saturates.", int),
    click.option("--minimize", metavar="QUANTITY", help="latency (the default), p90, p95, p99, memory or size."),
    click.option("--maximize", metavar="QUANTITY", help="throughput."),
    _several("--limit", "'p99<=20ms'", "What the winner must hold."),
    _several(
        "--option",
        "KEY.FIELD=VALUE",
        "FORMAT.FIELD=VALUE, A->B.FIELD=VALUE or @RUNNER.FIELD=VALUE; VALUE 1,2 tries both.",
    ),
    click.option("--budget", metavar="10min", help="Time for the whole run; what did not fit is skipped."),
    click.option("--memory-limit", metavar="4GiB", help="What one step may hold; one that holds more has failed."),
    click.option(
        "--callers",
        type=click.IntRange(min=1),
        default=1,
        metavar="N",
        help="Time it with N threads that call it at once.",
    ),
    click.option("--workspace", metavar="FOLDER", help="Default: ./navigator_workspace."),
)

then = _together(
    click.option("--save", metavar="MODEL.nav", help="Write a package with the winners."),
    click.option("--html", metavar="REPORT.html", help="Write the report as a page."),
    as_json,
)


tried = _together(
    _several("--target", "FORMAT", "A format to reach. Default: all."),
    _several("--runner", "NAME", "A runner to consider. Default: all that fit the device."),
    _several("--precision", "NAME", "A precision that may win. Default: the source's own."),
    click.option("--rtol", type=float, help="Allowed error relative to the reference. Default: from rounding noise."),
    click.option("--atol", type=float, help="Allowed absolute error."),
    click.option("--top1", type=float, metavar="SHARE", help="Share of positions that must rank first what is first."),
    click.option("--mask", metavar="INPUT", help="The input whose zeros mark positions that do not count."),
    click.option("--search", is_flag=True, help="Try other settings of what runs the best ones, such as threads."),
)


@commands.command()
@what
@tried
@how
@then
def optimize(
    model: str,
    samples: str | None,
    shapes: Sequence[str],
    ranges: Sequence[str],
    save: str | None,
    html: str | None,
    json_wanted: bool,
    **asked: Any,
) -> None:
    """Try every way to run MODEL, say which is best.

    What is wrong cannot be best. MODEL is a file, a folder, or package.module:factory, a function that returns
    (model, samples).
    """
    from navigator_core import api

    arguments.check_targets(save, html)
    with _handed_over_if_interrupted(save, html, json_wanted), _nothing_on_stdout():
        source, given = arguments.model_and_samples(model, samples, shapes, ranges)
        report = api.optimize(source, given, **_keywords(**asked))
    _hand_over(report, save, html, json_wanted)
    _leave(report)


@commands.command()
@what
@tried
@how
@as_json
def plan(
    model: str,
    samples: str | None,
    shapes: Sequence[str],
    ranges: Sequence[str],
    json_wanted: bool,
    **asked: Any,
) -> None:
    """Say what optimize would do, and run nothing.

    Which steps there are, which of them the workspace holds already, and what is unavailable and why.
    """
    from navigator_core import api

    with _nothing_on_stdout():
        source, given = arguments.model_and_samples(model, samples, shapes, ranges)
        made = api.plan(source, given, **_keywords(**asked))
    click.echo(_dumps(made.to_dict()) if json_wanted else str(made))


@commands.command()
@what
@how
@then
def profile(
    model: str,
    samples: str | None,
    shapes: Sequence[str],
    ranges: Sequence[str],
    save: str | None,
    html: str | None,
    json_wanted: bool,
    **asked: Any,
) -> None:
    """Measure MODEL as it is, converting nothing."""
    from navigator_core import api

    arguments.check_targets(save, html)
    with _handed_over_if_interrupted(save, html, json_wanted), _nothing_on_stdout():
        source, given = arguments.model_and_samples(model, samples, shapes, ranges)
        report = api.profile(source, given, **_keywords(**asked))
    _hand_over(report, save, html, json_wanted)
    _leave(report)


def _keywords(
    minimize: str | None,
    maximize: str | None,
    limits: Sequence[str],
    options: Sequence[str],
    budget: str | None,
    memory_limit: str | None,
    rtol: float | None = None,
    atol: float | None = None,
    top1: float | None = None,
    mask: str | None = None,
    **rest: Any,
) -> dict[str, Any]:
    """The keyword arguments of the function; what was not given is None."""
    from navigator_core.results import Objective, Tolerance

    if any(said is not None for said in (rtol, atol, top1, mask)):
        rest["tolerance"] = Tolerance(rtol=rtol or 0.0, atol=atol or 0.0, top1=top1, mask=mask)
    return {
        **{name: None if value == () else value for name, value in rest.items()},
        "objective": Objective(minimize=minimize, maximize=maximize, limits=tuple(limits)),
        "options": arguments.options(options),
        "budget": arguments.budget(budget),
        "memory_limit": arguments.size(memory_limit),
    }


@contextlib.contextmanager
def _nothing_on_stdout() -> Any:
    """What the user's own code prints goes to stderr: stdout is the report's."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


@contextlib.contextmanager
def _handed_over_if_interrupted(save: str | None, html: str | None, json_wanted: bool) -> Any:
    """A run that was interrupted hands over what it finished, too, before it leaves as it was told."""
    try:
        yield
    except Interrupted as stop:
        if stop.report is not None:
            _hand_over(stop.report, save, html, json_wanted)
        raise


def _hand_over(report: Report, save: str | None, html: str | None, json_wanted: bool) -> None:
    if html is not None:
        report.html(html)
    _print(report, json_wanted)
    if save is not None:
        report.save(save)


def _leave(report: Report) -> NoReturn:
    click.get_current_context().exit(0 if report.best is not None else NOTHING_CORRECT)


def _print(report: Report, json_wanted: bool) -> None:
    click.echo(_dumps(report.to_dict()) if json_wanted else str(report))


def _dumps(data: Mapping[str, Any]) -> str:
    return json.dumps(data, indent=2, allow_nan=False)


@commands.command()
@click.argument("package", metavar="MODEL.nav")
@as_json
def show(package: str, json_wanted: bool) -> None:
    """Print the report in a package."""
    from navigator_core import api

    _print(api.load(package).report, json_wanted)


@commands.command()
@click.argument("package", metavar="MODEL.nav")
@click.argument("deployer")
@click.argument("path")
@click.option("--name", required=True, help="What the server is to call the model.")
@click.option(
    "--trust", is_flag=True, help="Load formats that can execute code from a package that was not written here."
)
def deploy(package: str, deployer: str, path: str, name: str, trust: bool) -> None:
    """Write a package's best for a server.

    An installed DEPLOYER writes it into the folder PATH.
    """
    from navigator_core import api

    deployers = api.plugins().deployers
    if deployer not in deployers:
        raise unknown("deployer", deployer, deployers)
    click.echo(api.load(package, trust=trust).deploy(deployer, path, name=name))


@commands.command()
@click.option("--format", "form", type=click.Choice(["text", "json", "mermaid"]), default="text", show_default=True)
@as_json
def graph(form: str, json_wanted: bool) -> None:
    """Print the conversions that plugins offer.

    Those that are unavailable here say why, and what helps. The picture in Mermaid has the runners, too.
    """
    from navigator_core import api

    built = api.graph()
    if json_wanted or form == "json":
        click.echo(_dumps(built.to_dict()))
    else:
        click.echo(built.to_mermaid() if form == "mermaid" else str(built))


@commands.command()
@as_json
def plugins(json_wanted: bool) -> None:
    """List plugins, what they bring, and broken ones."""
    from navigator_core import api
    from navigator_core.cli import listing

    found = api.plugins()
    click.echo(_dumps(listing.to_dict(found)) if json_wanted else listing.to_text(found))


@commands.command()
@click.option("--workspace", metavar="FOLDER", help="Default: ./navigator_workspace.")
@as_json
def doctor(workspace: str | None, json_wanted: bool) -> None:
    """Check this machine.

    Devices, the workspace, workers, and what stands in the way of each runner and conversion. Exit code 1 where
    something blocks every run.
    """
    from navigator_core import doctor

    checks = doctor.examine(None if workspace is None else Path(workspace))
    click.echo(_dumps(doctor.to_dict(checks)) if json_wanted else doctor.to_text(checks))
    click.get_current_context().exit(1 if doctor.blocked(checks) else 0)


commands.add_command(compare.command)
commands.add_command(env.commands)
commands.add_command(workspace.commands)
