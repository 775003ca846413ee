"""Questions to another environment's interpreter: a process for each, an answer in a file, a sentence where none comes.

Nothing is read from what that process prints: a plugin that is imported there may print what it likes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import navigator_core
from navigator_core import elsewhere

TIMEOUT = 60.0
"""Seconds for an answer."""

OLDEST, NEWEST = (3, 11), (3, 13)

BOOT = """
import json, os, sys
sys.path[:] = [entry for entry in sys.path if entry]
folder, expected = sys.argv[1:]
answer = {"python": list(sys.version_info[:3])}
if sys.version_info >= (3, 11):
    try:
        import navigator_core
    except ImportError as error:
        answer["missing"] = str(error)
    else:
        answer["core"] = str(getattr(navigator_core, "__version__", "unknown"))
        if answer["core"] == expected:
            try:
                from navigator_core import answering
            except ImportError as error:
                answer["missing"] = str(error)
            else:
                answering.main(folder)
                os._exit(0)
with open(os.path.join(folder, "part"), "w") as file:
    json.dump(answer, file)
os.rename(os.path.join(folder, "part"), os.path.join(folder, "answer.json"))
"""
"""What the interpreter runs, whichever it is: this has to be Python for one that is too old to run the core, too."""


class NoAnswerError(Exception):
    """Nothing that can be used came back: why, and what helps, one sentence each."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason = reason
        self.remedy = remedy


def ask(python: str, question: Mapping[str, Any]) -> Any:
    """What `answering` in another interpreter says to a question, both of them data. Raises `NoAnswerError`."""
    with tempfile.TemporaryDirectory(prefix="navigator-asking-") as name:
        folder = Path(name)
        (folder / "question.json").write_text(json.dumps(question))
        ended = _run(python, folder)
        try:
            answer = json.loads((folder / "answer.json").read_text())
        except FileNotFoundError:
            raise NoAnswerError(
                f"{python} gave no answer: it {ended}{_last_words(folder)}", "see what it is, or name another"
            ) from None
    if "answer" in answer:
        return answer["answer"]
    raise _unfit(python, answer)


def _unfit(python: str, answer: Mapping[str, Any]) -> NoAnswerError:
    version = ".".join(map(str, answer.get("python", ())))
    if "raised" in answer:
        return NoAnswerError(f"{python}: {answer['raised']}", "see what is amiss with the plugins there")
    if not OLDEST <= tuple(answer["python"][:2]) <= NEWEST:
        wanted = " to ".join(".".join(map(str, one)) for one in (OLDEST, NEWEST))
        return NoAnswerError(f"{python} is Python {version}", f"make the environment with Python {wanted}")
    ours = navigator_core.__version__
    install = f"{python} -m pip install navigator-core=={ours}"
    core = answer.get("core")
    if core is None:
        return NoAnswerError(f"{python} has no navigator-core ({answer['missing']})", install)
    if core != ours:
        return NoAnswerError(f"{python} has navigator-core {core}, and this is {ours}: they must be equal", install)
    return NoAnswerError(f"{python} has a navigator-core {core} that is not whole ({answer['missing']})", install)


def _run(python: str, folder: Path) -> str:
    """Let it answer; how it ended, as the end of a sentence."""
    with (folder / "log.txt").open("wb") as log:
        try:
            process = subprocess.Popen(
                [python, "-c", BOOT, str(folder), navigator_core.__version__],
                env=elsewhere.surroundings(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise NoAnswerError(
                f"there is no interpreter {python}", "make the environment again, or register another"
            ) from None
        except OSError as error:
            raise NoAnswerError(f"{python} cannot be run ({error.strerror})", "name a Python interpreter") from None
    try:
        code = process.wait(TIMEOUT)
    except subprocess.TimeoutExpired:
        return f"was stopped after {TIMEOUT:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return f"ended with exit code {code}" if code >= 0 else f"was ended by signal {-code}"


def _last_words(folder: Path) -> str:
    lines = (folder / "log.txt").read_bytes()[-4000:].decode(errors="replace").strip().splitlines()
    last = " ".join(lines[-1].split())[:300] if lines else ""
    return f"; its last line: {last}" if last else ""
