"""A process tree is found and ended as a whole, whatever its members do to leave it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from navigator_core import Ref, processes
from navigator_core.execution import Done, Job, Workers

STEPS = """
import os, subprocess, sys, time

DAEMON = '''
import os, sys, time
if os.fork():
    os._exit(0)
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1], "w") as file:
    file.write(str(os.getpid()))
time.sleep(1000)
'''

def daemon(argument, folder, emit):
    subprocess.run([sys.executable, "-c", DAEMON, argument], check=True)
    while not os.path.exists(argument) or not open(argument).read():
        time.sleep(0.01)
    emit({"worker": os.getppid()})
    return open(argument).read()

def daemon_and_sleep(argument, folder, emit):
    daemon(argument, folder, emit)
    time.sleep(1000)
"""


@pytest.fixture(scope="module")
def importable(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps")
    (folder / "tree_steps.py").write_text(STEPS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield


@pytest.fixture
def perform(importable, tmp_path):
    def perform(name, pool, heard=lambda message: None, **asked):
        folder = tmp_path / name
        (folder / "output").mkdir(parents=True)
        job = Job(function=Ref(f"tree_steps:{name}"), argument=str(tmp_path / "pid"), result=str)
        return pool.run(job, folder, folder / "output", heard=heard, **asked)

    return perform


def gone(pid, within=10.0):
    until = time.monotonic() + within
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_daemon_ends_with_the_step_that_started_it(perform):
    with Workers() as pool:
        outcome = perform("daemon", pool)
        assert isinstance(outcome, Done)
        assert gone(outcome.value)


def test_a_daemon_ends_with_a_step_at_its_time_limit(perform, tmp_path):
    with Workers() as pool:
        assert perform("daemon_and_sleep", pool, timeout=5.0).timed_out
        assert gone((tmp_path / "pid").read_text())


def test_a_daemon_ends_where_the_worker_is_killed(perform, tmp_path):
    with Workers() as pool:
        outcome = perform("daemon_and_sleep", pool, heard=lambda said: os.kill(said["worker"], signal.SIGKILL))
        assert "lost its worker, which was ended by SIGKILL" in outcome.reason
        assert gone((tmp_path / "pid").read_text())


def test_a_daemon_ends_where_the_caller_is_killed(importable, tmp_path):
    """All below it: the keeper, the worker, the step and its daemon."""
    script = SCRIPT.format(path=[entry for entry in sys.path if entry], folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout.readline() == "heard\n"
        below = processes.descendants(caller.pid)
        assert int((tmp_path / "pid").read_text()) in below
        assert len(below) >= 4
        caller.kill()
    assert all(gone(pid) for pid in below)


SCRIPT = """
import sys
from pathlib import Path
from navigator_core import Ref
from navigator_core.execution import Job, Workers

sys.path[:0] = {path!r}
folder = Path({folder!r}) / "step"
(folder / "output").mkdir(parents=True)
job = Job(function=Ref("tree_steps:daemon_and_sleep"), argument={folder!r} + "/pid", result=str)
with Workers() as pool:
    pool.run(job, folder, folder / "output", heard=lambda message: print("heard", flush=True))
"""


def test_what_processes_hold_is_what_they_wrote(tmp_path):
    before = processes.held([os.getpid()])
    block = np.ones(50_000_000, np.uint8)
    assert processes.held([os.getpid()]) - before > 45_000_000
    del block
    file = tmp_path / "large"
    file.write_bytes(bytes(50_000_000))
    mapped = np.memmap(file, np.uint8, "r")
    before = processes.held([os.getpid()])
    assert mapped.sum() == 0
    assert processes.held([os.getpid()]) - before < 5_000_000
    assert processes.held([2**22 + 1]) == 0


def test_children_are_found_with_and_without_the_kernels_list(monkeypatch):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"]) as child:
        assert child.pid in processes.children(os.getpid())
        monkeypatch.setattr(processes, "_listed", lambda pid: None)
        assert child.pid in processes.children(os.getpid())
        child.kill()
    assert processes.children(2**22 + 1) == []
