"""Can this run here? Asked of installed metadata, never by importing; answered with a reason and a remedy."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from functools import cache
from typing import Protocol

import importlib_metadata
from attrs import frozen
from packaging import requirements as pep508
from packaging.version import InvalidVersion, Version

from navigator_core.declarations import Probe, Requirement
from navigator_core.errors import PluginError


@frozen
class Unavailable:
    """Why something cannot run here and what really helps, one sentence each."""

    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.reason}; {self.remedy}"


@frozen
class Answered(Requirement):
    """A requirement of another environment: it was asked there what is lacking."""

    lacking: Unavailable | None = None


def missing(requirements: Iterable[Requirement | Probe]) -> Unavailable | None:
    """The first requirement that the installed distributions do not meet; None when all hold.

    Probes are passed over: they hold until `run_probe` says otherwise, in a worker. An alternative whose marker
    does not apply here is no alternative; a requirement with none left asks for nothing, as pip has it.
    Raises PluginError for a malformed requirement, which discovery has already refused.

    >>> missing([Requirement("no-such-thing>=2")])
    Unavailable(reason='needs no-such-thing>=2, which is not installed', remedy="pip install 'no-such-thing>=2'")
    """
    for requirement in requirements:
        unmet = _unmet(requirement) if isinstance(requirement, Requirement) else None
        if unmet is not None:
            return unmet
    return None


def probes(requirements: Iterable[Requirement | Probe]) -> tuple[Probe, ...]:
    """The questions that only the machine can answer, in order."""
    return tuple(r for r in requirements if isinstance(r, Probe))


def run_probe(probe: Probe) -> Unavailable | None:
    """Ask the machine. It imports what the probe imports, so this belongs in a worker.

    A check that raises, or that answers anything but None or a sentence, means unavailable.
    """
    try:
        answer = probe.check.resolve()()
    except Exception as error:
        return Unavailable(f"the check {probe.check} failed: {type(error).__name__}: {error}", probe.remedy)
    if answer is None:
        return None
    if not isinstance(answer, str):
        answer = f"the check {probe.check} returned {answer!r} where None or a sentence is due"
    return Unavailable(answer, probe.remedy)


@cache
def parse(text: str) -> pep508.Requirement:
    """A PEP 508 string as `packaging` reads it. Raises PluginError for a malformed one."""
    try:
        return pep508.Requirement(text)
    except pep508.InvalidRequirement as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(f"malformed requirement {text!r}: {reason}; PEP 508 has 'name>=1,<2'") from None


@cache
def installed_version(name: str) -> str | None:
    """The version of an installed distribution, None where it is not installed. Remembered until `reset`."""
    try:
        return header(importlib_metadata.distribution(name), "Version")
    except (importlib_metadata.PackageNotFoundError, OSError, ValueError):
        return None  # a damaged one is as good as none: no tool could name its version


def reset() -> None:
    """Forget what was looked up: something may have been installed since."""
    installed_version.cache_clear()
    _requires.cache_clear()


class Distribution(Protocol):
    """What is used of an installed distribution."""

    def read_text(self, filename: str) -> str | None:
        """One of its metadata files."""


def header(distribution: Distribution, field: str) -> str | None:
    """One line of a distribution's metadata: "Name" or "Version".

    ``distribution.version`` says the same through the email package, whose first use costs 23 ms, half of what
    discovery may take.
    """
    read = distribution.read_text
    text = read("METADATA") or read("PKG-INFO") or read("") or ""  # the last: an egg-info that is a file
    for line in text.partition("\n\n")[0].splitlines():
        name, _, value = line.partition(":")
        if name.lower() == field.lower():
            return value.strip()
    return None


@frozen
class _Lack:
    """What one alternative lacks, as the end of "needs x, ..." and as a statement of its own."""

    clause: str
    statement: str
    absent: bool = False


def _unmet(requirement: Requirement) -> Unavailable | None:
    if isinstance(requirement, Answered):
        return requirement.lacking
    wanted = [text for text in requirement.any_of if _applies(parse(text))]
    lacks = [_lack(text, frozenset()) for text in wanted]
    found = [lack for lack in lacks if lack is not None]
    if len(found) < len(lacks) or not found:
        return None
    names = [_without_marker(text) for text in wanted]
    remedy = requirement.remedy or f"pip install {shlex.quote(names[0])}"
    return Unavailable(f"needs {' or '.join(names)}{_ending(found)}", remedy)


def _ending(lacks: list[_Lack]) -> str:
    if len(lacks) == 1:
        return f", {lacks[0].clause}"
    if all(lack.absent for lack in lacks):
        return f"; {'neither' if len(lacks) == 2 else 'none of them'} is installed"
    return "; " + ", ".join(lack.statement for lack in lacks)


def _lack(text: str, asked: frozenset[str]) -> _Lack | None:
    wanted = parse(text)
    version = installed_version(wanted.name)
    if version is None:
        return _Lack("which is not installed", f"{wanted.name} is not installed", absent=True)
    if not _fits(wanted, version):
        return _Lack(f"but {version} is installed", f"{wanted.name} {version} is installed")
    return _lack_of_extras(wanted, asked)


def _fits(wanted: pep508.Requirement, version: str) -> bool:
    try:
        installed = Version(version)
    except InvalidVersion:
        return not wanted.specifier
    return wanted.specifier.contains(installed, prereleases=True)  # what is installed was wanted, pre-release or not


def _lack_of_extras(wanted: pep508.Requirement, asked: frozenset[str]) -> _Lack | None:
    """What the named extras need. One that the distribution does not know needs nothing, as pip has it."""
    for extra in sorted(wanted.extras):
        key = f"{wanted.name}[{extra}]"
        for text in _requires(wanted.name) if key not in asked else ():
            needed = parse(text)
            if _applies(needed) or not _applies(needed, extra):
                continue  # needed anyway: that was pip's to check
            lack = _lack(text, asked | {key})
            if lack is not None:
                clause = f"whose extra needs {_without_marker(text)}, {lack.clause}"
                return _Lack(clause, f"{key} needs {_without_marker(text)}, {lack.clause}")
    return None


@cache
def _requires(name: str) -> tuple[str, ...]:
    return tuple(importlib_metadata.requires(name) or ())


def _applies(wanted: pep508.Requirement, extra: str = "") -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _without_marker(text: str) -> str:
    return text.partition(";")[0].strip()
