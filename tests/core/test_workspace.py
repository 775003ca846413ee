from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from navigator_core import Dim
from navigator_core.errors import RequestError, WorkspaceError
from navigator_core.workspace import MARKER, Workspace

KEY = "0123abcd" * 8


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


def fill(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"weights")
    (folder / "assets").mkdir()
    (folder / "assets" / "labels.txt").write_text("cat\ndog\n")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_workspace_is_made_marked_and_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = Workspace.open()
    assert made.path == tmp_path / "navigator_workspace"
    assert json.loads((made.path / MARKER).read_text()) == {"schema": 1}
    stored = made.store(KEY, fill)
    assert Workspace.open(Path("navigator_workspace")).object(KEY) == stored


def test_an_empty_folder_becomes_a_workspace(tmp_path):
    (tmp_path / "empty").mkdir()
    assert Workspace.open(tmp_path / "empty").store(KEY, fill).is_dir()


def test_a_folder_with_content_that_navigator_did_not_mark_stays_untouched(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "objects").mkdir()
    with pytest.raises(WorkspaceError, match=r"never uses or empties somebody's folder.*workspace="):
        Workspace.open(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["objects", "thesis.tex"]


def test_a_start_that_was_killed_before_the_mark_was_set_can_be_repeated(tmp_path):
    (tmp_path / f"{MARKER}.1234abcd").write_text("{")
    assert Workspace.open(tmp_path).new_run().folder.is_dir()


def test_a_workspace_by_a_newer_navigator_is_refused(tmp_path):
    (tmp_path / MARKER).write_text('{"schema": 2}')
    with pytest.raises(WorkspaceError, match="newer navigator-core"):
        Workspace.open(tmp_path)


def test_a_marker_that_navigator_did_not_write_is_refused(tmp_path):
    (tmp_path / MARKER).write_text("hello")
    with pytest.raises(WorkspaceError, match="is not what Navigator wrote"):
        Workspace.open(tmp_path)


def test_a_place_that_cannot_be_written_is_the_callers_to_fix(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="Not a directory"):
        Workspace.open(tmp_path / "file" / "below")
    with pytest.raises(WorkspaceError, match="is a file"):
        Workspace.open(tmp_path / "file")
    with pytest.raises(WorkspaceError, match=r"cannot be written: .*workspace="):
        Workspace.open(Path("/proc/navigator_workspace"))


def test_processes_that_start_together_agree_on_one_workspace(tmp_path):
    program = "import sys; from navigator_core.workspace import Workspace; Workspace.open(sys.argv[1]).new_run()"
    starting = [python(program, tmp_path / "shared") for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in starting] == [("", 0)] * 4
    assert len(list((tmp_path / "shared" / "runs").iterdir())) == 4


def test_an_object_is_exactly_what_was_built(workspace):
    assert workspace.object(KEY) is None
    folder = workspace.store(KEY, fill)
    assert workspace.object(KEY) == folder
    assert contents(folder) == {"model.onnx": b"weights", "assets/labels.txt": b"cat\ndog\n"}


def test_the_manifest_lists_every_file_with_size_and_hash(workspace):
    manifest = json.loads((workspace.store(KEY, fill).parent / ".complete").read_text())
    assert manifest["key"] == KEY
    assert manifest["files"] == {
        "assets/labels.txt": {"size": 8, "sha256": hashlib.sha256(b"cat\ndog\n").hexdigest()},
        "model.onnx": {"size": 7, "sha256": hashlib.sha256(b"weights").hexdigest()},
    }


def test_a_finished_object_is_not_built_again(workspace):
    first = workspace.store(KEY, fill)
    assert workspace.store(KEY, lambda folder: pytest.fail("built twice")) == first


def test_an_object_may_be_empty_and_may_hold_empty_folders(workspace):
    folder = workspace.store(KEY, lambda folder: (folder / "variables").mkdir())
    assert workspace.object(KEY) == folder
    assert (folder / "variables").is_dir()


def test_a_build_may_replace_its_folder(workspace):
    def build(folder: Path) -> None:
        folder.rmdir()
        folder.mkdir()
        fill(folder)

    assert "model.onnx" in contents(workspace.store(KEY, build))


@pytest.mark.parametrize("error", [RuntimeError("no such operator"), OSError(2, "gone"), KeyboardInterrupt()])
def test_an_exception_in_the_build_is_passed_on_and_leaves_nothing(workspace, error):
    def build(folder: Path) -> None:
        fill(folder)
        raise error

    with pytest.raises(type(error)) as caught:
        workspace.store(KEY, build)
    assert caught.value is error
    assert workspace.object(KEY) is None
    assert contents(workspace.path / "temporary") == contents(workspace.path / "objects") == {}
    assert workspace.store(KEY, fill)


@pytest.mark.parametrize("damage", ["short", "missing", "link", "manifest", "no manifest"])
def test_a_damaged_object_counts_as_absent_is_moved_aside_and_built_anew(workspace, tmp_path, damage):
    folder = workspace.store(KEY, fill)
    model, manifest = folder / "model.onnx", folder.parent / ".complete"
    if damage == "short":
        model.write_bytes(b"weigh")
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:-9])
    elif damage == "no manifest":
        manifest.unlink()
    else:
        model.unlink()
        if damage == "link":
            (tmp_path / "7bytes!").write_bytes(b"7bytes!")
            model.symlink_to(tmp_path / "7bytes!")
    assert workspace.object(KEY) is None
    assert contents(workspace.store(KEY, fill))["model.onnx"] == b"weights"
    assert [p.name.split(".")[0] for p in (workspace.path / "damaged").iterdir()] == [KEY]


def test_a_link_in_an_object_is_refused(workspace):
    with pytest.raises(WorkspaceError, match=r"weights of object .* is a link"):
        workspace.store(KEY, lambda folder: (folder / "weights").symlink_to("/etc/passwd"))
    assert workspace.object(KEY) is None


@pytest.mark.parametrize("key", ["../../etc", "", "ab", "a/b/c", "a.b", "key\n", "é" * 5])
def test_what_is_no_key_never_becomes_a_path(workspace, key):
    with pytest.raises(ValueError, match="not a key"):
        workspace.store(key, fill)
    with pytest.raises(ValueError, match="not a key"):
        workspace.object(key)


STORE = """
import sys, time, pathlib
from navigator_core.workspace import Workspace
workspace, log = Workspace.open(sys.argv[1]), pathlib.Path(sys.argv[2])

def build(folder):
    with log.open("a") as file:
        file.write("built\\n")
    (folder / "first").write_text("1")
    time.sleep(float(sys.argv[3]))
    (folder / "second").write_text("2")

print(workspace.store(sys.argv[4], build))
"""


def test_processes_that_store_the_same_key_build_it_once(tmp_path):
    arguments = (tmp_path / "workspace", tmp_path / "log", 0.3, KEY)
    storing = [python(STORE, *arguments) for _ in range(3)]
    outputs = [process.communicate() for process in storing]
    assert [error for _, error in outputs] == ["", "", ""]
    assert (tmp_path / "log").read_text() == "built\n"
    assert len({output for output, _ in outputs}) == 1
    assert contents(Path(outputs[0][0].strip())) == {"first": b"1", "second": b"2"}


def test_a_run_with_little_time_does_not_wait_for_another_for_long(tmp_path):
    workspace = Workspace.open(tmp_path / "workspace")
    process = python(STORE, workspace.path, tmp_path / "log", 60, KEY)
    try:
        deadline = time.monotonic() + 20
        while not (tmp_path / "log").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        with pytest.raises(WorkspaceError, match="another run in the workspace is at work on the same step"):
            workspace.store(KEY, fill, 0.1)
    finally:
        process.kill()
        process.communicate()


def test_threads_that_store_the_same_key_build_it_once(workspace):
    built = []

    def build(folder: Path) -> None:
        built.append(folder)
        time.sleep(0.05)
        fill(folder)

    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: workspace.store(KEY, build), range(4)))
    assert len(built) == len(folders) == 1


def test_while_one_key_is_built_another_can_be(workspace):
    def build(folder: Path) -> None:
        fill(folder)
        workspace.store("f" * 64, fill)

    workspace.store(KEY, build)
    assert workspace.object("f" * 64)


def test_without_locks_the_second_to_finish_takes_what_the_first_stored(workspace, monkeypatch):
    monkeypatch.setattr("navigator_core.workspace.FileLock", lambda path: threading.Lock())

    def build(folder: Path) -> None:
        (folder / "mine").write_text("mine")
        with monkeypatch.context() as other:
            other.setattr("shutil.rmtree", lambda *_, **__: None)  # it does not clear away what is being built here
            workspace.store(KEY, fill)

    assert "model.onnx" in contents(workspace.store(KEY, build))


def test_a_build_that_was_killed_leaves_no_object_and_the_next_one_clears_up(tmp_path):
    workspace = Workspace.open(tmp_path / "workspace")
    process = python(STORE, workspace.path, tmp_path / "log", 60, KEY)
    deadline = time.monotonic() + 20
    while not list(workspace.path.glob("temporary/*/content/first")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert list(workspace.path.glob("temporary/*/content/first"))
    assert workspace.object(KEY) is None
    assert "model.onnx" in contents(workspace.store(KEY, fill))
    assert list((workspace.path / "temporary").iterdir()) == []


FULL = """
import resource, sys
from navigator_core.errors import WorkspaceError
from navigator_core.workspace import Workspace
workspace = Workspace.open(sys.argv[1])
run = workspace.new_run()
run.record({"line": 1})
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    workspace.store(sys.argv[2], lambda folder: (folder / "model").write_bytes(bytes(100_000)))
except WorkspaceError as error:
    print("store:", error)
try:
    run.record({"line": "x" * 5000})
except WorkspaceError as error:
    print("record:", error)
run.record({"line": 2})
print(run.journal)
"""


def test_a_full_disk_is_said_and_leaves_neither_half_an_object_nor_half_a_line(tmp_path):
    process = python(FULL, tmp_path / "workspace", KEY)
    output, error = process.communicate()
    assert error == ""
    store, record, journal = output.splitlines()
    for line in (store, record):
        assert "cannot be written: File too large" in line
        assert "workspace=" in line
    assert [json.loads(line) for line in Path(journal).read_text().splitlines()] == [{"line": 1}, {"line": 2}]
    workspace = Workspace.open(tmp_path / "workspace")
    assert workspace.object(KEY) is None
    assert list((workspace.path / "temporary").iterdir()) == []


def test_runs_have_their_own_folders_and_sort_by_time(workspace):
    first, second = workspace.new_run(), workspace.new_run()
    assert first.folder != second.folder
    assert first.name[:15] <= second.name[:15]
    assert first.folder == workspace.path / "runs" / first.name
    assert first.journal.read_text() == ""


def test_a_journal_has_one_line_for_each_record_whatever_is_in_it(workspace):
    run = workspace.new_run()
    run.record({"event": "started", "text": "two\nlines"})
    run.record({"loss": float("nan"), "dim": Dim("batch"), "log": Path("/x")})
    lines = run.journal.read_text().splitlines()
    assert json.loads(lines[0]) == {"event": "started", "text": "two\nlines"}
    assert json.loads(lines[1])["dim"] == {"name": "batch", "min": 1, "max": None}
    assert len(lines) == 2


def test_threads_write_whole_lines(workspace):
    run = workspace.new_run()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: run.record({"n": n, "text": "x" * 3000}), range(40)))
    assert sorted(json.loads(line)["n"] for line in run.journal.read_text().splitlines()) == list(range(40))


def test_step_folders_are_numbered_and_have_names_that_any_file_system_takes(workspace):
    run = workspace.new_run()
    names = ["torch->onnx[dynamo] @ onnxruntime-cpu", "torch->onnx[dynamo] @ onnxruntime-cpu", "../..", "é" * 300, ""]
    folders = [run.step_folder(name) for name in names]
    assert [folder.name for folder in folders] == [
        "001-torch-onnx-dynamo-onnxruntime-cpu",
        "002-torch-onnx-dynamo-onnxruntime-cpu",
        "003-step",
        "004-step",
        "005-step",
    ]
    assert all(folder.is_dir() and folder.parent == run.folder / "steps" for folder in folders)


def test_a_run_whose_folder_is_gone_says_so(workspace):
    run = workspace.new_run()
    shutil.rmtree(run.folder)
    with pytest.raises(WorkspaceError, match="No such file"):
        run.record({})


def in_a_child(does):
    """What a forked child writes: it may give up rights or change mounts, and is gone after."""
    out, into = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(into, str(does()).encode())
        except BaseException as error:
            os.write(into, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return text


def test_a_workspace_that_may_only_be_read_is_a_clear_error(tmp_path):
    """Root may write anywhere, so it steps down first."""
    place = Workspace.open(tmp_path / "workspace").path
    for folder in (place, *place.rglob("*")):
        folder.chmod(0o555 if folder.is_dir() else 0o444)
    for folder in (*tmp_path.parents[:2], tmp_path):
        folder.chmod(0o755)

    def attempt():
        if os.geteuid() == 0:
            os.setuid(65534)
        return Workspace.open(place)

    try:
        said = in_a_child(attempt)
    finally:
        for folder in (place, *place.rglob("*")):
            folder.chmod(0o755)
    assert said.startswith(f"WorkspaceError: the workspace {place} cannot be written: Permission denied")
    assert said.endswith("choose another place with workspace=")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a file system may not be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_disk_that_is_full_costs_the_step_that_filled_it_and_leaves_no_half_object(small_disk):
    workspace = Workspace.open(small_disk / "workspace")
    with pytest.raises(WorkspaceError, match=r"cannot be written: No space left on device.*workspace="):
        workspace.store(KEY, lambda folder: (folder / "large").write_bytes(bytes(5 * 2**20)))
    assert workspace.object(KEY) is None
    assert list((workspace.path / "temporary").iterdir()) == []
    assert "model.onnx" in contents(workspace.store(KEY, fill))
