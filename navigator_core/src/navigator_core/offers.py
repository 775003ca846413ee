"""What conversions and runners offer: each of their variants, with the options asked for, looked up once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs
from attrs import define, field, frozen

from navigator_core import graph as graphs
from navigator_core import options as wishes
from navigator_core.availability import Unavailable, missing
from navigator_core.declarations import Precision, Runner, Variant
from navigator_core.graph import Conversion
from navigator_core.obstacles import misplaced, obstacle, probed
from navigator_core.options import Choice, Options
from navigator_core.plugins import Plugins
from navigator_core.survey import CPU, Survey, kind


@frozen(kw_only=True)
class Wishes:
    """What the user asked of the plan. None: all."""

    targets: tuple[str, ...] | None = None
    runners: tuple[str, ...] | None = None
    precisions: tuple[str, ...] | None = None
    options: Options = attrs.Factory(dict)
    limit: int = 4


@frozen
class Way:
    """What is the same wherever a path takes this conversion."""

    choices: tuple[Choice, ...]
    device: str
    obstacle: Unavailable | None


@define
class Ways:
    """Each conversion looked at once, though thousands of paths may take it."""

    asked: Wishes
    device: str
    survey: Survey
    _known: dict[int, Way] = field(init=False, factory=dict)

    def of(self, conversion: Conversion) -> Way:
        """What is known of one."""
        found = self._known.get(id(conversion))
        if found is None:
            found = self._known[id(conversion)] = Way(
                choices=tuple(_choices(conversion, self.asked.options, self.survey)),
                device=self.device if kind(self.device) in conversion.declaration.devices else CPU,
                obstacle=obstacle(conversion, self.device, self.survey),
            )
        return found


@frozen
class Offer:
    """One runner, in one variant with one choice of options, wherever a path ends in its format."""

    runner: Runner
    label: str
    variant: Variant | None
    choice: Choice
    obstacle: Unavailable | None


@define
class Offers:
    """What runs each format, looked up once for each, though thousands of paths may end in it."""

    plugins: Plugins
    asked: Wishes
    device: str
    survey: Survey
    _runners: dict[str, list[Runner]] = field(init=False)
    _known: dict[str, tuple[Offer, ...]] = field(init=False, factory=dict)

    @_runners.default
    def _by_format(self) -> dict[str, list[Runner]]:
        return graphs.runners_by_format(self.plugins)

    def may_win(self, precision: Precision, source: Precision) -> bool:
        """Whether it is worth trying: what is coarser than the source and was not named could never be chosen."""
        named = self.asked.precisions
        return named is None or precision.name in named or precision.epsilon <= source.epsilon

    def on(self, format_name: str, before: Precision) -> Iterator[Offer]:
        """Every variant of every runner that takes the format, is asked for, and adds something to this precision."""
        if format_name not in self._known:
            self._known[format_name] = tuple(self._made(format_name))
        for offer in self._known[format_name]:
            if not says_nothing(offer.variant, offer.runner.variants, before):
                yield offer

    def _made(self, format_name: str) -> Iterator[Offer]:
        asked = self.asked
        for runner in self._runners.get(format_name, ()):
            wanted = (asked.runners is None or runner.name in asked.runners) and (
                asked.targets is None or format_name in asked.targets
            )
            for variant in runner.variants or (None,):
                requirements = (*runner.requirements, *(variant.requirements if variant else ()))
                lacking = misplaced(runner.devices, self.device, self.survey) or (
                    missing(requirements) or probed(requirements, self.survey)
                )
                whole = attrs.evolve(runner, requirements=requirements)
                default = variant.options if variant else None
                # what is not wanted is looked at all the same: its options may be wrong
                made = wishes.choices(asked.options, (f"@{runner.name}",), runner.options, default)
                for choice in _not_of_others(made, variant, runner.variants, self.survey):
                    inside = ",".join(filter(None, (variant.name if variant else "", choice.label)))
                    if wanted:
                        label = runner.name + (f"[{inside}]" if inside else "")
                        yield Offer(whole, label, variant, choice, lacking)


def _choices(conversion: Conversion, options: Options, survey: Survey) -> Iterator[Choice]:
    edge = conversion.edge
    default = conversion.variant.options if conversion.variant else None
    mine = wishes.fields_of(conversion.declaration.options)
    # what is said of a format or an edge is for the conversions there that have such a field; `check` knows the rest
    said = {
        key: {name: value for name, value in options.get(key, {}).items() if name in mine}
        for key in (conversion.target, edge)
    }
    made = wishes.choices(said, (conversion.target, edge), conversion.declaration.options, default)
    yield from _not_of_others(made, conversion.variant, conversion.declaration.variants, survey)


def _not_of_others(
    made: Iterable[Choice], variant: Variant | None, variants: tuple[Variant, ...], survey: Survey
) -> Iterator[Choice]:
    """Without what another variant, one that can be had here, does anyway: ``options=`` may lead to what it is."""
    default, precision = (variant.options, variant.precision) if variant else (None, None)
    others = [
        v.options
        for v in variants
        if v is not variant
        and v.precision == precision
        and not (missing(v.requirements) or probed(v.requirements, survey))
    ]
    return (c for c in made if c.value == default or default in others or c.value not in others)


def says_nothing(variant: Variant | None, variants: tuple[Variant, ...], before: Precision) -> bool:
    """Whether a variant is there for a precision no coarser than what comes in, and another keeps just that."""
    if variant is None or variant.precision is None or variant.precision.epsilon > before.epsilon:
        return False
    return any(other.precision is None for other in variants)


def coarser(before: Precision, variant: Variant | None) -> Precision:
    """What a variant leaves of a precision: what was rounded away does not come back."""
    promised = (variant.precision if variant else None) or before
    return promised if promised.epsilon >= before.epsilon else before
