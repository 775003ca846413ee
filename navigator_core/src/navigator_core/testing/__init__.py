"""What plugin authors test with: behaviour suites to inherit, and a whole framework in one small file.

Each suite is a class without a base; inherit it, say in attributes what is under test, and let pytest find yours::

    from navigator_core import testing

    class TestPlugin(testing.PluginContract):
        module = "navigator_tinyrt.plugin"
        forbidden = ("tinyrt", "numpy")

Failures explain themselves; still, ``pytest.register_assert_rewrite("navigator_core.testing")`` in a conftest shows
the values too. Nothing here imports pytest, and the core does not depend on it.
"""

from navigator_core.testing.conversion_contract import ConversionContract
from navigator_core.testing.live import Live, batch_of
from navigator_core.testing.options_contract import Effect, OptionsContract
from navigator_core.testing.plugin_contract import PluginContract
from navigator_core.testing.runner_contract import RunnerCase, RunnerContract
from navigator_core.testing.tensors_contract import TensorsContract
from navigator_core.testing.using import using

__all__ = [
    "ConversionContract",
    "Effect",
    "Live",
    "OptionsContract",
    "PluginContract",
    "RunnerCase",
    "RunnerContract",
    "TensorsContract",
    "batch_of",
    "using",
]
