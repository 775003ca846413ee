"""What the benchmarks share: the command line, fresh processes, the machine, tables and the file of results."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import psutil
from attrs import frozen

from navigator_core import processor
from navigator_core.results import Estimate

HERE = Path(__file__).parent
ROOT = HERE.parent
RESULTS = HERE / "results"
VERSIONS = (
    *("navigator-core", "navigator-torch", "navigator-onnx", "navigator-jax"),
    *("torch", "onnxruntime", "numpy", "transformers", "jax", "flax", "equinox", "jax2onnx"),
)
BUSY = 0.1
"""More of the cores than this at work before a benchmark begins is somebody else: the numbers are then marked."""


@frozen
class Table:
    """A heading, what was measured and how in a sentence or two, and the numbers."""

    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as a section of a page."""
        lines = [self.columns, ["---"] * len(self.columns), *self.rows]
        body = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
        return f"## {self.title}\n\n{self.about}\n\n{body}\n"


def arguments(
    about: str | None,
    *,
    rounds: int | None = None,
    more: Callable[[argparse.ArgumentParser], None] = lambda parser: None,
) -> argparse.Namespace:
    """The command line that every benchmark has: ``--quick`` and ``--save``; with ``rounds`` their number as well.

    ``more`` adds what only this one has.
    """
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a smoke test: the numbers mean nothing")
    parser.add_argument("--save", action="store_true", help="also append the table to benchmarks/results")
    if rounds is not None:
        parser.add_argument("--rounds", type=int, default=rounds, help=f"fresh starts of every process ({rounds})")
    more(parser)
    return parser.parse_args()


def finish(tables: Iterable[Table], asked: argparse.Namespace, others: float | None) -> None:
    """Print the tables, and append them to the file of this day and machine if that was asked for.

    ``others`` is what `others` said before the benchmark began; None where it does not matter.
    """
    quick = " **Quick: a smoke test, no result.**" if asked.quick else ""
    loaded = "" if others is None else f"; others took {others:.0%} of the cores before it"
    stamp = f"_{datetime.datetime.now():%Y-%m-%d %H:%M}, `{Path(sys.argv[0]).name}`{loaded}._"
    busy = " **The machine was busy: do not quote.**" if others is not None and others > BUSY else ""
    text = "\n".join(f"{table.markdown()}\n{stamp}{quick}{busy}\n" for table in tables)
    print(text)
    if asked.save:
        print(f"appended to {append(text)}", file=sys.stderr)


def append(text: str) -> Path:
    """Append to the results of today on this machine; a new file begins with what the machine is."""
    machine = f"{cpu()}, {cores()} cores"
    today = datetime.date.today().isoformat()
    path = RESULTS / f"{today}-{slug(machine)}.md"
    RESULTS.mkdir(exist_ok=True)
    head = "" if path.exists() else f"# {machine}, {today}\n\n{environment()}\n"
    with path.open("a") as file:
        file.write(f"{head}\n{text}")
    return path


def environment() -> str:
    """The machine and the versions of what takes part, as a list in Markdown."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = [f"{name} {version}" for name in VERSIONS if (version := installed(name))]
    facts = {
        "CPU": f"{cpu()}, {cores()} cores, {memory:.0f} GiB",
        "System": f"{platform.platform()}, Python {platform.python_version()}",
        "Versions": ", ".join(versions),
    }
    return "\n".join(f"- {name}: {value}" for name, value in facts.items())


def installed(distribution: str) -> str | None:
    """A distribution's version; None where it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def cpu() -> str:
    """What the processor calls itself."""
    return re.sub(r"\((R|TM)\)", "", processor.model()).strip()


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))


def slug(text: str) -> str:
    """The text as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def others(seconds: float = 1.0) -> float:
    """The share of all cores that is at work while this process waits; the load average would still hold our past."""
    return float(psutil.cpu_percent(seconds)) / 100


def shown(estimate: Estimate, scale: float = 1.0, digits: int = 2) -> str:
    """A value with its interval, in units of ``1 / scale``."""
    value, low, high = (scale * one for one in (estimate.value, estimate.low, estimate.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def note(text: str) -> None:
    """Say on stderr what is going on."""
    print(text, file=sys.stderr, flush=True)


def call_fresh(function: str, **given: Any) -> Any:
    """What ``"module:function"`` of this folder returns in a fresh process, the arguments and the value being JSON."""
    done = subprocess.run(
        [sys.executable, "-c", "import common; common.answer()", function, json.dumps(given)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])},
    )
    return json.loads(done.stdout.splitlines()[-1])


def answer() -> None:
    """The other end of `call_fresh`."""
    value = resolve(sys.argv[1])(**json.loads(sys.argv[2]))
    print(f"\n{json.dumps(value)}", flush=True)


def resolve(function: str) -> Any:
    """The function that ``"module:function"`` names."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)
