"""The package reader on damaged packages: each is refused by a PackageError or read, in little time and memory.

Whatever it does besides (a file outside the folder for temporary ones, a process, a pickle) is heard by an audit hook.
"""

import gc
import os
import signal
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import mutations
import numpy as np
import pytest

from navigator_core.errors import PackageError
from navigator_core.memory import PeakMemory
from navigator_core.package import reopen
from navigator_core.testing import miniframework, using

SECONDS = 20
"""Of this process's own time, for one input: far more than any takes."""
MEMORY = 200 * 2**20
FORBIDDEN = (
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
)
CHANGES = {
    "open": 0, "os.mkdir": 0, "os.rename": 1, "os.symlink": 1, "os.link": 1, "os.remove": 0, "os.rmdir": 0,
    "os.truncate": 0, "os.chmod": 0, "shutil.rmtree": 0,
}  # fmt: skip
"""Events that touch the file system, and which of their arguments is what they make or change."""


EXPECTED = {"m.nav", "whole", "temporary", "report.html"}


class TooLong(BaseException):
    """Not an Exception: nobody may take it for damage."""


class Heard:
    """What happened while it was listening that no reader of packages may do. An audit hook can never be taken off."""

    def __init__(self):
        self.inside = None
        self.wrong = []
        sys.addaudithook(self._hear)

    def _hear(self, event, arguments):
        if self.inside is not None and (event in FORBIDDEN or self._changes_outside(event, arguments)):
            self.wrong.append((event, arguments))

    def _changes_outside(self, event, arguments):
        if event not in CHANGES or (event == "open" and not _writes(*arguments)):
            return False
        path = arguments[CHANGES[event]]
        if isinstance(path, int) or path in ("/dev/null", "/proc/self/clear_refs"):
            return False
        if event != "open" and not Path(os.fsdecode(path)).is_absolute() and arguments[-1] != -1:
            return False  # relative to an open folder, as shutil.rmtree clears one that was opened by its path
        return not Path(os.path.realpath(os.fsdecode(path))).is_relative_to(self.inside)


def _writes(path, mode, flags):
    return bool(set(mode) & set("wax+")) if mode else bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


@pytest.fixture(scope="module")
def heard():
    return Heard()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A package with an artifact, samples, references and a signature, of a framework that needs no installation."""
    from navigator_core import optimize as engine
    from navigator_core import request

    folder = tmp_path_factory.mktemp("whole")
    weight, bias = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3), np.ones(3, "float32")
    samples = [miniframework.Array(np.linspace(0, 1, 4 * n, dtype="float32").reshape(n, 4)) for n in (1, 2)]
    with using(miniframework), pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAVIGATOR_PROGRESS", "0")
        asked = request.checked(workspace=folder / "workspace", seconds=0.02, batch_sizes=[1])
        report = engine.optimize(miniframework.Model(weight, bias), samples, asked)
        return report.save(folder / "whole.nav").read_bytes()


@contextmanager
def limited(heard, folder):
    def late(*_):
        raise TooLong

    before = signal.signal(signal.SIGPROF, late)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    heard.wrong.clear()
    heard.inside = folder
    try:
        yield
    finally:
        heard.inside = None
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def read(path):
    """Everything that a reader does short of loading a model."""
    package = reopen(path)
    str(package.report)
    package.report.html(path.with_name("report.html"))
    return package.best, package.samples, package.references


def try_all(whole, seeds, heard, folder, monkeypatch):
    (folder / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "temporary"))
    gc.collect()  # packages of other tests clear up after themselves, which would be heard
    path = folder / "m.nav"
    outcomes, problems = {"read": 0, "refused": 0}, []
    path.write_bytes(whole)
    with using(miniframework):
        read(path)  # what is imported on the way is
        for seed in seeds:
            path.write_bytes(mutations.mutated(whole, seed, folder))
            with PeakMemory() as memory, limited(heard, folder):
                try:
                    read(path)
                except PackageError as error:
                    outcomes["refused"] += 1
                    if not str(error).replace("\n", "").isprintable():
                        problems.append(f"seed {seed}: {error!r} would be obeyed by a terminal")
                except BaseException as error:
                    problems.append(f"seed {seed}: {type(error).__name__}: {error}")
                else:
                    outcomes["read"] += 1
            if heard.wrong:
                problems.append(f"seed {seed}: {heard.wrong}")
            if memory.peak > MEMORY:
                problems.append(f"seed {seed}: {memory.peak / 2**20:.0f} MiB")
            left = {p.name for p in folder.iterdir()} - EXPECTED or {p.name for p in (folder / "temporary").iterdir()}
            if left:
                problems.append(f"seed {seed} left {left}")
    assert not problems, "\n".join(problems[:20])
    return outcomes


def test_a_damaged_package_is_refused_or_read(whole, heard, tmp_path, monkeypatch):
    outcomes = try_all(whole, range(1000), heard, tmp_path, monkeypatch)
    assert outcomes["refused"] > 600
    assert outcomes["read"] > 50


def test_no_number_of_a_report_makes_it_fail(whole, tmp_path):
    """Each number in turn, as whoever writes a package may choose it."""
    path, wrong, count = tmp_path / "m.nav", [], 0
    with using(miniframework):
        for package, what in mutations.other_numbers(whole, "report.json", (0, -1, {"float": "nan"}, {"float": "inf"})):
            path.write_bytes(package)
            count += 1
            try:
                read(path)
            except PackageError:
                pass
            except Exception as error:
                wrong.append(f"{what}: {error!r}")
    assert not wrong, "\n".join(wrong)
    assert count > 400


@pytest.mark.long
def test_twenty_thousand_damaged_packages_are_refused_or_read(whole, heard, tmp_path, monkeypatch):
    outcomes = try_all(whole, range(1000, 21_000), heard, tmp_path, monkeypatch)
    assert outcomes["refused"] > 12_000
    assert outcomes["read"] > 1000


def test_the_hook_hears_what_no_reader_may_do(heard, tmp_path):
    (tmp_path / "inside").mkdir()
    with limited(heard, tmp_path / "inside"):
        (tmp_path / "inside" / "good").write_text("")
        assert heard.wrong == []
        (tmp_path / "bad").write_text("")
        (tmp_path / "bad").rename(tmp_path / "worse")
    assert {event for event, _ in heard.wrong} == {"open", "os.rename"}
