"""A ``.nav`` package: the report, samples with their references, the winners, and what to rebuild others from."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, evolve, field

from navigator_core import (
    arrays,
    availability,
    forecast,
    migrations,
    outcome,
    plugins,
    recipes,
    report,
    serde,
    signing,
    soundness,
    structure,
)
from navigator_core import optimize as engine
from navigator_core.archive import Archive
from navigator_core.candidates import Candidate, Home, LoadedCandidate, device_missing
from navigator_core.declarations import Format, Framework
from navigator_core.elsewhere import split
from navigator_core.errors import BranchError, Interrupted, NothingCorrectError, PackageError, RequestError
from navigator_core.forecast import Plan
from navigator_core.packing import REPORT, SIGNATURE
from navigator_core.refusal import plainly
from navigator_core.report import Report
from navigator_core.request import Request, checked
from navigator_core.signature import Call, Signature
from navigator_core.survey import CPU, kind

LARGEST_REPORT = 16 * 2**20
LARGEST_SIGNATURE = 4096
STANDS_IN = "it becomes a dict that also answers to attributes"


@define(repr=False)
class Package:
    """An opened package. The file is never changed.

    ``best`` is the best candidate that can be loaded here. Artifacts lie in a folder of this process, gone with it.
    """

    path: Path
    report: Report
    _folder: Any = field(default=None)

    def __repr__(self) -> str:
        return f"Package({str(self.path)!r}, best={self.report.best_name!r})"

    def __str__(self) -> str:
        return str(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    @property
    def signature(self) -> Signature:
        """What the model takes and returns."""
        return self.report.signature

    @property
    def best(self) -> Candidate | None:
        """The first in order of merit that may win, is stored, trusted, and whose runner works here."""
        wins = (c for c in self.report.candidates if c.status == "ok" and c.reason is None)
        return next((c for c in wins if obstacle(c) is None), None)

    @property
    def samples(self) -> Sequence[Call]:
        """The samples as calls, with numpy arrays."""
        return [self.signature.bind(inputs) for inputs in self._arrays("samples", self._inputs)]

    @property
    def references(self) -> Sequence[Any]:
        """What the source answered to each sample, with numpy arrays in the source's own containers."""
        names = {spec.name for spec in self.signature.outputs}
        return [self.signature.rebuild(outputs) for outputs in self._arrays("references", names)]

    def load(self, device: str | None = None) -> LoadedCandidate:
        """Load the best. Raises NothingCorrectError, holding for each candidate why it cannot be loaded here."""
        best = self.best
        if best is None:
            branches = [BranchError(f"{c.name}: {obstacle(c) or c.reason}") for c in self.report.candidates]
            lacking = outcome.absent(self.report.environment)
            helps = f"; of what it was made with, not installed here: {', '.join(lacking)}" if lacking else ""
            raise NothingCorrectError(f"nothing in {self.path} can be loaded here{helps}:", branches)
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
        return forecast.plan(source.path, self._arrays("samples", self._inputs), checked(**asked))

    def _again(self, request: Request) -> Report:
        source = self._portable_source()
        assert source.path is not None
        try:
            return self._as_before(engine.optimize(source.path, self._arrays("samples", self._inputs), request))
        except Interrupted as stop:
            raise Interrupted(stop.signal, self._as_before(stop.report) if stop.report else None) from None

    def _as_before(self, made: Report) -> Report:
        """The report on the stored artifact, with the original's calling convention."""
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

    @property
    def _inputs(self) -> set[str]:
        return {spec.name for spec in self.signature.inputs}

    def _arrays(self, what: str, names: Collection[str]) -> list[dict[str, np.ndarray]]:
        """The arrays of each file in a folder, which must be those of these names."""
        with Archive.open(self.path) as archive, tempfile.TemporaryDirectory(prefix="navigator-") as folder:
            files = [name for name in archive.names() if name.startswith(f"{what}/")]
            archive.extract(Path(folder), files)
            return [_load_arrays(self.path, Path(folder), name, names) for name in files]


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
    signature, lost = _buildable(made.signature, trusted)
    candidates = tuple(_placed(c, folder, signature, trusted, set(artifacts)) for c in made.candidates)
    return Package(path, evolve(made, candidates=candidates, signature=signature, notes=(*made.notes, *lost)), folder)


class _Folder:
    """A temporary folder, gone with the last that refers to it: neither packages nor candidates need closing."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="navigator-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


def _read_report(archive: Archive, path: Path) -> Report:
    text = archive.read(REPORT, LARGEST_REPORT)
    with _blaming(f"{path}: its report cannot be read"):
        document = migrations.report(serde.parse(text), archive.schema)
        document = {
            key: value if key == "signature" else soundness.shown_safely(value) for key, value in document.items()
        }
        made = report.from_dict(recipes.with_code(document, plugins.installed()))
        soundness.check(made)
        return made


def _load_arrays(path: Path, folder: Path, name: str, names: Collection[str]) -> dict[str, np.ndarray]:
    with _blaming(f"{path}: {name} cannot be read"):
        arrays.check(folder / name)
        found = arrays.load(folder / name)
        if found.keys() != set(names):
            raise ValueError(f"it holds {sorted(found)}, and the report says {sorted(names)}")
        return found


@contextmanager
def _blaming(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what a stranger's data makes Python and numpy raise is not foreseeable
        problem = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise PackageError(f"{what}: {plainly(problem)}") from error


def _signed(archive: Archive) -> bool:
    if SIGNATURE not in archive.names():
        return False
    text = archive.read(SIGNATURE, LARGEST_SIGNATURE)
    try:
        signature = serde.parse(text)["hmac-sha256"]
    except (ValueError, KeyError, TypeError):
        return False
    digests = {name: one["sha256"] for name, one in archive.manifest["files"].items() if name != SIGNATURE}
    return isinstance(signature, str) and signing.signed_here(digests, signature)


def _buildable(signature: Signature, trusted: bool) -> tuple[Signature, list[str]]:
    """The signature with containers that this process can build, and a note on each that it stands in for."""
    if signature.structure is None:
        return signature, []
    output = signature.structure.output
    if trusted:
        lost = set(structure.unbuildable(output))
        return signature, [f"{name} is not to be had here: {STANDS_IN}" for name in sorted(lost)]
    nodes = [parameter.node for parameter in signature.structure.parameters]
    found = [structure.without_imports(node) if node is not None else (None, set()) for node in (*nodes, output)]
    parameters = tuple(
        evolve(parameter, node=node)
        for parameter, (node, _) in zip(signature.structure.parameters, found[:-1], strict=True)
    )
    made = evolve(signature, structure=evolve(signature.structure, parameters=parameters, output=found[-1][0]))
    unknown = sorted({name for _, names in found for name in names})
    return made, [
        f"{name} is not imported for a package that may be a stranger's: {STANDS_IN}; import it before, or "
        "nav.load(..., trust=True)"
        for name in unknown
    ]


def _placed(candidate: Candidate, folder: _Folder, signature: Signature, trusted: bool, inside: set[str]) -> Candidate:
    """The candidate with its artifact's path on this machine and what it needs to be loaded."""
    if candidate.recipe is None:
        return candidate
    name, kind_of_file = candidate.recipe.runner.name, candidate.recipe.format
    runner = plugins.installed().runner_for(name)
    locked = None
    if runner is None and split(name)[1] is not None:
        locked = plugins.installed().why_no_runner(name)
    elif runner is None:
        locked = f"it needs the runner {name!r}, which no installed plugin declares"
    elif not candidate.recipe.live and kind_of_file not in runner.formats:
        locked = f"it is {kind_of_file}, which the runner {name!r} that is installed does not run"
    elif candidate.path is None and not candidate.recipe.live:
        locked = "it is not stored in this package; optimize again to have it"
    elif candidate.recipe.executes_code and not trusted:
        locked = (
            f"it is {kind_of_file}, which can execute code when it is loaded; if you trust "
            "where the package comes from, nav.load(..., trust=True)"
        )
    path = candidate.path
    if path is not None:
        if not any(name == path.as_posix() or name.startswith(f"{path.as_posix()}/") for name in inside):
            raise PackageError(f"the report names {path}, which is not in the package")
        path = folder.path / path
    return evolve(candidate, path=path, home=Home(signature, locked=locked, keep=folder))


def obstacle(candidate: Candidate) -> str | None:
    """Why a candidate of a package cannot be loaded here; None if nothing is known to stand in the way."""
    home: Home | None = candidate.home
    if candidate.recipe is None or home is None:
        return candidate.reason or "it was not stored"
    if home.locked:
        return home.locked
    if candidate.recipe.live and home.model is None:
        return "it exists only in memory; give it its model: package.attach(model)"
    runner = plugins.installed().runner_for(candidate.recipe.runner.name)
    if runner is None:
        return plugins.installed().why_no_runner(candidate.recipe.runner.name)
    lacking = availability.missing(runner.requirements)
    if lacking is not None:
        return str(lacking)
    try:
        if candidate.recipe.runner.environment is None:  # another one's are known there
            candidate.recipe.runner.built_options()
    except (ValueError, TypeError) as error:
        return f"its options are not those of the runner {runner.name!r} that is installed: {error}"
    return None if kind(candidate.device) == CPU else device_missing(candidate.device)
