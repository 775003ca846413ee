"""What the installed plugins bring, as text and as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from navigator_core.elsewhere import environment_of, spelt
from navigator_core.plugins import Plugins


def to_dict(plugins: Plugins) -> dict[str, Any]:
    """The plugins with what each brings, and the broken ones with the reason, as ``--json`` prints them."""
    return {
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "environment": plugin.environment,
                "brings": {
                    kind: [name for name, declared in values if plugins.owner(declared) == plugin]
                    for kind, values in _declared(plugins).items()
                },
            }
            for plugin in plugins.loaded
        ],
        "broken": [
            {
                "name": one.name,
                "distribution": one.distribution,
                "version": one.version,
                "environment": one.environment,
                "reason": one.reason,
            }
            for one in plugins.broken
        ],
        "environments": environments_to_dict(plugins),
    }


def to_text(plugins: Plugins) -> str:
    """The same for people."""
    lines = []
    for one in to_dict(plugins)["plugins"]:
        lines.append(_title(one))
        lines += [f"  {kind}: {', '.join(names)}" for kind, names in one["brings"].items() if names]
    lines += [str(broken) for broken in (*plugins.broken, *plugins.lost)]
    return "\n".join(lines)


def _title(plugin: Mapping[str, Any]) -> str:
    there = f" in environment {plugin['environment']}" if plugin["environment"] else ""
    return f"{plugin['name']} ({plugin['distribution']} {plugin['version']}){there}"


def environments_to_dict(plugins: Plugins) -> list[dict[str, str | None]]:
    """The registered environments; one that is set aside has a reason and what helps."""
    working = [
        {"name": one.name, "python": one.python, "version": one.version, "reason": None, "remedy": None}
        for one in plugins.environments.values()
    ]
    lost = [
        {"name": one.name, "python": one.python, "version": None, "reason": one.reason, "remedy": one.remedy}
        for one in plugins.lost
    ]
    return [*working, *lost]


def _edge(edge: Any) -> str:
    return spelt(f"{edge.source}->{edge.target}", environment_of(edge))


def _declared(plugins: Plugins) -> dict[str, list[tuple[str, Any]]]:
    def named(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return list(values.items())

    def edges(values: Iterable[Any]) -> list[tuple[str, Any]]:
        return [
            (_edge(edge) + (f"[{variant.name}]" if variant and variant.name else ""), edge)
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
