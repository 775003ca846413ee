"""A file takes another's place whole or not at all, and clears away what killed processes left."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from navigator_core import archive
from navigator_core.replacing import replacing

KILLED = """
import os, signal, sys
from pathlib import Path
from navigator_core.replacing import replacing
with replacing(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder):
    return sorted(one.name for one in folder.iterdir())


@pytest.fixture
def killed(tmp_path):
    """The target of a save that was killed, with what it left."""
    target = tmp_path / "model.nav"
    target.write_bytes(b"before")
    done = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(names(tmp_path)) == 2
    assert target.read_bytes() == b"before"
    return target


def test_what_a_killed_save_left_is_removed_by_the_next(killed, tmp_path):
    (tmp_path / "other.nav").touch()
    (tmp_path / ".other.nav.00000000.tmp").touch()
    (tmp_path / ".model.nav.mine.tmp").touch()
    archive.write(killed, {}, {"a": b"a"})
    assert names(tmp_path) == [".model.nav.mine.tmp", ".other.nav.00000000.tmp", "model.nav", "other.nav"]
    with archive.Archive.open(killed) as opened:
        assert opened.names() == ("a",)


def test_what_another_process_is_writing_stays(tmp_path):
    target = tmp_path / "model.nav"
    with replacing(target) as slow:
        slow.write(b"slow")
        with replacing(target) as fast:
            fast.write(b"fast")
        assert target.read_bytes() == b"fast"
    assert target.read_bytes() == b"slow"
    assert names(tmp_path) == ["model.nav"]


def test_many_at_once_all_succeed(tmp_path):
    target = tmp_path / "model.nav"
    failed = []

    def write(number):
        try:
            for _ in range(50):
                with replacing(target) as file:
                    file.write(b"%d" % number)
        except OSError as error:
            failed.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert failed == []
    assert names(tmp_path) == ["model.nav"]


def test_what_raises_leaves_everything_as_it_was(tmp_path):
    target = tmp_path / "model.nav"
    target.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replacing(target) as file:
        file.write(b"half" * (1 // 0))
    assert target.read_bytes() == b"before"
    assert names(tmp_path) == ["model.nav"]


def test_the_file_and_then_its_name_are_on_the_disk(tmp_path, monkeypatch):
    target = tmp_path / "model.nav"
    synced = []
    real = os.fsync

    def fsync(descriptor):
        synced.append((str(Path(f"/proc/self/fd/{descriptor}").readlink()), target.exists()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(target) as file:
        file.write(b"new")
    (first, before), second = synced
    assert first.endswith(".tmp")
    assert (before, second) == (False, (str(tmp_path), True))
