"""Who may win: the objective, and which precisions the user allowed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import field, frozen

from navigator_core.results import Objective

if TYPE_CHECKING:
    from navigator_core.candidates import Candidate
    from navigator_core.meaning import Task
    from navigator_core.plugins import Plugins


@frozen(kw_only=True)
class Rules:
    """``precisions`` may win; None: all that are no coarser than ``source``, the source's own.

    ``epsilons`` are the unit roundoffs of the precisions by name, ``profilers`` the units of plugins' quantities.
    """

    objective: Objective
    source: str
    precisions: tuple[str, ...] | None = None
    epsilons: Mapping[str, float] = field(factory=dict)
    profilers: Mapping[str, str] = field(factory=dict)

    def why_not(self, precision: str) -> str | None:
        """Why a precision may not win; None if it may."""
        if self.precisions is not None:
            if precision in self.precisions:
                return None
            return f"its precision {precision} is not among precisions={self.precisions}"
        if precision == self.source or self.epsilons.get(precision, math.inf) <= self.epsilons.get(self.source, 0.0):
            return None
        return f"reduced precision: allow it with precisions=({self.source!r}, {precision!r})"


def of(task: Task, candidates: Sequence[Candidate]) -> Rules:
    """What the request says, of these candidates: with gates of their own, users allow whatever passes them."""
    request = task.request
    wanted = tuple(sorted({c.precision for c in candidates})) if request.decides() else None
    return Rules(
        objective=request.objective,
        source=task.reference.precision.name,
        precisions=request.precisions if request.precisions is not None else wanted,
        epsilons=task.machine.epsilons(),
        profilers=quantities(task.machine.plugins),
    )


def quantities(plugins: Plugins) -> dict[str, str]:
    """What plugins measure beside memory, which is no quantity of theirs alone: the units by name."""
    return {one.name: one.unit for one in plugins.profilers.values() if one.memory is None}
