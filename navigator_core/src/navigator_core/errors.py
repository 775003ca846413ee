"""What Navigator raises: one taxonomy, every message saying what was expected and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Self

    from navigator_core.report import Report


IN_A_WORKER = "Where it was raised, in a worker:"
"""In the note of an exception that the user's own model raised: their traceback follows."""


class NavigatorError(Exception):
    """The base of everything that Navigator raises on purpose."""


class RequestError(NavigatorError, ValueError):
    """The caller can fix it: a name with a typo, samples that do not fit, a model that nothing recognises."""


class NoPathError(NavigatorError):
    """No conversion leads where the request wants to go; the message lists every edge that would have helped."""


class PluginError(NavigatorError):
    """A plugin broke its contract; the message names the plugin and what its author must change."""


class NothingToDoError(NavigatorError):
    """For an implementation to raise: this model has nothing that it could change; the message says what is missing.

    Its branch is "skipped" then, with that sentence, rather than "failed": nothing went wrong.
    """


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM ended a run. ``signal`` names which, ``report`` holds what was finished before.

    It is None where the run had not come so far that there was anything to report. The same call goes on from there.
    """

    def __init__(self, signal: str, report: Report | None = None) -> None:
        more = "" if report is None else "; .report holds what was finished, and the same call goes on from there"
        super().__init__(f"interrupted by {signal}{more}")
        self.signal = signal
        self.report = report


class PackageError(NavigatorError):
    """A package cannot be written, read or trusted."""


class WorkspaceError(RequestError):
    """The workspace cannot be used: not writable, or a folder that Navigator did not make."""


class BranchError(NavigatorError):
    """What happened to one branch: ``"torch->onnx[dynamo] @ onnxruntime-cpu: incorrect: ..."``."""


class NothingCorrectError(NavigatorError, ExceptionGroup[BranchError]):
    """No candidate may be used; holds one `BranchError` for each branch."""

    def __new__(cls, message: str, branches: Sequence[BranchError]) -> Self:
        """A group is never empty: no branch at all is said as well."""
        return super().__new__(cls, message, list(branches) or [BranchError("no branch was planned")])

    def derive(self, excs: Sequence[BranchError]) -> NothingCorrectError:  # type: ignore[override]
        """What `split` and `subgroup` build."""
        return NothingCorrectError(self.message, excs)

    def __str__(self) -> str:
        return "\n".join([self.message, *(f"  {branch}" for branch in self.exceptions)])


def unknown(kind: str, name: str, known: Iterable[str], meant: Iterable[str] = ()) -> RequestError:
    """The error for a name that does not exist, with those that are ``meant``, else the closest ones that do."""
    choices = sorted(set(known))
    close = sorted(meant) or difflib.get_close_matches(name, choices, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}?" if close else f"known: {', '.join(choices) or 'none'}"
    return RequestError(f"unknown {kind} {name!r}; {hint}")
