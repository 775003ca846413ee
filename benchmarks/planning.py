"""What planning costs where there is much to choose from: a graph of 1,000 formats and 10,000 conversions.

Every format has ten conversions into random others and a runner; one requirement in ten is not installed. Asked for
five targets, planning is all that `navigator.optimize` does from the plugins' declarations to the plan: the graph
built, the request checked, the probes collected, and the plan made twice (once before the source has run, so that what
is amiss with the request is said early). Target: 0.1 s. With nothing said of targets a plan holds every path within the
limit of four conversions, some 10,000 here: that is timed as well, without a target.
"""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable
from typing import Any, Literal

import common
from attrs import field, frozen, validators
from common import Table

from navigator_core.results import Estimate
from navigator_core.statistics import median

FORMATS = 1000
LEAVING = 10
TARGETS = 5
TARGET = 0.1
STAGES = ("graph", "check", "probes", "plan")
"""What happens on the way to the plan for the targets."""


@frozen
class Level:
    """The options of every conversion and runner."""

    level: Literal["low", "high"] = field(default="low", validator=validators.in_(("low", "high")))


def declared() -> Any:
    """The plugins' declarations: a framework and 999 formats, a runner of each, conversions from each to ten others."""
    from navigator_core import Converter, Exporter, Format, Framework, Ref, Requirement, Runner, Variant
    from navigator_core.plugins import Plugins

    chance = random.Random(20261122)
    names = [f"format-{number:03}" for number in range(FORMATS)]
    ref = Ref("package.module:name")

    def edge(source: str, target: str) -> Exporter | Converter:
        kind = Exporter if source == names[0] else Converter
        needs = "no-such-distribution>=2" if chance.random() < 0.1 else "attrs>=20"
        return kind(
            source=source,
            target=target,
            implementation=ref,
            options=Level,
            variants=(Variant("plain", Level()),),
            requirements=(Requirement(needs), Requirement("numpy>=1")),
        )

    edges = [
        edge(source, target)
        for source in names
        for target in chance.sample([name for name in names[1:] if name != source], LEAVING)
    ]
    formats: list[Any] = [Framework(name=names[0], source=ref, reference="runner-000")]
    formats += [Format(name=name, file="model") for name in names[1:]]
    runners = [
        Runner(
            name=f"runner-{number:03}",
            formats=(name,),
            implementation=ref,
            options=Level,
            requirements=(Requirement("numpy>=1"),),
        )
        for number, name in enumerate(names)
    ]
    return Plugins(
        formats={value.name: value for value in formats},
        exporters=tuple(one for one in edges if isinstance(one, Exporter)),
        converters=tuple(one for one in edges if isinstance(one, Converter)),
        runners={runner.name: runner for runner in runners},
    )


def seconds() -> dict[str, float]:
    """What each stage takes in this process, once; and the numbers of paths, of branches and of steps."""
    from navigator_core import availability, graph, obstacles, planning
    from navigator_core.declarations import FP32, DeviceInfo
    from navigator_core.offers import Wishes
    from navigator_core.survey import Survey

    plugins = declared()
    found: dict[str, float] = {}

    def timed(name: str, function: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        value = function()
        found[name] = found.get(name, 0.0) + time.perf_counter() - began
        return value

    def plan(asked: Wishes) -> Any:
        return planning.make(plugins, built, source, FP32, "cpu", asked, survey)

    gc.collect()  # what making up the declarations left to the collector
    source = min(plugins.formats)
    some = random.Random(0).sample(sorted(plugins.formats)[1:], TARGETS)
    asked = Wishes(targets=tuple(some), options={some[0]: {"level": ["low", "high"]}})
    survey = Survey(devices=(DeviceInfo("cpu", "a CPU", 1),))
    built = timed("graph", lambda: graph.build(plugins, availability.missing))
    timed("check", lambda: planning.check(asked, plugins, built))
    timed("probes", lambda: obstacles.questions_of(plugins, built, ("cpu",)))
    timed("plan", lambda: plan(asked))
    made = timed("plan", lambda: plan(asked))
    paths = timed("every path", lambda: sum(1 for _ in graph.paths(built, source)))
    everything = timed("plan of everything", lambda: plan(Wishes()))
    counts = {
        "conversions": len(built.conversions),
        "steps": len(made.steps),
        "branches": len(made.branches),
        "paths": paths,
        "all branches": len(everything.branches),
    }
    return {**found, **counts}


def main() -> None:
    asked = common.arguments(__doc__, rounds=15)
    others = common.others()
    runs = [common.call_fresh("planning:seconds") for _ in range(2 if asked.quick else asked.rounds)]
    one = runs[0]

    def row(what: str, holds: str, stages: tuple[str, ...], target: float | None = None) -> list[str]:
        time_taken: Estimate = median([sum(run[stage] for stage in stages) for run in runs])
        met = "" if target is None else "yes" if time_taken.high <= target else "NO"
        wanted = "" if target is None else f"{1e3 * target:.0f}"
        return [what, holds, common.shown(time_taken, 1e3, 1), wanted, met]

    rows = [
        row("build the graph", f"{one['conversions']:.0f} conversions", ("graph",)),
        row("check the request", "", ("check",)),
        row("collect the probes", "", ("probes",)),
        row(f"plan for {TARGETS} targets, twice", f"{one['branches']:.0f} branches", ("plan",)),
        row(f"all of it, for {TARGETS} targets", "", STAGES, TARGET),
        row("every path, without targets", f"{one['paths']:.0f} paths", ("every path",)),
        row("plan of everything", f"{one['all branches']:.0f} branches", ("plan of everything",)),
    ]
    about = (
        f"Milliseconds in a fresh process, medians over {len(runs)} of them with their 95 % intervals; a random graph "
        f"of {FORMATS} formats, {LEAVING} conversions from each, a runner of each; paths of at most four conversions."
    )
    columns = ("step", "holds", "ms [95 %]", "target", "met")
    common.finish([Table("Planning", about, columns, rows)], asked, others)


if __name__ == "__main__":
    main()
