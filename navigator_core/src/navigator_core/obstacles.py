"""What stands in the way of a conversion or a runner here: another device, something missing, a probe that says no."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from navigator_core.availability import Unavailable, missing, probes
from navigator_core.declarations import Probe, Profiler, Requirement, Runner
from navigator_core.graph import Conversion, Graph
from navigator_core.plugins import Plugins
from navigator_core.survey import CPU, Survey, kind


def obstacle(conversion: Conversion, device: str, survey: Survey) -> Unavailable | None:
    """Why a conversion cannot be made for this device."""
    variant = conversion.variant.requirements if conversion.variant else ()
    requirements = (*conversion.declaration.requirements, *variant)
    devices = conversion.declaration.devices
    here = CPU in devices or not devices  # what runs on the CPU converts for every device
    return (
        (None if here else misplaced(devices, device, survey))  # first: nothing that is installed helps
        or conversion.unavailable
        or probed(requirements, survey)
    )


def misplaced(devices: tuple[str, ...], device: str, survey: Survey) -> Unavailable | None:
    """What is for other devices than the run's."""
    if not devices or kind(device) in devices:
        return None
    wanted = " or ".join(devices)
    here = [found.name for found in survey.devices if kind(found.name) in devices]
    if not here:
        return Unavailable(
            f"needs a {wanted} device, and none was found here", f"run it where there is a {wanted} device"
        )
    return Unavailable(f"runs on {wanted}, and this run is for {device}", f"device={here[0]!r}")


def probed(requirements: Iterable[Requirement | Probe], survey: Survey) -> Unavailable | None:
    """The first obstacle that a probe found."""
    checks = [str(r.check) for r in requirements if isinstance(r, Probe)]
    return next((survey.obstacles[check] for check in checks if check in survey.obstacles), None)


def questions_of(plugins: Plugins, graph: Graph, device_kinds: Mapping[str, int] | Iterable[str]) -> tuple[Probe, ...]:
    """The probes whose other requirements hold, of conversions and runners for these device kinds."""
    kinds = set(device_kinds)
    found: dict[str, Probe] = {}
    for c in graph.conversions:
        more = c.variant.requirements if c.variant else ()
        asked = probes(c.declaration.requirements + more)
        if asked and c.unavailable is None and not kinds.isdisjoint(c.declaration.devices or kinds):
            found.update({str(probe.check): probe for probe in asked})
    others: list[Runner | Profiler] = [*plugins.runners.values(), *plugins.profilers.values()]
    others += [profiler for one in plugins.environments.values() for profiler in one.profilers.values()]
    for one in (one for one in others if not kinds.isdisjoint(one.devices or kinds)):
        for variant in getattr(one, "variants", None) or (None,):
            requirements = (*one.requirements, *(variant.requirements if variant else ()))
            asked = probes(requirements)
            if asked and missing(requirements) is None:
                found.update({str(probe.check): probe for probe in asked})
    return tuple(found[name] for name in sorted(found))
