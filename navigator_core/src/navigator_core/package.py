"""A ``.nav`` package: the report, samples with their references, the winners, and what to rebuild others from."""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, evolve, field

from navigator_core import arrays, availability, forecast, plugins, report, signing, structure
from navigator_core import optimize as engine
from navigator_core.archive import Archive
from navigator_core.candidates import Candidate, Home, LoadedCandidate, device_missing, not_here, runner_of
from navigator_core.declarations import Format, Framework
from navigator_core.errors import BranchError, NothingCorrectError, PackageError, RequestError
from navigator_core.forecast import Plan
from navigator_core.packing import REPORT, SIGNATURE
from navigator_core.report import Report
from navigator_core.request import Request, checked
from navigator_core.signature import Call, Signature
from navigator_core.survey import CPU, kind

LARGEST_REPORT = 64 * 2**20


@define
class Package:
    """An opened package. The file is never changed.

    ``best`` is the best candidate that can be loaded here. Artifacts lie in a folder of this process, gone with it.
    """

    path: Path
    report: Report
    _folder: Any = field(default=None, repr=False)

    @property
    def signature(self) -> Signature:
        """What the model takes and returns."""
        return self.report.signature

    @property
    def best(self) -> Candidate | None:
        """The first in order of merit that may win, is stored, trusted, and whose runner works here."""
        wins = (c for c in self.report.candidates if c.status == "ok" and c.reason is None)
        return next((c for c in wins if _obstacle(c) is None), None)

    @property
    def samples(self) -> Sequence[Call]:
        """The samples as calls, with numpy arrays."""
        return [self.signature.bind(inputs) for inputs in self._arrays("samples")]

    @property
    def references(self) -> Sequence[Any]:
        """What the source answered to each sample, with numpy arrays in the source's own containers."""
        return [self.signature.rebuild(outputs) for outputs in self._arrays("references")]

    def load(self, device: str | None = None) -> LoadedCandidate:
        """Load the best. Raises NothingCorrectError, holding for each candidate why it cannot be loaded here."""
        best = self.best
        if best is None:
            branches = [BranchError(f"{c.name}: {_obstacle(c) or c.reason}") for c in self.report.candidates]
            raise NothingCorrectError(f"nothing in {self.path} can be loaded here:", branches)
        return best.load(device)

    def attach(self, model: Any) -> None:
        """Give the model back to the candidates that exist only in memory. Raises RequestError for another kind."""
        installed = plugins.installed()
        name, _ = installed.identify(model, None)
        declared = installed.formats.get(name or "")
        live = {c.recipe.format for c in self.report.candidates if c.recipe is not None and c.recipe.live}
        if not isinstance(declared, Framework) or name not in live:
            raise RequestError(
                f"the package's candidates in memory are of {', '.join(live) or 'no'} models, not {name}"
            )
        prepare = getattr(declared.source.resolve(), "prepare", None)
        home = Home(self.signature, model, prepare)
        attached = [evolve(c, home=home) if c.recipe and c.recipe.live else c for c in self.report.candidates]
        self.report = evolve(self.report, candidates=tuple(attached))

    def optimize(self, **asked: Any) -> Report:
        """Optimize again, on this machine, from a portable format inside; keyword arguments as of `navigator.optimize`.

        The source is then the stored artifact, whose outputs were verified when the package was made. The result has
        the original's calling convention. Raises PackageError where no stored format can be a source here.
        """
        return self._again(checked(**asked))

    def profile(self, **asked: Any) -> Report:
        """Measure the stored portable format on this machine; keyword arguments as of `navigator.profile`."""
        return self._again(checked(**asked, check=False))

    def plan(self, **asked: Any) -> Plan:
        """What `optimize` would do; keyword arguments as of `navigator.plan`."""
        source = self._portable_source()
        assert source.path is not None
        return forecast.plan(source.path, self._arrays("samples"), checked(**asked))

    def _again(self, request: Request) -> Report:
        source = self._portable_source()
        assert source.path is not None
        made = engine.optimize(source.path, self._arrays("samples"), request)
        signature = made.signature.with_structure_of(self.signature)
        home = Home(signature, keep=self._folder)
        candidates = tuple(evolve(c, home=home) if c.recipe is not None else c for c in made.candidates)
        return evolve(made, candidates=candidates, signature=signature)

    def _portable_source(self) -> Candidate:
        """The stored artifact to start from: portable, of a format that can be a source, with the signature's names."""
        formats = plugins.installed().formats
        for candidate in self.report.candidates:
            if candidate.path is None or candidate.recipe is None or candidate.status != "ok":
                continue
            declared = formats.get(candidate.recipe.format)
            can_be = isinstance(declared, Format) and declared.portable and declared.signature is not None
            plain = not candidate.recipe.names.inputs and not candidate.recipe.names.outputs
            if can_be and plain and candidate.home is not None and candidate.home.locked is None:
                return candidate
        raise PackageError(
            f"{self.path} holds no format that can be a source here; install the plugin of one that it holds, or "
            "optimize the model itself again"
        )

    def deploy(self, deployer: str, path: str | Path, **keywords: Any) -> Path:
        """Write the best for a server; see `Report.deploy`."""
        keywords.setdefault("candidate", self.best)
        return self.report.deploy(deployer, path, **keywords)

    def _arrays(self, what: str) -> list[dict[str, np.ndarray]]:
        with Archive.open(self.path) as archive:
            names = [name for name in archive.names() if name.startswith(f"{what}/")]
            return [arrays.load(io.BytesIO(archive.read(name, 2**32))) for name in names]


def reopen(path: Path, *, trust: bool = False, extract: bool = True) -> Package:
    """Open and check a package; ``extract=False`` for a look at its report only. Raises PackageError."""
    with Archive.open(path) as archive:
        made = _read_report(archive, path)
        trusted = trust or _signed(archive)
        if not extract:
            return Package(path, made)
        folder = _Folder()
        artifacts = [name for name in archive.names() if name.startswith("artifacts/")]
        archive.extract(folder.path, artifacts)
    signature = made.signature
    candidates = tuple(_placed(c, folder, signature, trusted, set(artifacts)) for c in made.candidates)
    lost = sorted(set(structure.unbuildable(signature.structure.output if signature.structure else None)))
    notes = tuple(f"{name} is not to be had here: it becomes a dict that also answers to attributes" for name in lost)
    return Package(path, evolve(made, candidates=candidates, notes=(*made.notes, *notes)), folder)


class _Folder:
    """A temporary folder, gone with the last that refers to it: neither packages nor candidates need closing."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="navigator-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _read_report(archive: Archive, path: Path) -> Report:
    try:
        return report.from_dict(json.loads(archive.read(REPORT, LARGEST_REPORT)))
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise PackageError(f"{path}: its report cannot be read: {error}") from error


def _signed(archive: Archive) -> bool:
    if SIGNATURE not in archive.names():
        return False
    try:
        signature = json.loads(archive.read(SIGNATURE, 4096))["hmac-sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    digests = {name: one["sha256"] for name, one in archive.manifest["files"].items() if name != SIGNATURE}
    return isinstance(signature, str) and signing.signed_here(digests, signature)


def _placed(candidate: Candidate, folder: _Folder, signature: Signature, trusted: bool, inside: set[str]) -> Candidate:
    """The candidate with its artifact's path on this machine and what it needs to be loaded."""
    if candidate.recipe is None:
        return candidate
    locked = None
    if candidate.path is None and not candidate.recipe.live:
        locked = f"{candidate.name} is not stored in this package; optimize again to have it"
    elif candidate.recipe.executes_code and not trusted:
        locked = (
            f"{candidate.name} is {candidate.recipe.format}, which can execute code when it is loaded; if you trust "
            "where the package comes from, nav.load(..., trust=True)"
        )
    path = candidate.path
    if path is not None:
        if not any(name == path.as_posix() or name.startswith(f"{path.as_posix()}/") for name in inside):
            raise PackageError(f"the report names {path}, which is not in the package")
        path = folder.path / path
    return evolve(candidate, path=path, home=Home(signature, locked=locked, keep=folder))


def _obstacle(candidate: Candidate) -> str | None:
    """Why a candidate of a package cannot be loaded here; None if nothing is known to stand in the way."""
    home: Home | None = candidate.home
    if candidate.recipe is None or home is None:
        return candidate.reason or "it was not stored"
    if home.locked:
        return home.locked
    if candidate.recipe.live and home.model is None:
        return "it exists only in memory; give it its model: package.attach(model)"
    runner = runner_of(candidate.recipe, plugins.installed())
    if runner is None:
        return not_here(candidate.recipe, plugins.installed())
    lacking = availability.missing(runner.requirements)
    if lacking is not None:
        return str(lacking)
    return None if kind(candidate.device) == CPU else device_missing(candidate.device)
