"""What was found out: estimates with their intervals, measurements, verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from attrs import Factory, frozen

Status = Literal["ok", "incorrect", "failed", "skipped", "unavailable"]


@frozen
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


@frozen
class Measurement:
    """One candidate at one batch size. Seconds, bytes, samples per second.

    ``p50`` to ``p99`` are of single calls with inputs already on the device; None: too few calls to say.
    ``transfer`` is what bringing inputs in and outputs out takes beside that. ``memory`` is the peak above an empty
    worker, by "host" and device. ``unstable`` is None, or the sentence why the interval is wider than asked for.
    ``others`` are the quantities of plugins' profilers by name, such as "energy", each in its profiler's unit.
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


@frozen(kw_only=True)
class Tolerance:
    """An allowed error: at most ``atol + rtol * abs(reference)`` in every element, as in `numpy.allclose`.

    In a verdict that was not given by the user, ``rtol`` is the bar on the relative L2 error and ``atol`` the bar
    on the largest absolute error.
    """

    rtol: float = 0.0
    atol: float = 0.0


@frozen
class OutputError:
    """How far one output was from the truth at worst, over everything that was checked, and the bar."""

    max_absolute: float
    max_relative: float
    relative_l2: float
    cosine: float
    tolerance: Tolerance
    ok: bool


@frozen
class Verdict:
    """Right or wrong, and how far off. ``checks`` maps a check's name to "ok" or one sentence."""

    ok: bool
    outputs: Mapping[str, OutputError]
    checks: Mapping[str, str]
    metrics: Mapping[str, float] = Factory(dict)


@frozen(kw_only=True)
class Objective:
    """What is best: one quantity to ``minimize`` or ``maximize``.

    To minimize: "latency" (= "p50"), "p95", "p99", "memory", "size" or the name of a plugin's profiler; to maximize:
    "throughput".

    ``batch_size=None`` is the smallest measured for what is minimized, and any for throughput. A limit is
    "p99<=20ms" or "memory<=2GiB"; it holds only if the upper end of the interval does.
    """

    minimize: str | None = None
    maximize: str | None = None
    batch_size: int | None = None
    limits: tuple[str, ...] = ()


@frozen(kw_only=True)
class Duel:
    """A playoff's word on two candidates: ``candidate`` is "better" than ``rival``, or it is a "tie".

    ``ratio`` says how many times as fast it is, per sample and at ``batch_sizes`` (its own and the rival's). The
    interval, unlike other estimates', is that of the sequential test: it holds in 99 % of playoffs for all rivals,
    however often the times were looked at. ``rounds`` of fresh processes were compared.
    """

    candidate: str
    rival: str
    batch_sizes: tuple[int, int]
    ratio: Estimate
    verdict: Literal["better", "tie"]
    rounds: int
