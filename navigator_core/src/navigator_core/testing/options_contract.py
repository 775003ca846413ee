"""What every option keeps to: it has an effect, and its author says how that is seen."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from attrs import field, frozen

from navigator_core import options
from navigator_core.declarations import Converter, Exporter, Runner
from navigator_core.plugins import discover

NONE = "no options"


@frozen
class Effect:
    """With ``value`` in place of an option's default, ``observe`` sees something else.

    ``observe(options, folder)`` converts or loads with these options, in an empty folder of its own, and returns what
    can be compared with ``==``: the nodes of a file, the tool's own settings, the answer of a call. ``beside`` are
    other options that it needs, the same in both.
    """

    value: Any
    observe: Callable[[Any, Path], Any]
    beside: Mapping[str, Any] = field(factory=dict)


class OptionsContract:
    """Run by every plugin whose declarations have options: one test for each field of each, none can be forgotten.

    ``effects`` has the keys that a user writes in ``options=`` ("@runner", "a->b", and a deployer's name); by field an
    `Effect`, or a sentence why none can be seen here, with which the test is skipped. Where two conversions take one
    edge with options of their own, ``observe`` is asked with those of each::

        class TestOptions(testing.OptionsContract):
            module = "navigator_tinyrt.plugin"
            effects = {"@tinyrt-runtime": {"threads": testing.Effect(3, threads_during_a_call)}}
    """

    module: str
    effects: ClassVar[Mapping[str, Mapping[str, Effect | str]]] = {}

    def test_an_option_has_an_effect(self, option: str, tmp_path: Path) -> None:
        if option == NONE:
            assert self.effects == {}, f"effects are described, but {self.module} declares no options"
            return
        key, _, name = option.rpartition(".")
        effect = self.effects.get(key, {}).get(name)
        assert effect is not None, (
            f"nobody says what {name!r} does: put into effects[{key!r}] a testing.Effect(another value, observe), "
            "or a sentence why it cannot be seen here"
        )
        if isinstance(effect, str):
            assert effect.strip(), f"the sentence why the effect of {option} cannot be seen here is empty"
            raise unittest.SkipTest(effect)
        for cls in dict.fromkeys(cls for found, cls in self.declared() if found == option):
            plain, changed = cls(**effect.beside), cls(**{**effect.beside, name: effect.value})
            assert plain != changed, f"{effect.value!r} is the default of {option}: choose another value"
            first, again, other = (
                effect.observe(chosen, _empty(tmp_path / f"{cls.__name__}-{number}"))
                for number, chosen in enumerate((plain, plain, changed))
            )
            what = f"{option} of {cls.__name__}"
            assert first == again, f"without {what}, {first!r} is seen once and {again!r} then: that tells nothing"
            assert other != first, f"{what} = {effect.value!r} has no effect: with it or without, {first!r} is seen"

    def test_what_is_said_to_have_an_effect_is_an_option(self) -> None:
        known = {option for option, _ in self.declared()}
        said = {f"{key}.{name}" for key, fields in self.effects.items() for name in fields}
        assert said <= known, f"there is no option {', '.join(sorted(said - known))}"

    def declared(self) -> Iterator[tuple[str, type]]:
        """Every field of every options class, as "@runner.field" or "a->b.field", with its class."""
        found = discover(extra=[(self.module, import_module(self.module))], entry_points=False)
        assert not found.broken, str(found.broken[0])
        for one in (*found.exporters, *found.converters, *found.runners.values(), *found.deployers.values()):
            for name in sorted(options.fields_of(one.options)) if one.options is not None else ():
                assert one.options is not None
                yield f"{_key(one)}.{name}", one.options

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Pytest asks this of a class that it collects."""
        if "option" in metafunc.fixturenames:
            metafunc.parametrize("option", list(dict.fromkeys(name for name, _ in self.declared())) or [NONE])


def _key(declared: Any) -> str:
    if isinstance(declared, Exporter | Converter):
        return f"{declared.source}->{declared.target}"
    return f"@{declared.name}" if isinstance(declared, Runner) else str(declared.name)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder
