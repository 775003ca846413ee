"""What is wrong with an archive, without its path: whoever opened it puts that in front."""

from __future__ import annotations


class RefusedError(Exception):
    """A rule that does not hold, as the end of a sentence that begins with the archive's path."""


def require(condition: object, problem: str) -> None:
    """Raises `RefusedError` unless the condition holds."""
    if not condition:
        raise RefusedError(problem)
