"""A workspace is listed, checked and cleared; what a run needs always stays."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import navigator as nav
from navigator_core import housekeeping
from navigator_core.cli import commands
from navigator_core.errors import WorkspaceError
from navigator_core.events import StepFinished
from navigator_core.session import Session
from navigator_core.testing import miniframework as mini
from navigator_core.testing import using
from navigator_core.workspace import Workspace

SAMPLES = [np.ones((2, 4), np.float32), np.zeros((3, 4), np.float32)]
AT_WORK = """
import sys, time
from navigator_core.workspace import Workspace
run = Workspace.open(sys.argv[1]).new_run()
run.uses("b" * 64)
print(run.name, flush=True)
time.sleep(60)
"""


@pytest.fixture
def workspace(tmp_path):
    return Workspace.open(tmp_path / "w")


def stored(workspace, letter, content=b"content", run=None):
    if run is not None:
        run.uses(letter * 64)
    return workspace.store(letter * 64, lambda folder: (folder / "file").write_bytes(content) and None)


def navigator(*args):
    return CliRunner().invoke(commands, list(map(str, args)), prog_name="navigator")


def optimized(workspace, seed=0, observe=None):
    weights = np.random.default_rng(seed).standard_normal((4, 3)).astype("float32")
    model = mini.Model(weights, np.ones(3, "float32"))
    with using(mini):
        return nav.optimize(
            model, SAMPLES, workspace=workspace.path, batch_sizes=[1], runners=["mini-eager"], observe=observe
        )


def test_a_request_that_is_refused_leaves_no_run(workspace):
    model = mini.Model(np.ones((4, 3), np.float32), np.ones(3, np.float32))
    with using(mini), pytest.raises(nav.NoPathError):
        nav.optimize(model, SAMPLES, workspace=workspace.path, targets=["mini-npz"], runners=["mini-eager"])
    assert list((workspace.path / "runs").iterdir()) == []


def test_what_no_run_needs_is_removed_and_the_rest_stays(workspace):
    run = workspace.new_run()
    run.close()
    kept, gone = stored(workspace, "a", run=run), stored(workspace, "b")
    before = housekeeping.contents(workspace)
    assert (before.objects, before.unused, before.damaged) == (2, 1, 0)
    said = housekeeping.clear(workspace, only_say=True)
    assert gone.exists()
    done = housekeeping.clear(workspace)
    assert said == done
    assert done.objects == ("b" * 64,)
    assert done.size > len("content")
    assert kept.exists()
    assert not gone.exists()
    assert workspace.object("b" * 64) is None


def test_only_the_newest_runs_are_kept_where_that_is_asked(workspace):
    runs = [workspace.new_run() for _ in range(3)]
    for letter, run in zip("abc", sorted(runs, key=lambda run: run.name), strict=True):
        stored(workspace, letter, run=run)
        run.close()
    assert len(housekeeping.clear(workspace, keep=1).runs) == 2
    assert [run.name for run in workspace.runs()] == [max(run.name for run in runs)]
    assert workspace.object_keys() == ["c" * 64]


def test_a_run_at_work_in_another_process_stays_with_all_it_uses(workspace):
    other = subprocess.Popen([sys.executable, "-c", AT_WORK, str(workspace.path)], stdout=subprocess.PIPE, text=True)
    with other:
        name = other.stdout.readline().strip()
        used = stored(workspace, "b")
        assert housekeeping.clear(workspace, keep=0).runs == ()
        assert [(run.name, run.active) for run in housekeeping.contents(workspace).runs] == [(name, True)]
        assert used.exists()
        other.kill()
    assert housekeeping.clear(workspace, keep=0).runs == (name,)
    assert not used.exists()


def test_what_a_killed_process_was_building_is_removed(workspace):
    left = workspace.path / "temporary" / f"{'d' * 64}.0a1b"
    (left / "content").mkdir(parents=True)
    housekeeping.clear(workspace)
    assert not left.exists()


def test_a_damaged_object_is_set_aside_and_built_again(workspace):
    place = stored(workspace, "a")
    stored(workspace, "b")
    (place / "file").write_bytes(b"CONTENT")  # as long as it was: only its hash tells
    assert workspace.object("a" * 64) is not None
    assert housekeeping.verify(workspace) == ("a" * 64,)
    assert housekeeping.verify(workspace) == ()
    assert housekeeping.contents(workspace).damaged == 1
    assert (stored(workspace, "a") / "file").read_bytes() == b"content"


def test_what_a_run_has_done_is_found_again_after_clearing_and_checking(workspace):
    optimized(workspace)
    again = sum("other processes" in (m.unstable or "") for m in optimized(workspace, seed=1).best.measurements)
    before = set(workspace.object_keys())
    newest = workspace.runs()[-1]
    housekeeping.clear(workspace, keep=1)
    assert set(workspace.object_keys()) == newest.used() & before
    assert housekeeping.verify(workspace) == ()
    with using(mini):
        report = optimized(workspace, seed=1)
    assert report.best is not None
    entry = housekeeping.contents(workspace).runs[-1]
    # the look at the machine is taken anew, and what other processes disturbed, where they are gone
    assert sum(entry.steps.values()) == 4
    assert 3 - again <= entry.steps["cached"] <= 3


def test_a_measurement_that_other_processes_disturbed_is_taken_again_when_they_are_gone(workspace, monkeypatch):
    """Busy loops on every core while it is measured: what it says of others is why a third run measures."""
    heard = []
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2 * (os.cpu_count() or 1))]
    try:
        first = optimized(workspace, observe=heard.append)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    said = [measurement.unstable or "" for measurement in first.candidates[0].measurements]
    for quiet in (False, True):
        monkeypatch.setattr(Session, "quiet", lambda self, quiet=quiet: quiet)
        optimized(workspace, observe=heard.append)
    found = [e.status for e in heard if isinstance(e, StepFinished) and e.stage == "verify"]
    again = "ok" if any("other processes took" in text for text in said) else "cached"
    assert found == ["ok", "cached", again]


def test_the_commands_list_clear_and_check(workspace):
    stored(workspace, "a")
    where = ("--workspace", workspace.path)
    assert json.loads(navigator("workspace", "list", *where, "--json").output)["objects"] == 1
    assert "1 objects" in navigator("workspace", "list", *where).output
    assert "would remove 0 runs and 1 objects" in navigator("workspace", "gc", "--dry-run", *where).output
    assert navigator("workspace", "verify", *where).exit_code == 0
    (workspace.object("a" * 64) / "file").write_bytes(b"CONTENT")
    checked = navigator("workspace", "verify", *where)
    assert checked.exit_code == 1
    assert f"damaged, and set aside: {'a' * 64}" in checked.output
    assert navigator("workspace", "gc", *where).exit_code == 0


def test_a_folder_that_is_no_workspace_is_an_error_and_stays_as_it_is(tmp_path):
    (tmp_path / "notes.txt").write_text("keep")
    said = navigator("workspace", "gc", "--keep", "0", "--workspace", tmp_path)
    assert said.exit_code == 2
    assert "there is no workspace in" in said.output
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(WorkspaceError):
        Workspace.existing(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
