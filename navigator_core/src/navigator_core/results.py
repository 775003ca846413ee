"""What was found out: estimates with their intervals, measurements, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import Attribute, Factory, field, frozen

from navigator_core.errors import RequestError

Status = Literal["ok", "incorrect", "failed", "skipped", "unavailable"]


@frozen
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@frozen
class SlowCalls:
    """Calls far slower than the rest, in one measurement; they count like all others.

    ``calls`` is how many, ``times`` their median over the median of all calls. ``causes`` says what happened meanwhile,
    as far as the kernel tells: calls by "preempted", "page faults" and "unknown".
    """

    calls: int
    times: float
    causes: Mapping[str, int]


@frozen(kw_only=True)
class Conditions:
    """The machine while something was measured.

    ``cpu`` is the processor's model, ``cores`` how many this process may use, ``megahertz`` how fast they ran at the
    end. ``load`` is the system's average of a minute. ``others`` and ``stolen`` are the shares of all cores that other
    processes, and other virtual machines, took meanwhile. ``device`` is what the device says of itself, such as its
    clocks. None where the machine does not tell.
    """

    cpu: str
    cores: int
    governor: str | None = None
    megahertz: float | None = None
    load: float | None = None
    others: float = 0.0
    stolen: float = 0.0
    device: Mapping[str, str] = Factory(dict)


@frozen
class Measurement:
    """One candidate at one batch size. Seconds, bytes, samples per second.

    ``p50``, ``p90``, ``p95`` and ``p99`` are of single calls, inputs already on the device; None: too few calls to say.
    ``transfer`` is what bringing inputs in and outputs out takes beside that. ``memory`` is the peak above an empty
    worker, by "host" and device. ``unstable`` is None, or the sentence why the interval is wider than asked for.
    ``others`` are the quantities of plugins' profilers by name, such as "energy", each in its profiler's unit.
    ``callers`` called it at once: latencies are of each call, the throughput is that of all.
    ``slow`` counts calls that took far longer than the rest, None where there were none. ``brief``: a rival is so much
    faster that less was measured, as ``unstable`` says. ``conditions`` are the machine's meanwhile.
    """

    batch_size: int
    p50: Estimate
    p95: Estimate | None
    p99: Estimate | None
    throughput: Estimate
    transfer: float | None
    memory: Mapping[str, int]
    calls: int
    unstable: str | None = None
    others: Mapping[str, Estimate] = Factory(dict)
    slow: SlowCalls | None = None
    brief: bool = False
    conditions: Conditions | None = None
    p90: Estimate | None = None
    callers: int = 1


def _share(tolerance: Tolerance, attribute: Attribute[float | None], value: float | None) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is not None and not (number and 0 < value <= 1):
        raise RequestError(f"top1 must be a share of all positions, such as 0.99, not {value!r}")


def _input(tolerance: Tolerance, attribute: Attribute[str | None], value: str | None) -> None:
    if value is not None and not isinstance(value, str):
        raise RequestError(f"mask must be the name of an input, such as 'attention_mask', not {value!r}")


@frozen(kw_only=True)
class Tolerance:
    """An allowed error: at most ``atol + rtol * abs(reference)`` in every element, as in `numpy.allclose`.

    ``top1`` is for an output that ranks: in this share of all positions its largest value along the last axis must
    stand where the truth's does; of integers, which are ranks already, this share must be equal. ``mask`` names the
    input whose zeros mark positions that do not count; its axes are the first ones of the output.

    Without ``rtol`` and ``atol``, ``mask`` leaves the derived bar where it is, and ``top1`` stands in its place for
    reduced precisions and beside it for the source's own.

    In a verdict that was not given by the user, ``rtol`` is the bar on the relative L2 error and ``atol`` the bar
    on the largest absolute error.
    """

    rtol: float = 0.0
    atol: float = 0.0
    top1: float | None = field(default=None, validator=_share)
    mask: str | None = field(default=None, validator=_input)

    @property
    def elementwise(self) -> bool:
        """Whether it says how far an element may be off; else the derived bar does."""
        return bool(self.rtol or self.atol) or (self.top1 is None and self.mask is None)


@frozen
class OutputError:
    """How far one output was from the truth at worst, over everything that was checked, and the bar.

    ``excess`` is the error in units of the bar, by whichever of its two measures is farther: above 1 is wrong.
    ``top1`` is the share of positions that rank alike, None where it was not asked for.
    """

    max_absolute: float
    max_relative: float
    relative_l2: float
    cosine: float
    tolerance: Tolerance
    ok: bool
    excess: float = 0.0
    top1: float | None = None


@frozen
class Verdict:
    """Right or wrong, and how far off. ``checks`` maps a check's name to "ok" or one sentence.

    ``notes`` say what was no gate, because the number format itself does not let it hold.
    """

    ok: bool
    outputs: Mapping[str, OutputError]
    checks: Mapping[str, str]
    metrics: Mapping[str, float] = Factory(dict)
    notes: tuple[str, ...] = ()


@frozen(kw_only=True)
class Objective:
    """What is best: one quantity to ``minimize`` or ``maximize``.

    To minimize: "latency" (= "p50"), "p90", "p95", "p99", "memory", "size" or the name of a plugin's profiler; to
    maximize: "throughput".

    ``batch_size=None`` is the smallest measured for what is minimized, and any for throughput. A limit is
    "p99<=20ms" or "memory<=2GiB"; it holds only if the upper end of the interval does.
    """

    minimize: str | None = None
    maximize: str | None = None
    batch_size: int | None = None
    limits: tuple[str, ...] = ()


@frozen(kw_only=True)
class Trial:
    """One setting that a search tried in the place of a candidate's own, at the batch size that decides.

    ``setting`` says what it changes of ``candidate``: "threads=1". ``status`` and ``reason`` are those of a candidate.
    ``value`` is the objective's quantity, None where there is none, ``before`` that of the best setting so far, and
    ``better`` whether it took that one's place.
    """

    candidate: str
    setting: str
    batch_size: int
    status: Status
    reason: str | None
    value: Estimate | None
    before: Estimate
    better: bool


@frozen(kw_only=True)
class Duel:
    """A playoff's word on two candidates: ``candidate`` is "better" than ``rival``, or it is a "tie".

    ``ratio`` says how many times as fast it is, per sample and at ``batch_sizes`` (its own and the rival's). The
    interval, unlike other estimates', is that of the sequential test: it holds in 99 % of playoffs for all rivals,
    however often the times were looked at. ``rounds`` of fresh processes were compared. Within ``margin`` it is a tie:
    0.03 is 3 %.
    """

    candidate: str
    rival: str
    batch_sizes: tuple[int, int]
    ratio: Estimate
    verdict: Literal["better", "tie"]
    rounds: int
    margin: float = 0.03
