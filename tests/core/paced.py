"""Runs with candidates of known paces, for tests of what is measured of whom: `pacing` in real workers."""

from types import SimpleNamespace

import numpy as np

from navigator_core import FP32, Ref, Runner, Variant, hookimpl
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using

SAMPLES = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
PATH = "mini->mini-json->mini-npz[fp32] @ pacing"


def run(optimize, paces, **asked):
    """Optimize with runners of these paces, by name, in their order."""
    import pacing

    declared = Runner(
        name="pacing",
        formats=("mini-npz",),
        implementation=Ref("pacing:load"),
        options=pacing.Pace,
        variants=[Variant(name, pacing.Pace(**pace), FP32) for name, pace in paces.items()],
    )
    plugin = SimpleNamespace(__name__="pacing plugin", declare_runners=hookimpl(lambda: [declared]))
    weights = np.random.default_rng(0).standard_normal((4, 3)).astype("float32")
    with using(mini, plugin):
        return optimize(
            mini.Model(weights, np.ones(3, "float32")),
            SAMPLES,
            **{"runners": ["pacing"], "precisions": ["fp32"], "batch_sizes": [1], **asked},
        )


def named(name):
    return f"{PATH}[{name}]"
