from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import stat
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from navigator_core import archive
from navigator_core.archive import Archive, write
from navigator_core.errors import PackageError

FILES: dict[str, Path | bytes] = {
    "report.json": b'{"best": "onnx"}' * 50,
    "samples/0.npz": bytes(range(256)) * 20,
    "artifacts/onnx/model.onnx": b"weights" * 1000,
    "artifacts/onnx/empty": b"",
}


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return write(tmp_path / "model.nav", {"name": "encoder"}, FILES)


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def forge(
    path: Path,
    packed: Mapping[str, bytes] | None = None,
    members: list[tuple[str | zipfile.ZipInfo, bytes]] | None = None,
    manifest: bytes | None = None,
    **changed: Any,
) -> Path:
    """An archive as an attacker would write it: honest but for what is given."""
    files = {"a.bin": b"a" * 100} if packed is None else packed
    listed = {name: {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()} for name, data in files.items()}
    if manifest is None:
        manifest = json.dumps({"schema": 1, "navigator": "0.1.0", "files": listed} | changed).encode()
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", manifest)
        for name, data in list(files.items()) if members is None else members:
            file.writestr(name, data)
    return path


def refused(path: Path, message: str | None = None) -> None:
    with pytest.raises(PackageError, match=message) as caught, Archive.open(path):
        pass
    assert str(path) in str(caught.value)


def test_what_was_packed_comes_back(packed, tmp_path):
    with Archive.open(packed) as opened:
        assert opened.names() == tuple(sorted(FILES))
        assert opened.manifest["name"] == "encoder"
        assert opened.manifest["schema"] == archive.SCHEMA
        for name, content in FILES.items():
            assert opened.read(name, limit=10_000) == content
        opened.extract(tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_files_and_folders_on_disk_are_packed_with_all_that_is_inside(tmp_path):
    folder = tmp_path / "saved_model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    path = write(tmp_path / "m.nav", {}, {"tf": folder, "alone": folder / "saved_model.pb"})
    with Archive.open(path) as opened:
        opened.extract(tmp_path / "out")
    expected = {"tf/saved_model.pb": b"graph", "tf/variables/data": b"weights", "alone": b"graph"}
    assert contents(tmp_path / "out") == expected


def test_some_files_can_be_extracted_beside_what_is_there(packed, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    with Archive.open(packed) as opened:
        opened.extract(tmp_path / "out", ["report.json", "artifacts/onnx/model.onnx"])
    assert sorted(contents(tmp_path / "out")) == ["artifacts/onnx/model.onnx", "mine", "report.json"]


def test_the_manifest_is_the_first_member_and_text_alone_is_compressed(packed):
    with zipfile.ZipFile(packed) as file:
        methods = {info.filename: info.compress_type for info in file.infolist()}
    assert next(iter(methods)) == "manifest.json"
    assert methods["report.json"] == zipfile.ZIP_DEFLATED
    assert methods["artifacts/onnx/model.onnx"] == zipfile.ZIP_STORED


def test_equal_content_gives_equal_bytes(packed, tmp_path):
    again = write(tmp_path / "again.nav", {"name": "encoder"}, dict(reversed(FILES.items())))
    assert again.read_bytes() == packed.read_bytes()


def test_no_archive_of_ours_looks_like_a_bomb(tmp_path):
    zeros = {f"{n}.json": b"0" * 4_000_000 for n in range(5)}
    with Archive.open(write(tmp_path / "m.nav", {"notes": "0" * 5_000_000}, zeros)) as opened:
        assert opened.names() == tuple(zeros)


def test_copying_takes_no_memory(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(64 * 2**20)
    tracemalloc.start()
    with Archive.open(write(tmp_path / "m.nav", {}, {"big": tmp_path / "big"})) as opened:
        opened.extract(tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20
    assert (tmp_path / "out" / "big").stat().st_size == 64 * 2**20


def test_sizes_beyond_32_bits_are_announced_before_they_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    path = write(tmp_path / "m.nav", {}, {"a": b"a" * 2000, "b": b"b" * 2000})
    with Archive.open(path) as opened:
        assert opened.read("b", 2000) == b"b" * 2000


@pytest.mark.parametrize("key", ["schema", "navigator", "files"])
def test_the_manifest_cannot_replace_what_the_archive_says_itself(tmp_path, key):
    with pytest.raises(ValueError, match=key):
        write(tmp_path / "m.nav", {key: 1}, {})


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a\\b", "a//b", "manifest.json", "c:/x", "a\n"])
def test_names_that_could_not_be_read_are_not_written(tmp_path, name):
    with pytest.raises(PackageError, match="name"):
        write(tmp_path / "m.nav", {}, {name: b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["missing/m.nav", "file/m.nav", "folder"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, where):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(PackageError, match=where):
        write(tmp_path / where, {}, FILES)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("kind", ["missing", "pipe", "link to a folder"])
def test_a_source_that_is_no_file_is_named_and_an_older_archive_kept(packed, tmp_path, kind):
    before = packed.read_bytes()
    folder = tmp_path / "folder"
    folder.mkdir()
    if kind == "pipe":
        os.mkfifo(folder / "odd")
    elif kind == "link to a folder":
        (folder / "odd").symlink_to(tmp_path)
    with pytest.raises(PackageError, match="odd"):
        write(packed, {}, {"x": folder / "odd" if kind == "missing" else folder})
    assert packed.read_bytes() == before


def test_a_file_that_changes_while_it_is_packed_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "log").write_text("one line\n")
    measure = archive._measure

    def measured(source: Path | bytes) -> Any:
        found = measure(source)
        with (tmp_path / "log").open("a") as file:
            file.write("another\n")
        return found

    monkeypatch.setattr(archive, "_measure", measured)
    with pytest.raises(PackageError, match="log changed while it was packed"):
        write(tmp_path / "m.nav", {}, {"log": tmp_path / "log"})
    assert [p.name for p in tmp_path.iterdir()] == ["log"]


def test_a_full_disk_leaves_the_older_archive(packed):
    before = packed.read_bytes()
    program = (
        "import resource, sys; from pathlib import Path; from navigator_core.archive import write\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "try:\n    write(Path(sys.argv[1]), {}, {'big': bytes(100_000)})\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, packed], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"PackageError {packed}: File too large")
    assert done.stderr == ""
    assert packed.read_bytes() == before
    assert [p.name for p in packed.parent.iterdir()] == ["model.nav"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_what_is_no_archive_is_refused(tmp_path):
    refused(tmp_path, "is a folder")
    refused(tmp_path / "nothing.nav", "is not there")
    (tmp_path / "text").write_text("hello " * 1000)
    refused(tmp_path / "text", "no .nav file")
    (tmp_path / "empty").touch()
    refused(tmp_path / "empty", "no .nav file")


def test_an_honest_forgery_is_accepted_so_that_the_others_fail_for_their_own_reason(tmp_path):
    with Archive.open(forge(tmp_path / "m.nav")) as opened:
        assert opened.read("a.bin", 100) == b"a" * 100


@pytest.mark.parametrize("length", [0, 10, 100, 0.5, 0.9, -1])
def test_a_truncated_archive_is_refused(packed, length):
    whole = packed.read_bytes()
    packed.write_bytes(whole[: int(length * len(whole)) if 0 < length < 1 else length])
    refused(packed, "cut short")


def test_another_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as file:
        file.writestr("word/document.xml", "<w/>")
        file.writestr("manifest.json", "{}")
    refused(tmp_path / "other.zip", "first member is not manifest.json")
    with zipfile.ZipFile(tmp_path / "none.zip", "w"):
        pass
    refused(tmp_path / "none.zip", "first member is not manifest.json")


def test_a_zip_behind_other_content_is_refused(packed):
    packed.write_bytes(b"#!/bin/sh\nrm -rf ~\n" + packed.read_bytes())
    refused(packed, "its directory is not where it is said to be")


@pytest.mark.parametrize(
    "name",
    ["../up", "a/../../up", "/etc/passwd", "//host/x", "a\\..\\b", "C:evil", "C:/evil", "a/", "./a", "a//b", "..",
     "line\nbreak", "esc\x1b[2J", "\u202egnp.exe", "tab\t"],
)  # fmt: skip
def test_a_name_that_is_no_plain_relative_path_is_refused(tmp_path, name):
    refused(forge(tmp_path / "m.nav", {name: b"x"}), "is not a plain relative path")


def test_a_name_that_the_zip_cuts_at_a_null_is_refused(tmp_path):
    manifest = b'{"schema": 1, "files": {"a.bin": {"size": 1, "sha256": ""}}}'
    path = forge(tmp_path / "m.nav", {"a.binXevil": b"x"}, manifest=manifest)
    path.write_bytes(path.read_bytes().replace(b"a.binXevil", b"a.bin\0evil"))
    refused(path, "a name that was cut")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_what_is_no_regular_file_is_refused(tmp_path, mode):
    link = zipfile.ZipInfo("link")
    link.external_attr = (mode | 0o777) << 16
    refused(forge(tmp_path / "m.nav", {"link": b"/etc/passwd"}, [(link, b"/etc/passwd")]), "link is a link or a device")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("Model.onnx", "model.ONNX"), ("straße", "STRASSE"), ("é", "e\u0301")])
def test_names_that_are_one_file_on_some_system_are_refused(tmp_path, names):
    members = [(name, b"x") for name in names]
    refused(forge(tmp_path / "m.nav", dict.fromkeys(names, b"x"), members), "the same where case does not matter")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_second_manifest_is_refused(tmp_path):
    refused(forge(tmp_path / "m.nav", {"manifest.json": b"{}"}), "the same where case does not matter")
    refused(forge(tmp_path / "m.nav", {"MANIFEST.json": b"{}"}), "the same where case does not matter")


def test_a_file_inside_of_a_file_is_refused(tmp_path):
    refused(forge(tmp_path / "m.nav", {"a": b"x", "A/b": b"y"}), "inside of another file")


def test_a_missing_and_an_extra_file_are_named(tmp_path):
    files = {"a": b"x", "b": b"y"}
    refused(forge(tmp_path / "less.nav", files, [("a", b"x")]), "lacks b, which its manifest lists")
    more = [("a", b"x"), ("b", b"y"), ("c", b"z")]
    refused(forge(tmp_path / "more.nav", files, more), "holds c, which its manifest does not list")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (b"", "damaged"),
        (b"{", "damaged"),
        (b"[]", "no schema"),
        (b"null", "no schema"),
        (b"\xff\xfe", "damaged"),
        (b"9" * 5000, "damaged"),
        (b'{"schema": "1", "files": {}}', "no schema"),
        (b'{"schema": true, "files": {}}', "no schema"),
        (b'{"schema": -1, "files": {}}', "cannot read any more"),
        (b'{"schema": 1}', "expected an object, found None"),
        (b'{"schema": 1, "files": []}', "expected an object"),
        (b'{"schema": 1, "files": {"a": 3}}', "expected an object .* found 3"),
        (b'{"schema": 1, "files": {"a": {"size": "1", "sha256": ""}}}', "expected int"),
        (b'{"schema": 1, "files": {}, "x": NaN}', "expected a finite number"),
        (b'{"schema": 1, "files": {}, "x": {"a": 1, "a": 2}}', "a key twice"),
        (b'{"schema": 1, "files": {}, "x": ' + b"[" * 200 + b"]" * 200 + b"}", "nested more than"),
        (b"[" * 50_000, "nested more than"),
        (b'{"a":' * 50_000, "nested more than"),
    ],
)
def test_a_manifest_that_is_nonsense_is_refused(tmp_path, manifest, message):
    refused(forge(tmp_path / "m.nav", {}, manifest=manifest), message)


def test_a_huge_manifest_is_not_read(tmp_path):
    refused(forge(tmp_path / "m.nav", manifest=b" " * (9 * 2**20) + b"{}"), "its manifest has 9437186 bytes")


def deflated(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> tuple[zipfile.ZipInfo, bytes]:
    member = zipfile.ZipInfo(name)
    member.compress_type = method
    return member, content


def test_a_bomb_is_refused_before_it_is_read(tmp_path):
    zeros = bytes(20_000_000)
    refused(forge(tmp_path / "one.nav", {"a": zeros}, [deflated("a", zeros)]), "a would unpack from")
    many = {str(n): zeros[:6_000_000] for n in range(3)}
    forge(tmp_path / "many.nav", many, [deflated(name, content) for name, content in many.items()])
    refused(tmp_path / "many.nav", "it would unpack from")


def test_a_way_of_compressing_that_we_do_not_write_is_refused(tmp_path):
    refused(forge(tmp_path / "m.nav", {"a": b"x"}, [deflated("a", b"x", zipfile.ZIP_LZMA)]), "compressed in a way")


def test_a_size_that_differs_from_the_listed_one_is_refused(tmp_path):
    refused(forge(tmp_path / "m.nav", {"a": b"x"}, [("a", b"xx")]), "a has 2 bytes, listed are 1")


def forge_size(path: Path, name: str, size: int) -> None:
    """Change a member's size in the zip's directory and before its data."""
    data = bytearray(path.read_bytes())
    for signature, length, at in ((b"PK\x01\x02", 46, 24), (b"PK\x03\x04", 30, 22)):
        start = data.find(signature)
        while data[start + length : start + length + len(name)] != name.encode():
            start = data.index(signature, start + 1)
        data[start + at : start + at + 4] = size.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("size", [50, 5000])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_size_forged_everywhere_is_found_when_the_file_is_read(tmp_path, size, method):
    content = random.Random(0).randbytes(100)
    listed = {"a.bin": {"size": size, "sha256": hashlib.sha256(content).hexdigest()}}
    manifest = json.dumps({"schema": 1, "files": listed}).encode()
    path = forge(tmp_path / "m.nav", members=[deflated("a.bin", content, method)], manifest=manifest)
    forge_size(path, "a.bin", size)
    with pytest.raises(PackageError), Archive.open(path) as opened:
        opened.read("a.bin", 10_000)


def change_a_byte(path: Path, inside: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(inside) + len(inside) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("fix_the_checksum", [False, True])
def test_a_changed_byte_is_found_and_nothing_appears(tmp_path, fix_the_checksum):
    path = tmp_path / "m.nav"
    if fix_the_checksum:  # as somebody would who knows zip but not the manifest
        forge(path, {"a": b"a" * 9, "z": b"good" * 9}, [("a", b"a" * 9), ("z", b"evil" * 9)])
    else:
        change_a_byte(forge(path, {"a": b"a" * 9, "z": b"good" * 9}), b"good" * 9)
    with Archive.open(path) as opened:
        assert opened.read("a", 100) == b"a" * 9
        with pytest.raises(PackageError, match=r"\bz\b"):
            opened.read("z", 100)
        with pytest.raises(PackageError, match=r"\bz\b"):
            opened.extract(tmp_path / "out")
        assert not (tmp_path / "out").exists()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine")
        with pytest.raises(PackageError):
            opened.extract(tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine": b"mine"}


def test_a_file_larger_than_asked_for_is_not_read(packed):
    with Archive.open(packed) as opened, pytest.raises(PackageError, match="7000 bytes; at most 6999"):
        opened.read("artifacts/onnx/model.onnx", limit=6999)


def test_a_file_that_is_not_inside_is_named(packed, tmp_path):
    with Archive.open(packed) as opened:
        with pytest.raises(PackageError, match="has no file 'other'"):
            opened.read("other", 10)
        with pytest.raises(PackageError, match=r"has no file 'manifest\.json'"):
            opened.extract(tmp_path / "out", ["manifest.json"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link out"])
def test_what_is_there_already_is_never_replaced_or_followed(packed, tmp_path, kind):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (out / "artifacts").write_text("mine")
    elif kind == "folder":
        (out / "artifacts").mkdir()
    else:
        (out / "artifacts").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.rglob("*"))
    with Archive.open(packed) as opened, pytest.raises(PackageError, match="artifacts is there already"):
        opened.extract(out)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_destination_that_is_a_file_is_named(packed, tmp_path):
    (tmp_path / "out").write_text("mine")
    with Archive.open(packed) as opened, pytest.raises(PackageError, match="out"):
        opened.extract(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_when_one_of_the_files_cannot_be_put_in_place_none_stays(packed, tmp_path, monkeypatch):
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if target.name == "report.json":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with Archive.open(packed) as opened, pytest.raises(PackageError, match="No space left on device"):
        opened.extract(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def mutated(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.1:
        start = chance.randrange(len(data) + 1)
        data[start:start] = data[: chance.randrange(len(data) + 1)]
    return bytes(data)


def test_whatever_happens_to_an_archive_it_is_refused_or_gives_what_was_packed(tmp_path):
    """Small files, so that most of the bytes are the zip's own."""
    path = tmp_path / "m.nav"
    files = {"a.json": b"[1, 2, 3]", "b/c.bin": b"weights", "b/d": b""}
    whole = write(path, {"name": "x"}, files).read_bytes()
    outcomes = {"refused": 0, "unharmed": 0}
    for seed in range(600):
        path.write_bytes(mutated(whole, random.Random(seed)))
        try:
            with Archive.open(path) as opened:
                opened.extract(tmp_path / str(seed))
                assert opened.manifest["name"] == "x"
        except PackageError:
            assert not (tmp_path / str(seed)).exists()
            outcomes["refused"] += 1
        else:
            assert contents(tmp_path / str(seed)) == files
            outcomes["unharmed"] += 1
    assert outcomes["refused"] > 300
    assert outcomes["unharmed"] > 10
    assert {p.name for p in tmp_path.iterdir() if not p.name.isdigit()} == {"m.nav"}
