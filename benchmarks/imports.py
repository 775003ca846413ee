"""What `import navigator` costs, and what it costs to find the plugins and build the graph.

Targets: 0.15 s over a bare interpreter, and 50 ms for discovery and graph with every package of ours installed.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence

import common
from common import Table

from navigator_core.results import Estimate
from navigator_core.statistics import median, ratio

HEAVY = ("numpy", "rich", "torch", "onnx", "onnxruntime", "tensorflow", "keras", "jax", "click", "cattrs")
BARE = "pass"
IMPORT = "import navigator"
DISCOVERY = """
import time
from navigator_core import availability, graph, plugins
began = time.perf_counter()
found = plugins.discover()
middle = time.perf_counter()
graph.build(found, availability.missing)
seconds = {"discover": middle - began, "graph": time.perf_counter() - middle}
"""
COLD = """
import time
began = time.perf_counter()
import navigator
navigator.graph()
seconds = {"cold": time.perf_counter() - began}
"""
TELL = """
import json, sys
found = locals().get("found")
print(json.dumps({
    "seconds": locals().get("seconds", {}),
    "heavy": [name for name in %r if name in sys.modules],
    "modules": len(sys.modules),
    "plugins": [str(plugin.name) for plugin in found.loaded] if found else [],
}))
"""


def wall(code: str) -> float:
    """Seconds of a whole fresh interpreter that runs the code."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - began


def told(code: str) -> dict[str, object]:
    """What a fresh interpreter tells about itself after the code."""
    done = subprocess.run([sys.executable, "-c", code + TELL % (HEAVY,)], stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def import_pairs(count: int) -> tuple[list[float], list[float]]:
    """Walls of bare interpreters and of importing ones, in pairs that run one after the other in random order."""
    order = random.Random(0)
    times: dict[str, list[float]] = {BARE: [], IMPORT: []}
    for code in (BARE, IMPORT):
        wall(code)  # from the disk into memory
    for _ in range(count):
        for code in order.sample((BARE, IMPORT), 2):
            times[code].append(wall(code))
    return times[BARE], times[IMPORT]


def inside(code: str, count: int, *names: str) -> Estimate:
    """The median over fresh interpreters of what the code timed itself: the sum of these."""
    told(code)
    taken = []
    for _ in range(count):
        seconds = told(code)["seconds"]
        assert isinstance(seconds, dict)
        taken.append(sum(seconds[name] for name in names))
    return median(taken)


def row(what: str, found: Estimate, target: float | None, heavy: Sequence[str]) -> list[str]:
    """A line of the table, in milliseconds."""
    wanted = "" if target is None else f"{1e3 * target:.0f}"
    met = "" if target is None else "yes" if found.high <= target else "NO" if found.low > target else "undecided"
    return [what, common.shown(found, 1e3, 1), wanted, met, ", ".join(heavy) or "none"]


def main() -> None:
    asked = common.arguments(__doc__)
    others = common.others()
    count = 3 if asked.quick else 25
    bare, importing = import_pairs(count)
    heavy = {code: _names(told(code)["heavy"]) for code in (IMPORT, DISCOVERY, COLD)}
    over = median([one - other for one, other in zip(importing, bare, strict=True)])
    rows = [
        row("bare interpreter", median(bare), None, ()),
        row("import navigator, over it", over, 0.15, heavy[IMPORT]),
        row("discover plugins", inside(DISCOVERY, count, "discover"), None, heavy[DISCOVERY]),
        row("discover, build the graph", inside(DISCOVERY, count, "discover", "graph"), 0.05, heavy[DISCOVERY]),
        row("import and nav.graph(), cold", inside(COLD, count, "cold"), None, heavy[COLD]),
    ]
    plugins = ", ".join(_names(told(DISCOVERY)["plugins"]))
    about = (
        f"Milliseconds, medians over {count} fresh interpreters with their 95 % intervals, in interleaved pairs where "
        f"two are compared (importing takes {common.shown(ratio(importing, bare))} times as long as not importing). "
        f"Plugins installed: {plugins}. The last column asks `sys.modules` for {', '.join(HEAVY)}."
    )
    columns = ("step", "ms [95 %]", "target", "met", "heavy modules imported")
    common.finish([Table("Import and discovery", about, columns, rows)], asked, others)


def _names(values: object) -> list[str]:
    assert isinstance(values, list)
    return [str(value) for value in values]


if __name__ == "__main__":
    main()
