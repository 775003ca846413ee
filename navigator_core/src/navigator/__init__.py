"""Navigator: the fastest way to run a trained model that is still right.

    import navigator as nav

    report = nav.optimize(model, samples)
    print(report)
    with report.load() as fast:
        outputs = fast(*inputs)

Everything is imported when it is first used: importing this package costs nothing and loads no framework.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from navigator_core.api import (
        add_environment,
        call,
        compare,
        environments,
        formats,
        graph,
        load,
        optimize,
        plan,
        plugins,
        profile,
        remove_environment,
        runners,
    )
    from navigator_core.candidates import Candidate, LoadedCandidate
    from navigator_core.comparison import Compared, Comparison, Pace
    from navigator_core.errors import (
        Interrupted,
        NavigatorError,
        NoPathError,
        NothingCorrectError,
        PackageError,
        PluginError,
        RequestError,
    )
    from navigator_core.forecast import Plan
    from navigator_core.gates import Metric
    from navigator_core.package import Package
    from navigator_core.report import Report
    from navigator_core.results import (
        Conditions,
        Duel,
        Estimate,
        Measurement,
        Objective,
        OutputError,
        SlowCalls,
        Tolerance,
        Trial,
        Verdict,
    )
    from navigator_core.signature import Call, Dim, Signature, TensorSpec

_WHERE = {
    "navigator_core.api": (
        "add_environment",
        "call",
        "compare",
        "environments",
        "formats",
        "graph",
        "load",
        "optimize",
        "plan",
        "plugins",
        "profile",
        "remove_environment",
        "runners",
    ),
    "navigator_core.candidates": ("Candidate", "LoadedCandidate"),
    "navigator_core.comparison": ("Compared", "Comparison", "Pace"),
    "navigator_core.errors": (
        "Interrupted",
        "NavigatorError",
        "NoPathError",
        "NothingCorrectError",
        "PackageError",
        "PluginError",
        "RequestError",
    ),
    "navigator_core.forecast": ("Plan",),
    "navigator_core.gates": ("Metric",),
    "navigator_core.package": ("Package",),
    "navigator_core.report": ("Report",),
    "navigator_core.results": (
        "Conditions",
        "Duel",
        "Estimate",
        "Measurement",
        "Objective",
        "OutputError",
        "SlowCalls",
        "Tolerance",
        "Trial",
        "Verdict",
    ),
    "navigator_core.signature": ("Call", "Dim", "Signature", "TensorSpec"),
}
_MODULES = {name: module for module, names in _WHERE.items() for name in names}

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Candidate",
    "Compared",
    "Comparison",
    "Conditions",
    "Dim",
    "Duel",
    "Estimate",
    "Interrupted",
    "LoadedCandidate",
    "Measurement",
    "Metric",
    "NavigatorError",
    "NoPathError",
    "NothingCorrectError",
    "Objective",
    "OutputError",
    "Pace",
    "Package",
    "PackageError",
    "Plan",
    "PluginError",
    "Report",
    "RequestError",
    "Signature",
    "SlowCalls",
    "TensorSpec",
    "Tolerance",
    "Trial",
    "Verdict",
    "add_environment",
    "call",
    "compare",
    "environments",
    "formats",
    "graph",
    "load",
    "optimize",
    "plan",
    "plugins",
    "profile",
    "remove_environment",
    "runners",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'navigator' has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
