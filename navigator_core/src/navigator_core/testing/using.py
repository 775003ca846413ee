"""Plugins in use for as long as a test takes, installed or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any
from unittest import mock

from navigator_core import builtin, plugins
from navigator_core.errors import PluginError
from navigator_core.plugins import Plugins


@contextmanager
def using(*modules: ModuleType | Any, installed: bool = False) -> Iterator[Plugins]:
    """Everything in this process finds the core's own plugin and these, and with ``installed=True`` the others too.

    Workers import a plugin's implementations by name, so its module must lie on ``sys.path``. Raises PluginError
    where one of these is set aside, saying why.

    >>> from navigator_core.testing import miniframework
    >>> with using(miniframework) as found:
    ...     sorted(found.formats)
    ['mini', 'mini-json', 'mini-npz', 'python']
    """
    extra = [(getattr(module, "__name__", f"plugin {number}"), module) for number, module in enumerate(modules)]
    if installed:
        there = {info.module for info in plugins.discover().loaded}
        extra = [(name, module) for name, module in extra if name not in there]
    own = [] if installed else [("core", builtin)]
    found = plugins.discover(extra=[*own, *extra], entry_points=installed)
    names = {name for name, _ in extra}
    for broken in found.broken:
        if broken.name in names:
            raise PluginError(str(broken))
    with mock.patch.object(plugins, "installed", return_value=found):
        yield found
