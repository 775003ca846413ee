"""Two ways to run a model, side by side: is B as fast, as small and as right as A?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from attrs import field, frozen

from navigator_core.results import Estimate, OutputError

if TYPE_CHECKING:
    from rich.console import Group, RenderableType

SCHEMA = 1

Outcome = Literal["better", "worse", "tie"]


@frozen(kw_only=True)
class Compared:
    """One side: where it comes from, the candidate that was compared, and what it takes.

    ``memory`` is the peak above an empty worker while it was loaded and called here, ``size`` that of its artifact,
    None where that is not known; both in bytes.
    """

    name: str
    candidate: str
    runner: str
    precision: str
    device: str
    size: int | None
    memory: int


@frozen(kw_only=True)
class Pace:
    """Both at one batch size: seconds of a call, and B's time over A's in ``rounds`` of fresh processes.

    The interval of ``ratio`` is that of a `Duel`. ``verdict`` is B's.
    """

    batch_size: int
    latency_a: float
    latency_b: float
    ratio: Estimate
    rounds: int
    verdict: Outcome


@frozen(kw_only=True)
class Comparison:
    """The result of `navigator.compare`.

    ``reasons`` say why B is worse, one sentence for each thing that is; ``paces`` are the playoffs, the smallest batch
    size first. ``drift`` is how far B's outputs are from A's at worst, by output, and how far they may be; it is empty
    where A does not answer the same when it is called again. The ratios are B's over A's that were allowed.
    """

    a: Compared
    b: Compared
    verdict: Outcome
    reasons: tuple[str, ...] = ()
    paces: tuple[Pace, ...] = ()
    drift: Mapping[str, OutputError] = field(factory=dict)
    latency_ratio: float
    memory_ratio: float | None = None
    size_ratio: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def worse(self) -> bool:
        """Whether B is worse than A beyond what was allowed, in anything: time, memory, size or outputs."""
        return self.verdict == "worse"

    @property
    def ratio(self) -> Estimate | None:
        """B's time over A's at the batch size where B does worst; None where no playoff came to an end."""
        return max((pace.ratio for pace in self.paces), key=lambda ratio: ratio.value, default=None)

    def html(self, path: str | Path) -> Path:
        """Write the comparison as a page that stands alone."""
        target = Path(path)
        target.write_text(self._repr_html_(), encoding="utf-8")
        return target

    def to_dict(self) -> dict[str, Any]:
        """The comparison in plain values: what ``--json`` prints."""
        from navigator_core import serde

        return {"schema": SCHEMA, "worse": self.worse, **serde.to_data(self)}

    def __str__(self) -> str:
        from navigator_core import rendering

        return rendering.as_text(_whole(self))

    def _repr_html_(self) -> str:
        from navigator_core import rendering

        return rendering.as_html(_whole(self))


def _whole(made: Comparison) -> Group:
    from rich.console import Group
    from rich.text import Text

    style = {"worse": "bold red", "better": "bold green", "tie": "bold"}[made.verdict]
    parts: list[RenderableType] = [_sides(made)]
    if made.drift:
        parts.append(_outputs(made.drift))
    parts += [Text(f"note: {note}") for note in made.notes]
    parts += [Text(f"worse: {reason}", "red") for reason in made.reasons]
    parts.append(Text(_conclusion(made), style))
    return Group(*parts)


def _sides(made: Comparison) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from navigator_core import rendering

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", "A", "B", "B / A"):
        table.add_column(name, overflow="fold")
    table.add_row("from", Text(made.a.name), Text(made.b.name))  # "[slim]" is no markup
    table.add_row("candidate", Text(made.a.candidate), Text(made.b.candidate))
    table.add_row("precision, device", *(f"{one.precision}, {one.device}" for one in (made.a, made.b)))
    for pace in made.paces:
        ratio = pace.ratio
        table.add_row(
            f"latency at batch {pace.batch_size}",
            *(rendering.seconds(one) for one in (pace.latency_a, pace.latency_b)),
            f"{ratio.value:.3f} ({ratio.low:.3f} to {ratio.high:.3f}): {pace.verdict}",
        )
    table.add_row(
        "memory", rendering.size(made.a.memory), rendering.size(made.b.memory), _over(made.b.memory, made.a.memory)
    )
    sizes = ["" if one.size is None else rendering.size(one.size) for one in (made.a, made.b)]
    table.add_row("size", *sizes, _over(made.b.size, made.a.size))
    return table


def _outputs(drift: Mapping[str, OutputError]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("output", "drift, relative", "at most", "of what is allowed", ""):
        table.add_column(name, justify="left" if name in ("output", "") else "right")
    for name, off in drift.items():
        worst = f"{off.relative_l2:.1e}", f"{off.max_absolute:.1e}", f"{off.excess:.2g}"
        table.add_row(Text(name), *worst, "ok" if off.ok else "beyond")
    return table


def _over(b: int | None, a: int | None) -> str:
    return f"{b / a:.3f}" if a and b is not None else ""


def _conclusion(made: Comparison) -> str:
    ratio = made.ratio
    told = "" if ratio is None else f", its time {ratio.value:.3f} times that of A"
    where = f" at batch size {max(made.paces, key=lambda p: p.ratio.value).batch_size}" if len(made.paces) > 1 else ""
    if made.verdict == "tie":
        return f"tie: B is as good as A{told}{where}"
    return f"B is {made.verdict} than A{told}{where}"
