"""The report for people: a table in a terminal, or a page."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from rich.console import RenderableType

    from navigator_core.candidates import Candidate
    from navigator_core.report import Report
    from navigator_core.results import Estimate, Measurement, OutputError

WIDTH, WIDEST = 150, 400
MOST_ROWS = 3
MOST_NAMES = 3
"""Candidates that are named where many have one reason; `Report.candidates` has them all."""
STYLES = {"ok": "green", "incorrect": "red", "failed": "red", "skipped": "yellow", "unavailable": "dim"}


def text(report: Report, width: int | None = None) -> str:
    """The report as plain text; as wide as the terminal, and where there is none, as the candidates' names need."""
    width = width or _terminal()
    return as_text(_whole(report, wide=width is None), width)


def html(report: Report) -> str:
    """The report as a page that stands alone."""
    return as_html(_whole(report, wide=True))


def as_text(whole: Group, width: int | None = None) -> str:
    """Plain text; as wide as the terminal, and where there is none, as the first part needs."""
    stream = io.StringIO()
    width = width or _terminal() or _needed(whole)
    Console(file=stream, width=width, color_system=None, highlight=False).print(whole)
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_html(whole: Group) -> str:
    """A page that stands alone."""
    console = Console(file=io.StringIO(), record=True, width=_needed(whole), highlight=False)
    console.print(whole)
    return console.export_html(inline_styles=True)


def _terminal() -> int | None:
    """The columns of the terminal, or that COLUMNS tells; None where the text goes into a file or a pipe."""
    import shutil

    columns = shutil.get_terminal_size((0, 0)).columns
    return max(100, columns) if columns else None


def _needed(whole: Group) -> int:
    """The columns in which no cell of the first part wraps, so that names can be searched for and copied."""
    return max(WIDTH, min(WIDEST, Console(width=WIDEST).measure(whole.renderables[0]).maximum))


def _whole(report: Report, *, wide: bool) -> Group:
    parts: list[RenderableType] = [_table(report)]
    others = [c for c in report.candidates if c.status != "ok" or c.reason]
    if others:
        parts.append(_others(others, wide=wide))
    lines = (*_unstable(report), *_slow(report), *_callers(report), *_searched(report))
    parts += [Text(line) for line in lines]
    parts += [Text(f"note: {note}") for note in report.notes]
    if report.bar:
        parts.append(Text(report.bar))
    parts.append(_conclusion(report))
    return Group(*parts)


def _table(report: Report) -> Table:
    table = Table(title=None, box=None, pad_edge=False, header_style="bold")
    for name, justify in (
        ("candidate", "left"), ("precision", "left"), ("verdict", "left"), ("error / bar", "right"), ("batch", "right"),
        ("latency p50", "right"), ("throughput", "right"), ("speed-up", "right"), ("memory", "right"),
    ):  # fmt: skip
        # all of them may wrap: on a narrow terminal, no_wrap ones push the first column out of sight
        table.add_column(name, justify="left" if justify == "left" else "right", overflow="fold")
    for candidate in report.candidates:
        if candidate.status in ("ok", "incorrect"):
            _rows(table, report, candidate)
    return table


def _rows(table: Table, report: Report, candidate: Candidate) -> None:
    mark = "* " if candidate.name == report.best_name else "  "
    status = Text(candidate.status, STYLES[candidate.status])
    first = (Text(mark + candidate.name), Text(candidate.precision), status, error_and_bar(candidate))
    if not candidate.measurements:
        table.add_row(*first, "", "", "", "", "")
    for number, measurement in enumerate(_telling(candidate.measurements)):
        speed = report.speed_up(candidate, measurement.batch_size)
        table.add_row(
            *(first if number == 0 else ("", "", "", "")),
            str(measurement.batch_size),
            duration(measurement.p50) + ("?" if measurement.unstable else ""),
            rate(measurement.throughput),
            "" if speed is None else f"{speed:.2f}" + ("?" if report.unsure(candidate, measurement.batch_size) else ""),
            size(_memory(measurement)),
        )


def _telling(measurements: Sequence[Measurement]) -> Sequence[Measurement]:
    """All of a few; of a long sweep the smallest batch and the one of highest throughput."""
    if len(measurements) <= MOST_ROWS:
        return measurements
    fastest = max(measurements, key=lambda m: m.throughput.value)
    return measurements[:1] if fastest is measurements[0] else (measurements[0], fastest)


def _others(candidates: list[Candidate], *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("not chosen", "why", "what helps"):
        table.add_column(name, overflow="fold", no_wrap=wide and name == "not chosen")
    alike: dict[tuple[str, str], list[str]] = {}
    for candidate in candidates:
        status = "" if candidate.status == "ok" else f"{candidate.status}: "
        alike.setdefault((f"{status}{candidate.reason}", candidate.remedy or ""), []).append(candidate.name)
    for (why, remedy), names in alike.items():
        table.add_row(Text("\n".join(few(names))), Text(why), Text(remedy))
    return table


def few(names: Sequence[str]) -> list[str]:
    """The first of many names, and how many more there are.

    >>> few(["a", "b", "c", "d", "e"])
    ['a', 'b', 'c', 'and 2 more']
    """
    more = [f"and {len(names) - MOST_NAMES} more"] if len(names) > MOST_NAMES else []
    return [*names[:MOST_NAMES], *more]


def _conclusion(report: Report) -> Text:
    best = report.best
    if best is None:
        judged = any(candidate.status in ("ok", "incorrect") for candidate in report.candidates)
        why = "no candidate is right and within what was asked" if judged else "no candidate could be tried to its end"
        return Text(f"best: none; {why}", "bold red")
    line = f"best: {best.name}"
    if best.measurements:
        by_throughput = report.objective.maximize is not None
        chosen = report.objective.batch_size
        first = max(best.measurements, key=lambda m: m.throughput.value) if by_throughput else best.measurements[0]
        first = (best.at(chosen) or first) if chosen else first
        line += f", {rate(first.throughput)}" if by_throughput else f", {duration(first.p50)}"
        line += f" at batch size {first.batch_size}"
        line += _speed(report, best, first.batch_size)
    return Text(line + (f" ({report.why})" if report.why else ""), "bold")


def _speed(report: Report, best: Candidate, batch_size: int) -> str:
    """How many times the source's speed: by the playoff, where the source took part in it."""
    if best.name == report.baseline:
        return ""
    for duel in report.duels:
        if (duel.candidate, duel.rival) == (best.name, report.baseline) and duel.batch_sizes[0] == batch_size:
            if duel.verdict == "tie":
                return ", not told apart from the source side by side"
            return f", {duel.ratio.value:.2f} times the source's speed side by side"
    speed = report.speed_up(best, batch_size)
    if speed is None:
        return ""
    unsure = ", as far as unstable measurements tell" if report.unsure(best, batch_size) else ""
    return f", {speed:.2f} times the source's speed{unsure}"


def _unstable(report: Report) -> list[str]:
    """What the question marks mean: each reason once, with one of the measurements that it is from."""
    found: dict[str, str] = {}
    for candidate in report.candidates:
        for measurement in candidate.measurements:
            for reason in (measurement.unstable or "").split("; "):
                words = re.sub(r"\d[\d.e+-]*", "#", reason)
                if reason and words not in found:
                    found[words] = f"? {candidate.name} at batch {measurement.batch_size}: {reason}"
    return list(found.values())


def _slow(report: Report) -> list[str]:
    """Of the measurement with most of its calls far slower than the rest, how many and why; nothing below 1 %."""
    every = [(c, m, m.slow) for c in report.candidates for m in c.measurements if m.slow is not None]
    noticed = [
        (slow.calls / m.calls, c.name, m.batch_size, slow) for c, m, slow in every if slow.calls >= m.calls / 100
    ]
    if not noticed:
        return []
    share, name, batch_size, worst = max(noticed, key=lambda one: one[0])
    causes = ", ".join(f"{count} {cause}" for cause, count in worst.causes.items())
    total = sum(len(c.measurements) for c in report.candidates)
    return [
        f"slow calls: {share:.1%} of {name} at batch {batch_size} took {worst.times:.2g} times the median ({causes}); "
        f"1 % or more in {len(noticed)} of {total} measurements, all of them counted"
    ]


def _callers(report: Report) -> list[str]:
    """How many called at once, where they were several."""
    found = sorted({m.callers for c in report.candidates for m in c.measurements if m.callers > 1})
    return [f"callers: {n} at once; latency is that of each call, throughput that of all together" for n in found]


def _searched(report: Report) -> list[str]:
    """What a search tried of each candidate, and what it brought."""
    told = []
    quantity = report.objective.maximize or report.objective.minimize or "latency"
    for name in dict.fromkeys(trial.candidate for trial in report.trials):
        trials = [trial for trial in report.trials if trial.candidate == name]
        line = f"search: {name} at batch {trials[0].batch_size}: {_count(len(trials), 'setting')} tried"
        wrong = sum(trial.status != "ok" for trial in trials)
        line += f", {wrong} of them not right" if wrong else ""
        best = next((trial for trial in reversed(trials) if trial.better), None)
        if best is None or best.value is None:
            told.append(f"{line}; none is better than its own")
        else:
            own = trials[0].before.value
            told.append(f"{line}; {best.setting}: {quantity} {best.value.value / (own or math.nan):.2f} times its own")
    return told


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("s" if number != 1 else "")


def error_and_bar(candidate: Candidate) -> str:
    """The output nearest to, or farthest over, its bar: relative L2 error and bar, or whatever else decides."""
    if candidate.verdict is None or not candidate.verdict.outputs:
        return ""
    worst = max(candidate.verdict.outputs.values(), key=lambda o: (not o.ok, _times(o)))
    bar = worst.tolerance
    if worst.top1 is not None and bar.top1 is not None and (worst.top1 < bar.top1 or math.isinf(bar.rtol)):
        return f"{worst.relative_l2:.1e} / top-1 {worst.top1:.4g} of {bar.top1:.4g}"
    if math.isinf(bar.rtol):  # a reduced precision that the user's own gate decides about
        said = ", ".join(f"{name} {value:.4g}" for name, value in candidate.verdict.metrics.items())
        return f"{worst.relative_l2:.1e} / {said or 'verify='}"
    if worst.relative_l2 <= bar.rtol and worst.excess > 1:
        return f"{worst.max_absolute:.1e} at most, {worst.excess:.2g} times the bar"
    return f"{worst.relative_l2:.1e} / {bar.rtol:.1e}"


def _times(output: OutputError) -> float:
    """How many times its bar an output is off."""
    share = output.relative_l2 / output.tolerance.rtol if output.tolerance.rtol else output.relative_l2
    return max(share, output.excess)


def duration(estimate: Estimate) -> str:
    """A duration with its interval, in a unit that reads well: "1.23 ms ±1 %"."""
    return f"{seconds(estimate.value)} {_spread(estimate)}"


def seconds(value: float) -> str:
    """A duration in a unit that reads well: "1.23 ms"."""
    unit, factor = next(((u, f) for u, f in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)) if value * f >= 1), ("µs", 1e6))
    return f"{value * factor:.3g} {unit}"


def rate(estimate: Estimate) -> str:
    """Samples per second with its interval."""
    return f"{estimate.value:,.4g}/s {_spread(estimate)}"


def _spread(estimate: Estimate) -> str:
    """Half the interval, relative to the value."""
    half = (estimate.high - estimate.low) / 2 / estimate.value * 100 if estimate.value else 0.0
    return f"±{half:.1f} %" if half <= 100 else "±>100 %"


def size(number: int) -> str:
    """Bytes in a unit that reads well."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if number >= factor:
            return f"{number / factor:.0f} {unit}" if factor < 2**30 else f"{number / factor:.2f} {unit}"
    return f"{number} B"


def _memory(measurement: Measurement) -> int:
    return max(measurement.memory.values(), default=0)
