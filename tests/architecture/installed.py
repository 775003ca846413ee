"""Run by the `wheels` session where only the core's dependencies and the built wheels are installed.

The frameworks are absent on purpose: a plugin that imports one to declare itself fails here.
"""

from importlib.metadata import distributions, entry_points
from importlib.resources import files

found = {entry_point.dist.name: entry_point for entry_point in entry_points(group="navigator")}
installed = {
    distribution.name: distribution for distribution in distributions() if distribution.name.startswith("navigator-")
}
assert set(found) == set(installed), f"without an entry point: {set(installed) ^ set(found)}"

for name, distribution in sorted(installed.items()):
    found[name].load()
    for package in (distribution.read_text("top_level.txt") or "").split():
        assert files(package).joinpath("py.typed").is_file(), f"{package} ships no py.typed"
    assert distribution.metadata.get_payload(), f"{name} ships no README"
    print(f"{name} {distribution.version}: loads without any framework")
