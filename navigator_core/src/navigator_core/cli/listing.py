"""What the installed plugins bring, as text and as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from navigator_core.plugins import Plugins


def to_dict(plugins: Plugins) -> dict[str, Any]:
    """The plugins with what each brings, and the broken ones with the reason, as ``--json`` prints them."""
    return {
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "brings": {
                    kind: [name for name, declared in values if plugins.owner(declared) == plugin]
                    for kind, values in _declared(plugins).items()
                },
            }
            for plugin in plugins.loaded
        ],
        "broken": [
            {"name": one.name, "distribution": one.distribution, "version": one.version, "reason": one.reason}
            for one in plugins.broken
        ],
    }


def to_text(plugins: Plugins) -> str:
    """The same for people."""
    lines = []
    for one in to_dict(plugins)["plugins"]:
        lines.append(_title(one))
        lines += [f"  {kind}: {', '.join(names)}" for kind, names in one["brings"].items() if names]
    lines += [str(broken) for broken in plugins.broken]
    return "\n".join(lines)


def _title(plugin: Mapping[str, Any]) -> str:
    return f"{plugin['name']} ({plugin['distribution']} {plugin['version']})"


def _declared(plugins: Plugins) -> dict[str, list[tuple[str, Any]]]:
    def named(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return list(values.items())

    def edges(values: Iterable[Any]) -> list[tuple[str, Any]]:
        return [
            (f"{edge.source}->{edge.target}" + (f"[{variant.name}]" if variant and variant.name else ""), edge)
            for edge in values
            for variant in edge.variants or (None,)
        ]

    return {
        "formats": named(plugins.formats),
        "tensors": named(plugins.tensors),
        "devices": [(device.kind, device) for device in plugins.devices],
        "exporters": edges(plugins.exporters),
        "converters": edges(plugins.converters),
        "runners": named(plugins.runners),
        "profilers": named(plugins.profilers),
        "deployers": named(plugins.deployers),
        "executors": named(plugins.executors),
    }
