"""The ``.nav`` container: a zip whose manifest, always its first member, lists every file with size and SHA-256.

An archive may come from a stranger: `Archive.open` believes nothing that it has not checked, and reading checks the
rest. What the files mean is the package's business.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO, Any

from attrs import field, frozen

from navigator_core import __version__, layout, migrations, serde
from navigator_core.errors import PackageError
from navigator_core.member_names import check_names
from navigator_core.migrations import SCHEMA
from navigator_core.refusal import RefusedError, plainly, require
from navigator_core.replacing import replacing

MANIFEST = "manifest.json"
_LARGEST_MANIFEST = 8 * 2**20
_TEXT = {".json", ".jsonl", ".txt", ".md", ".html", ".csv", ".xml", ".py", ".yaml", ".pbtxt", ".log"}
_UNSUSPICIOUS = 10 * 10**6  # bytes; more is believed only at a credible compression ratio
_COMPRESSED = 9 * 10**6  # bytes of text that `write` compresses; with more, an archive of ours might look like a bomb
_LARGEST_RATIO = 200
_CHUNK = 2**20


@frozen
class _Listed:
    size: int
    sha256: str


@frozen(eq=False)
class Archive:
    """An open archive; a context manager. Make one with `Archive.open`."""

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    """In today's form: "schema", "navigator", "files" and what the caller of `write` added."""
    schema: int
    """That of the file, which `migrations` knows how to bring up to today's."""
    _zip: zipfile.ZipFile = field(repr=False)
    _files: Mapping[str, _Listed] = field(repr=False)
    _open: ExitStack = field(repr=False)

    @classmethod
    def open(cls, path: Path | str) -> Archive:
        """Open and check everything but the files' content.

        Raises PackageError: no archive, cut short, records that contradict each other or hide bytes, newer than this
        Navigator, names that lead elsewhere, files missing or surplus, compression that only a bomb needs.
        """
        path = Path(path)
        if not path.is_file():
            raise PackageError(f"{path} is {'a folder' if path.is_dir() else 'not there'}; expected a .nav file")
        with _reading(path), ExitStack() as undo:
            file = undo.enter_context(path.open("rb"))
            length = os.fstat(file.fileno()).st_size
            layout.check(file, length)
            opened = undo.enter_context(zipfile.ZipFile(file))
            schema, manifest = _read_manifest(opened)
            files = serde.from_data(manifest.get("files"), dict[str, _Listed])
            _check_members(opened.infolist(), files, length)
            return cls(path, manifest, schema, opened, files, undo.pop_all())

    def names(self) -> tuple[str, ...]:
        """The files in order; the manifest is not among them."""
        return tuple(sorted(self._files))

    def read(self, name: str, limit: int) -> bytes:
        """One file's content, checked. Raises PackageError where it was changed or exceeds ``limit`` bytes."""
        content = BytesIO()
        with _reading(self.path):
            size = self._listed(name).size
            require(size <= limit, f"{name} has {size} bytes; at most {limit} are accepted here")
            self._copy(name, content)
        return content.getvalue()

    def extract(self, destination: Path, names: Iterable[str] | None = None) -> None:
        """Write these files, by default all, below ``destination``, which is made where it is missing.

        They appear once all of them were checked. Raises PackageError for a file that was changed, and where
        something of the same name is there already; then nothing was added and nothing replaced.
        """
        wanted = sorted(set(self._files if names is None else names))
        tops = sorted({name.split("/")[0] for name in wanted})
        temporary = destination / f".{secrets.token_hex(8)}.tmp"
        with _reading(self.path), ExitStack() as cleanup:
            if wanted and not destination.exists():
                cleanup.callback(_remove_empty, destination)
            temporary.mkdir(parents=True)
            cleanup.callback(shutil.rmtree, temporary, ignore_errors=True)  # ours: it was not there
            for top in tops:
                require(not os.path.lexists(destination / top), f"{destination / top} is there already")
            for name in wanted:
                self._listed(name)
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                with (temporary / name).open("xb") as target:
                    self._copy(name, target)
            _reveal(tops, temporary, destination)

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _listed(self, name: str) -> _Listed:
        require(name in self._files, f"has no file {name!r}")
        return self._files[name]

    def _copy(self, name: str, target: IO[bytes]) -> None:
        with self._zip.open(name) as source:
            found = _pump(source, target)
        require(found == self._files[name], f"{name} is not what was packed: its SHA-256 or size differs")


Seal = Callable[[Mapping[str, str]], Mapping[str, bytes]]
"""Further files to pack, made from the SHA-256 of all others."""


def write(path: Path, manifest: Mapping[str, Any], files: Mapping[str, Path | bytes], seal: Seal | None = None) -> Path:
    """Write an archive and return its path. Equal content gives equal bytes; memory stays flat.

    ``manifest`` is JSON data without the keys "schema", "navigator" and "files"; a folder in ``files`` stands for the
    files inside it. Raises PackageError where a source cannot be read or the archive not be written; a file that was
    at ``path`` is replaced only by a complete archive.
    """
    reserved = sorted({"schema", "navigator", "files"} & manifest.keys())
    if reserved:
        raise ValueError(f"the manifest's {reserved[0]!r} is written by the archive itself")
    with _blaming(path):
        require(not path.is_dir(), "is a folder; expected the name of a file")
        sources = dict(sorted(_members(files)))
        check_names([MANIFEST, *sources])
        with replacing(path) as file:
            _fill(file, manifest, sources, seal)
    return path


def _fill(file: IO[bytes], manifest: Mapping[str, Any], sources: Mapping[str, Path | bytes], seal: Seal | None) -> None:
    listed = {name: _measure(source) for name, source in sources.items()}
    if seal is not None:
        more = seal({name: one.sha256 for name, one in listed.items()})
        sources = dict(sorted({**sources, **more}.items()))
        listed = {name: listed.get(name) or _measure(source) for name, source in sources.items()}
    header = {"schema": SCHEMA, "navigator": __version__, "files": serde.to_data(listed), **manifest}
    text = json.dumps(header, allow_nan=False).encode()
    require(len(text) <= _LARGEST_MANIFEST, f"its manifest would have {len(text)} bytes")
    serde.parse(text)
    with zipfile.ZipFile(file, "w") as archive:
        _add(archive, MANIFEST, text, _measure(text), compress=True)
        room = _COMPRESSED - len(text)
        for name, source in sources.items():
            compress = PurePosixPath(name).suffix in _TEXT and listed[name].size <= room
            room -= listed[name].size if compress else 0
            _add(archive, name, source, listed[name], compress=compress)


def _members(files: Mapping[str, Path | bytes]) -> Iterator[tuple[str, Path | bytes]]:
    for name, source in files.items():
        if isinstance(source, bytes) or source.is_file():
            yield name, source
            continue
        require(source.is_dir(), f"{source} is neither a file nor a folder")
        for path in sorted(source.iterdir()):
            require(not (path.is_symlink() and path.is_dir()), f"{path} is a link to a folder")
            yield from _members({f"{name}/{path.name}": path})


def _open(source: Path | bytes) -> IO[bytes]:
    return BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def _measure(source: Path | bytes) -> _Listed:
    with _open(source) as file:
        return _pump(file, None)


def _add(archive: zipfile.ZipFile, name: str, source: Path | bytes, listed: _Listed, *, compress: bool) -> None:
    member = zipfile.ZipInfo(name)  # dated 1980, as every member
    member.external_attr = (stat.S_IFREG | 0o644) << 16
    member.file_size = listed.size  # says whether it needs ZIP64
    member.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with _open(source) as file, archive.open(member, "w") as target:
        found = _pump(file, target)
    require(found == listed, f"{name} changed while it was packed")


def _pump(source: IO[bytes], target: IO[bytes] | None) -> _Listed:
    checksum, size = hashlib.sha256(), 0
    while chunk := source.read(_CHUNK):
        checksum.update(chunk)
        size += len(chunk)
        if target is not None:
            target.write(chunk)
    return _Listed(size, checksum.hexdigest())


def _reveal(names: list[str], temporary: Path, destination: Path) -> None:
    with ExitStack() as undo:
        for name in names:
            (temporary / name).rename(destination / name)
            undo.callback((destination / name).rename, temporary / name)
        undo.pop_all()


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _read_manifest(archive: zipfile.ZipFile) -> tuple[int, Mapping[str, Any]]:
    """The schema that the archive was written in, and the manifest in today's."""
    first = archive.infolist()[0] if archive.infolist() else None
    if first is None or first.filename != MANIFEST:
        raise RefusedError(f"is a zip whose first member is not {MANIFEST}: cut short, or never a .nav file")
    require(first.file_size <= _LARGEST_MANIFEST, f"its manifest has {first.file_size} bytes")
    _check_member(first)
    manifest = serde.parse(archive.read(first))
    schema = migrations.schema_of(manifest)
    return schema, migrations.manifest(manifest, schema)


def _check_members(members: list[zipfile.ZipInfo], files: Mapping[str, _Listed], packed: int) -> None:
    names = [member.filename for member in members]
    check_names(names)
    surplus, missing = sorted(set(names) - files.keys() - {MANIFEST}), sorted(files.keys() - set(names[1:]))
    require(not surplus, f"holds {', '.join(surplus[:3])}, which its manifest does not list")
    require(not missing, f"lacks {', '.join(missing[:3])}, which its manifest lists")
    for member in members[1:]:
        _check_member(member)
        listed = files[member.filename].size
        require(member.file_size == listed, f"{member.filename} has {member.file_size} bytes, listed are {listed}")
    _check_ratio("it", sum(member.file_size for member in members), packed)


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.filename
    require(stat.S_IFMT(member.external_attr >> 16) in (0, stat.S_IFREG), f"{name} is a link or a device, not a file")
    whole = member.compress_type != zipfile.ZIP_STORED or member.compress_size == member.file_size
    require(whole, f"{name} is stored in {member.compress_size} bytes, and said to have {member.file_size}")
    _check_ratio(name, member.file_size, member.compress_size)


def _check_ratio(what: str, size: int, packed: int) -> None:
    bomb = size > _UNSUSPICIOUS and size > _LARGEST_RATIO * packed
    require(not bomb, f"{what} would unpack from {packed} to {size} bytes, which no model does")


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise PackageError(f"{path}: {plainly(str(error))}") from error.__cause__
    except OSError as error:
        raise PackageError(f"{path}: {error.strerror or error}: {error.filename or path}") from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    with _blaming(path):
        try:
            yield
        except (RefusedError, OSError):
            raise
        except Exception as error:  # zipfile raises nearly anything for bytes that are no zip
            problem = f"is damaged, cut short or no .nav file: {error or type(error).__name__}"
            raise RefusedError(problem) from error
