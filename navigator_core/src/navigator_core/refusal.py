"""What is wrong with an archive, without its path, which whoever opened it puts in front; and how to say it."""

from __future__ import annotations


class RefusedError(Exception):
    """A rule that does not hold, as the end of a sentence that begins with the archive's path."""


def require(condition: object, problem: str) -> None:
    """Raises `RefusedError` unless the condition holds."""
    if not condition:
        raise RefusedError(problem)


def plainly(text: str) -> str:
    """The text with every character that a terminal would obey, or cannot show, written as its escape."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(character: str) -> str:
    return character if character.isprintable() or character in "\n\t" else repr(character)[1:-1]
