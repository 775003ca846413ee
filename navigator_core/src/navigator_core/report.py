"""What a run found: candidates in order of merit, the best of them, and where everything came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from navigator_core import selection
from navigator_core.candidates import Candidate, LoadedCandidate
from navigator_core.errors import BranchError, NothingCorrectError, RequestError
from navigator_core.results import Duel, Objective, Trial
from navigator_core.rules import Rules
from navigator_core.signature import Signature

SCHEMA = 1


@frozen(kw_only=True)
class Report:
    """The result of `navigator.optimize` and `navigator.profile`.

    ``candidates`` are in order of merit, failed and unavailable ones last. ``environment`` says on what machine and
    with which versions, ``notes`` what was assumed. ``baseline`` names the source's own candidate, which speed-ups
    are relative to, ``duels`` are what the playoff said of the leaders, and ``precisions`` may win (None: all that are
    no coarser than ``precision``, the source's own). ``units`` are those of plugins' quantities, ``trials`` the
    settings that a search tried.
    """

    candidates: tuple[Candidate, ...]
    signature: Signature
    environment: Mapping[str, str]
    notes: tuple[str, ...] = ()
    objective: Objective = field(factory=Objective)
    precision: str = "fp32"
    precisions: tuple[str, ...] | None = None
    epsilons: Mapping[str, float] = field(factory=dict)
    baseline: str | None = None
    duels: tuple[Duel, ...] = ()
    units: Mapping[str, str] = field(factory=dict)
    trials: tuple[Trial, ...] = ()
    best_name: str | None = None
    why: str = ""
    bar: str = ""
    run: str = ""
    elapsed: float = 0.0
    reference: Any = field(default=None, eq=False, repr=False)
    reference_folder: Path | None = field(default=None, eq=False, repr=False)
    artifacts: Mapping[str, Any] = field(factory=dict, eq=False, repr=False)

    @property
    def best(self) -> Candidate | None:
        """The best candidate, None if nothing may be used."""
        return next((c for c in self.candidates if c.name == self.best_name), None)

    def load(self, device: str | None = None) -> LoadedCandidate:
        """Load the best candidate. Raises NothingCorrectError, holding what happened to each branch."""
        best = self.best
        if best is None:
            branches = [BranchError(f"{c.name}: {c.status}: {c.reason}") for c in self.candidates]
            raise NothingCorrectError("no candidate may be used; what happened to each branch:", branches)
        return best.load(device)

    def select(self, objective: Objective, *, precisions: Iterable[str] | None = None) -> Candidate | None:
        """The best candidate for another question, by the same measurements; None if none may win."""
        asked = Rules(
            objective=objective,
            source=self.precision,
            precisions=self.precisions if precisions is None else tuple(precisions),
            epsilons=self.epsilons,
            profilers={
                name: self.units.get(name, "") for c in self.candidates for m in c.measurements for name in m.others
            },
        )
        chosen = selection.select(self.candidates, asked, self.duels)
        return next((c for c in self.candidates if c.name == chosen.best), None)

    def speed_up(self, candidate: Candidate, batch_size: int) -> float | None:
        """The source's median latency over the candidate's at a batch size; None where one was not measured."""
        base = next((c for c in self.candidates if c.name == self.baseline), None)
        ours, theirs = candidate.at(batch_size), base.at(batch_size) if base else None
        return theirs.p50.value / ours.p50.value if ours and theirs else None

    def unsure(self, candidate: Candidate, batch_size: int) -> bool:
        """Whether a speed-up rests on a measurement that is not stable; its ``unstable`` says why."""
        both = [c.at(batch_size) for c in self.candidates if c.name in (candidate.name, self.baseline)]
        return any(measurement is not None and measurement.unstable is not None for measurement in both)

    def save(self, path: str | Path) -> Path:
        """Write a ``.nav`` package with the winners and the formats to rebuild others from. Raises PackageError."""
        from navigator_core import packing

        return packing.save(self, Path(path))

    def deploy(
        self, deployer: str, path: str | Path, *, name: str, candidate: Candidate | None = None, options: Any = None
    ) -> Path:
        """Write a candidate (default: the best) for a server, by an installed deployer. Raises RequestError."""
        from navigator_core import deployment

        chosen = candidate or self.best
        if chosen is None:
            raise RequestError("there is nothing to deploy: no candidate may be used")
        return deployment.deploy(chosen, self.signature, deployer, Path(path), name, options)

    def html(self, path: str | Path) -> Path:
        """Write the report as a page that stands alone."""
        from navigator_core import rendering

        target = Path(path)
        target.write_text(rendering.html(self), encoding="utf-8")
        return target

    def to_dict(self) -> dict[str, Any]:
        """The report in plain values: what ``--json`` prints and a package holds."""
        from navigator_core import serde

        bare = evolve(
            self,
            candidates=tuple(evolve(c, home=None) for c in self.candidates),
            reference=None,
            reference_folder=None,
            artifacts={},
        )
        data: dict[str, Any] = serde.to_data(bare)
        for name in ("reference", "reference_folder", "artifacts"):
            data.pop(name)
        for one in data["candidates"]:
            one.pop("home")
        return {"schema": SCHEMA, "best": self.best_name, **data}

    def __str__(self) -> str:
        from navigator_core import rendering

        return rendering.text(self)

    def _repr_html_(self) -> str:
        from navigator_core import rendering

        return rendering.html(self)


def from_dict(data: Mapping[str, Any]) -> Report:
    """The inverse of `Report.to_dict`. Raises ValueError for data of another form."""
    from navigator_core import serde

    plain = {key: value for key, value in data.items() if key not in ("schema", "best")}
    candidates = plain.get("candidates")
    if not isinstance(candidates, list) or not all(isinstance(one, dict) for one in candidates):
        raise ValueError("candidates must be a list of objects")
    plain["candidates"] = [{**one, "home": None} for one in candidates]
    return serde.from_data({**plain, "reference": None, "reference_folder": None, "artifacts": {}}, Report)
