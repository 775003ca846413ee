"""Which wrong conversions are caught, and which right ones refused.

Each way of being wrong (`mutants.py`) goes through the engine's own evaluation, in five networks of numpy and four of
torch. How far it is off on the samples is measured apart from that: above 20 times the source's noise it must be
caught. The other side are honest conversions: of the same networks, and of thirteen architectures of torch by every
path.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import common
import mutants
from common import Table
from mutants import Found


def tried(family: str) -> list[Found]:
    """Every way of one family, those of torch named "torch encoder"."""
    module: Any = mutants
    if family.startswith("torch "):
        import mutants_torch as module
    with tempfile.TemporaryDirectory(prefix="navigator-mutations-") as folder:
        trial = module.trial(family.removeprefix("torch "), Path(folder))
        return [trial.of(way, honest) for way, honest in trial.ways()]


def ask(family: str) -> list[list[Any]]:
    """As `tried`, in plain values for another process: way, honest, effect, reason."""
    return [[one.way, one.honest, str(one.effect), one.reason] for one in tried(family)]


def families(*, torch: bool) -> list[str]:
    """All of them; those of torch where it is installed."""
    found = list(mutants.FAMILIES)
    if torch:
        import mutants_torch

        found += [f"torch {name}" for name in mutants_torch.MISTAKEN]
    return found


def confusion(found: Sequence[Found]) -> Table:
    """What was done to each sort of conversion, by family."""
    sorts = (
        (f"wrong by more than {mutants.NOTICEABLE:.0f} times the noise", _noticeable),
        ("wrong by less", lambda one: not one.honest and not _noticeable(one)),
        ("honest", lambda one: one.honest),
    )
    lines = []
    for family in (*dict.fromkeys(one.family for one in found), "all"):
        cells = [family]
        for _, belongs in sorts:
            these = [one for one in found if belongs(one) and family in ("all", one.family)]
            cells += [str(sum(one.caught for one in these)), str(sum(not one.caught for one in these))]
        lines.append([f"**{cell}**" for cell in cells] if family == "all" else cells)
    columns = [f"{name}: {said}" for name, _ in sorts for said in ("refused", "taken")]
    ways = len({one.way for one in found if not one.honest})
    about = (
        f"{ways} ways for a conversion to be wrong and {len({one.way for one in found if one.honest})} honest ones, "
        "each where a family can have it. The noise is the source's error against itself in fp64, at least one machine "
        "epsilon of the output's scale; an effect is the larger of relative L2 and maximum error over it, on the "
        "samples as given and on their rows alone. Nothing may stand in the second and the fifth column of numbers."
    )
    return Table("Wrong conversions and honest ones", about, ("family", *columns), lines)


def _noticeable(one: Found) -> bool:
    return not one.honest and one.effect > mutants.NOTICEABLE


def effects(found: Sequence[Found]) -> Table:
    """Each way with its effect in each family."""
    names = list(dict.fromkeys(one.family for one in found))
    cells = {(one.way, one.family): _cell(one) for one in found}
    lines = [[way, *(cells.get((way, name), "") for name in names)] for way in dict.fromkeys(one.way for one in found)]
    about = (
        "The effect in units of the source's noise; ∞ is a wrong shape, type, integer, NaN or infinity. In brackets: "
        "not refused."
    )
    return Table("Each way by itself", about, ("way", *names), lines)


def _cell(one: Found) -> str:
    effect = "∞" if math.isinf(one.effect) else f"{one.effect:.2g}"
    return effect if one.caught else f"({effect})"


def paths(name: str, rows: Iterable[Sequence[str]]) -> list[list[str]]:
    """A line for an architecture, and one for each candidate of the source's precision that was refused."""
    rows = list(rows)
    own = Counter(status for _, precision, status, _, _ in rows if precision == "fp32")
    reduced = Counter(status for _, precision, status, _, _ in rows if precision != "fp32")
    failed = own["failed"] + own["skipped"]
    line = [name, str(own["ok"]), str(own["incorrect"]), str(failed), str(reduced["ok"]), str(reduced["incorrect"])]
    wrong = [row for row in rows if row[2] == "incorrect"]
    return [line, *(["", "", "", "", "", f"{row[0]}: {row[4]}"] for row in wrong)]


def main() -> None:
    asked = common.arguments(__doc__, more=_only)
    tables: list[Table] = []
    found: list[Found] = []
    if asked.only != "architectures":
        for name in ["encoder"] if asked.quick else families(torch=True):
            common.note(name)
            for way, honest, effect, reason in common.call_fresh("mutations:ask", family=name):
                found.append(Found(family=name, way=way, honest=honest, effect=float(effect), reason=reason))
        tables += [confusion(found), effects(found)]
    if asked.only == "architectures" or not (asked.quick or asked.only):
        tables.append(architectures(quick=asked.quick))
    common.finish(tables, asked, None)
    bad = [f"{one.family}: {one.way}: {one.effect:.3g}: {one.reason}" for one in found if one.mistaken]
    if bad:
        raise SystemExit("\n".join(["mistaken:", *bad]))


def _only(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--only", choices=("networks", "architectures"), help="one of the two halves")


def architectures(*, quick: bool) -> Table:
    """Thirteen honest architectures by every path that is here."""
    import mutants_torch

    lines: list[list[str]] = []
    for name in list(mutants_torch.NETS)[: 1 if quick else None]:
        common.note(name)
        with tempfile.TemporaryDirectory(prefix="navigator-mutations-") as folder:
            try:
                rows = common.call_fresh("mutants_torch:optimize", name=name, workspace=folder)
            except subprocess.CalledProcessError as error:
                rows = [["navigator.optimize", "fp32", "failed", "", f"exit code {error.returncode}"]]
        lines += paths(name, rows)
    about = (
        "Small networks with random weights by every path and runner that is here. `incorrect` in fp32 is a conversion "
        "refused, and is looked into; a reduced precision is held to what its number format explains."
    )
    columns = ("architecture", "fp32: ok", "incorrect", "failed or skipped", "reduced: ok", "incorrect ")
    return Table("Honest architectures by every path", about, columns, lines)


if __name__ == "__main__":
    main()
