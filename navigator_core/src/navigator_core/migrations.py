"""Older packages brought up to today's schema, a step at a time; newer ones told from damage.

A change of what a package's documents mean takes a new schema, and a `Migration` from the one before, which stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import frozen
from packaging.version import InvalidVersion, Version

from navigator_core import __version__
from navigator_core.refusal import RefusedError, require

SCHEMA = 2
"""What is written. 2: a report names runners and formats, and no longer the code that they stand for."""

LONGEST_VERSION = 40

Document = Mapping[str, Any]


def _as_it_is(document: Document) -> Document:
    return document


@frozen
class Migration:
    """From one schema to the next: what becomes of ``manifest.json`` and of ``report.json``."""

    manifest: Callable[[Document], Document] = _as_it_is
    report: Callable[[Document], Document] = _as_it_is


def schema_of(manifest: Any) -> int:
    """The schema that a manifest says it has. Raises RefusedError for none, and for one that is not known here."""
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if type(schema) is not int:
        raise RefusedError("its manifest has no schema number")
    require(schema <= SCHEMA, _newer(schema, manifest.get("navigator")))
    lost = [version for version in range(max(schema, 0), SCHEMA) if version not in MIGRATIONS]
    require(schema >= 0 and not lost, f"has schema {schema}, which this Navigator cannot read any more")
    return schema


def manifest(document: Document, schema: int) -> Document:
    """A manifest of that schema in today's form."""
    for version in range(schema, SCHEMA):
        document = {**MIGRATIONS[version].manifest(document), "schema": version + 1}
    return document


def report(document: Document, schema: int) -> Document:
    """A report of that schema in today's form. Raises whatever a document of another form makes Python raise."""
    for version in range(schema, SCHEMA):
        document = {**MIGRATIONS[version].report(document), "schema": version + 1}
    return document


def _newer(schema: int, navigator: object) -> str:
    """What to install; the newer package says by which version it was written."""
    try:
        wrote, mine = Version(navigator if isinstance(navigator, str) else ""), Version(__version__)
    except (InvalidVersion, ValueError):  # a number of thousands of digits
        wrote = mine = Version("0")
    known = f"this one, {__version__}, reads up to {SCHEMA}"
    if wrote <= mine or len(str(wrote)) > LONGEST_VERSION:
        return f"was written by a newer Navigator (schema {schema}; {known}); install a newer navigator-core"
    return (
        f"was written by a newer Navigator, {wrote} (schema {schema}; {known}): "
        f"pip install 'navigator-core>={wrote.public}'"
    )


def _without_code(document: Document) -> Document:
    """Schema 1 wrote down which functions load a candidate; who is installed says that, not the package."""
    kept = {"name", "options", "passed"}

    def candidate(one: Any) -> Any:
        if not isinstance(one["recipe"], dict):
            return one
        recipe = {key: value for key, value in one["recipe"].items() if key not in ("portable", "executes_code")}
        runner = {key: value for key, value in recipe["runner"].items() if key in kept}
        return {**one, "recipe": {**recipe, "runner": runner}}

    return {**document, "candidates": [candidate(one) for one in document["candidates"]]}


MIGRATIONS: dict[int, Migration] = {1: Migration(report=_without_code)}
"""By the schema that they start from."""
