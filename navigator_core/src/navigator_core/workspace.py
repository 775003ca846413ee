"""The workspace: finished artifacts by the key of what made them, and one folder for each run.

``objects/ab/<key>/content`` is what a step built, with a ``.complete`` manifest beside it that is written last.
``temporary``, ``damaged`` and ``locks`` are the store's own; ``runs/<name>`` holds a journal, a folder per step and the
keys of the objects that it uses. See `housekeeping` for what clears and checks all this.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from attrs import field, frozen
from filelock import FileLock, Timeout

from navigator_core import serde
from navigator_core.errors import WorkspaceError

DEFAULT = "navigator_workspace"
MARKER = "navigator-workspace.json"
SCHEMA = 1
USES = "uses.txt"
LOCK = "running.lock"

_COMPLETE = ".complete"
_FOLDERS = ("objects", "runs", "temporary", "damaged", "locks")
_EXHAUSTED = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


@frozen
class _Marker:
    schema: int


@frozen
class _StoredFile:
    size: int
    sha256: str


@frozen
class _Manifest:
    key: str
    files: Mapping[str, _StoredFile]


@frozen(eq=False)
class Run:
    """One run's folder. Safe to use from several threads."""

    folder: Path
    _lock: FileLock | None = field(default=None, repr=False)
    _used: set[str] = field(factory=set, init=False, repr=False)
    _numbers: Iterator[int] = field(factory=lambda: itertools.count(1), init=False, repr=False)
    _writing: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    @property
    def name(self) -> str:
        """``20250131-142359-3fa9c1``: when it began, in UTC; names sort by time."""
        return self.folder.name

    @property
    def journal(self) -> Path:
        """One JSON object for each line; only the last can be cut short, by a machine that went down."""
        return self.folder / "journal.jsonl"

    def record(self, entry: Mapping[str, Any]) -> None:
        """Append one line and wait until it is on the disk. Values may be anything `serde` takes.

        Raises WorkspaceError where it cannot be written; the journal then ends with the line before.
        """
        line = (serde.dumps(dict(entry)) + "\n").encode()
        with self._writing, _explained(self.folder):
            descriptor = os.open(self.journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                _append(descriptor, line)
            finally:
                os.close(descriptor)

    def uses(self, key: str) -> None:
        """Note that the run needs an object, before it is looked for: it is then not cleared away."""
        with self._writing, _explained(self.folder):
            if key not in self._used:
                self._used.add(key)
                with (self.folder / USES).open("a") as file:
                    file.write(f"{key}\n")

    def used(self) -> frozenset[str]:
        """The keys of the objects that the run needs."""
        try:
            return frozenset((self.folder / USES).read_text().split())
        except FileNotFoundError:
            return frozenset()

    def active(self) -> bool:
        """Whether a process is at work in it, this one included."""
        lock = FileLock(self.folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        lock.release()
        return False

    def close(self) -> None:
        """The run is over."""
        if self._lock is not None:
            self._lock.release()

    def step_folder(self, name: str) -> Path:
        """A new folder, ``steps/007-torch-onnx-dynamo``; the same name again gets another number."""
        folder = self.folder / "steps" / f"{next(self._numbers):03}-{slug(name)}"
        with _explained(self.folder):
            folder.mkdir(parents=True)
        return folder


def slug(name: str) -> str:
    """A step's name as part of a folder's."""
    return re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.")[:60] or "step"


@frozen
class Workspace:
    """A folder that Navigator made; several processes may share it. Make one with `Workspace.open`."""

    path: Path

    @classmethod
    def existing(cls, path: Path | str | None = None) -> Workspace:
        """The workspace in this folder. Raises WorkspaceError where there is none."""
        folder = Path(DEFAULT if path is None else path).expanduser().absolute()
        if not (folder / MARKER).is_file():
            raise WorkspaceError(f"there is no workspace in {folder}; name another with --workspace")
        return cls.open(folder)

    @classmethod
    def open(cls, path: Path | str | None = None) -> Workspace:
        """The workspace in this folder, made where there is none; default ``./navigator_workspace``.

        Raises WorkspaceError for a folder that cannot be written, and for one with content that Navigator did not
        mark as its own, which stays untouched.
        """
        folder = Path(DEFAULT if path is None else path).expanduser().absolute()
        with _explained(folder):
            _claim(folder)
            for name in _FOLDERS:
                (folder / name).mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=folder / "temporary") as probe:
                probe.write(b"writable")
        return cls(folder)

    def object(self, key: str) -> Path | None:
        """The folder of a finished object; None where there is none or where files are missing or cut short."""
        folder = self._place(key)
        try:
            manifest = serde.loads((folder / _COMPLETE).read_bytes(), _Manifest)
            found = [(folder / "content" / name).lstat() for name in manifest.files]
        except (OSError, ValueError):
            return None
        expected = [file.size for file in manifest.files.values()]
        intact = expected == [status.st_size for status in found if stat.S_ISREG(status.st_mode)]
        return folder / "content" if intact else None

    def store(self, key: str, build: Callable[[Path], None], patience: float | None = None) -> Path:
        """The folder of the object, built unless it is there: ``build(folder)`` fills an empty folder.

        Runs that want the same key wait for the one that builds it, at most ``patience`` seconds. Whatever ``build``
        raises is passed on and leaves nothing; a damaged object is moved aside and built anew. Raises WorkspaceError
        where the disk is full, the folder holds a link or a device, or the other run takes too long.
        """
        found = self.object(key)
        if found is not None:
            return found
        lock = FileLock(self.path / "locks" / f"{key}.lock")
        with _explained(self.path):
            try:
                lock.acquire(timeout=-1 if patience is None or patience == math.inf else max(patience, 0.0))
            except Timeout:
                raise WorkspaceError("another run in the workspace is at work on the same step, for too long") from None
        try:
            return self.object(key) or self._build(key, build)
        finally:
            lock.release()

    def new_run(self) -> Run:
        """A new folder for one run."""
        with _explained(self.path), self.housekeeping():
            name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
            folder = self.path / "runs" / name
            folder.mkdir()
            (folder / "journal.jsonl").touch()
            _sync(folder)
            _sync(folder.parent)
            lock = FileLock(folder / LOCK)
            lock.acquire()
        return Run(folder, lock)

    def runs(self) -> list[Run]:
        """All runs, the oldest first."""
        return [Run(folder) for folder in sorted((self.path / "runs").iterdir()) if folder.is_dir()]

    def object_keys(self) -> list[str]:
        """The keys of all objects, damaged ones included."""
        return sorted(place.name for place in (self.path / "objects").glob("*/*"))

    def housekeeping(self) -> FileLock:
        """What holds it keeps runs from beginning."""
        return FileLock(self.path / "locks" / "housekeeping.lock")

    def intact(self, key: str) -> bool:
        """Whether an object's files are what was stored, byte for byte."""
        folder = self.object(key)
        if folder is None:
            return False
        try:
            manifest = serde.loads((folder.parent / _COMPLETE).read_bytes(), _Manifest)
            found = {name: _sha256(folder / name) for name in manifest.files}
        except (OSError, ValueError):
            return False
        return found == {name: file.sha256 for name, file in manifest.files.items()}

    def set_aside(self, key: str) -> None:
        """Move an object to where damaged ones lie: it will be built again when it is needed."""
        with FileLock(self.path / "locks" / f"{key}.lock"), _explained(self.path):
            place = self._place(key)
            if place.exists():
                place.rename(self.path / "damaged" / f"{key}.{secrets.token_hex(4)}")

    def _place(self, key: str) -> Path:
        if not re.fullmatch(r"[A-Za-z0-9_-]{3,200}", key):
            raise ValueError(f"not a key: {key!r}; expected letters, digits, - and _, as serde.digest gives")
        return self.path / "objects" / key[:2] / key

    def _build(self, key: str, build: Callable[[Path], None]) -> Path:
        for left in (self.path / "temporary").glob(f"{key}.*"):  # by a process that died: we hold its lock
            shutil.rmtree(left, ignore_errors=True)
        temporary = self.path / "temporary" / f"{key}.{secrets.token_hex(4)}"
        try:
            with _explained(self.path):
                (temporary / "content").mkdir(parents=True)
            with _explained(self.path, only=_EXHAUSTED):
                build(temporary / "content")
            with _explained(self.path):
                _seal(temporary, key)
                self._move_in(temporary, key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return self._place(key) / "content"

    def _move_in(self, temporary: Path, key: str) -> None:
        place = self._place(key)
        if not place.parent.exists():
            place.parent.mkdir(exist_ok=True)
            _sync(place.parent.parent)
        try:
            temporary.rename(place)
        except OSError:
            if self.object(key) is not None:
                return  # the file system's locks do not reach the other process, which was first
            place.rename(self.path / "damaged" / f"{key}.{secrets.token_hex(4)}")
            temporary.rename(place)
        _sync(place.parent)


def _claim(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise WorkspaceError(f"the workspace {folder} is a file; choose a folder with workspace=")
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER
    if not marker.exists():
        foreign = [entry.name for entry in folder.iterdir() if not entry.name.startswith(MARKER)]
        if foreign and not marker.exists():  # asked again: another process may just have made it
            raise WorkspaceError(
                f"{folder} holds {foreign[0]!r} and was not made by Navigator, which never uses or empties somebody's "
                "folder; choose a new or an empty one with workspace="
            )
        _write(marker, serde.dumps(_Marker(SCHEMA)).encode())
    try:
        schema = serde.loads(marker.read_bytes(), _Marker).schema
    except ValueError as error:
        raise WorkspaceError(f"{marker} is not what Navigator wrote ({error}); choose another workspace=") from None
    if schema > SCHEMA:
        raise WorkspaceError(
            f"the workspace {folder} was made by a newer Navigator (schema {schema}, this one reads {SCHEMA}); "
            "install a newer navigator-core or choose another workspace="
        )


def _seal(folder: Path, key: str) -> None:
    content = folder / "content"
    files = {}
    for path in [content, *sorted(content.rglob("*"))]:
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise WorkspaceError(f"{path.name} of object {key} is a link or a device, not a file")
        if path.is_file():
            files[path.relative_to(content).as_posix()] = _StoredFile(path.stat().st_size, _sha256(path))
        _sync(path)
    _write(folder / _COMPLETE, serde.dumps(_Manifest(key, files)).encode())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(content)
    _sync(temporary)
    temporary.rename(path)
    _sync(path.parent)


def _append(descriptor: int, line: bytes) -> None:
    before = os.fstat(descriptor).st_size
    try:
        while line:
            line = line[os.write(descriptor, line) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, before)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _explained(folder: Path, only: set[int] | None = None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if only is not None and error.errno not in only:
            raise
        what = f" ({error.filename})" if error.filename else ""
        raise WorkspaceError(
            f"the workspace {folder} cannot be written: {error.strerror or error}{what}; "
            "choose another place with workspace="
        ) from error
