"""Zips that tell two readers two things, hide bytes, or name what is another file elsewhere."""

import hashlib
import json
import struct
import subprocess
import sys
import zipfile

import attrs
import pytest
import zip_records

from navigator_core import archive, layout
from navigator_core.archive import Archive, write
from navigator_core.errors import PackageError


@pytest.fixture
def path(tmp_path):
    return write(tmp_path / "m.nav", {}, {"a.bin": b"a" * 50, "b.json": b'{"b": 1}' * 20, "c.bin": b"c" * 30})


@pytest.fixture
def records(path):
    return zip_records.read(path)


def refused(path, content, message):
    path.write_bytes(content)
    with pytest.raises(PackageError, match=message) as caught, Archive.open(path):
        pass
    assert str(path) in str(caught.value)


def test_records_that_nobody_touched_are_read(path, records):
    path.write_bytes(records.written())
    with Archive.open(path) as opened:
        assert opened.read("a.bin", 50) == b"a" * 50


@pytest.mark.parametrize("field", ["name", "flags", "method", "checksum", "packed", "size"])
def test_a_header_that_contradicts_the_directory_is_refused(path, records, field):
    header = records.members[2].header
    other = {"name": b"z.json", "flags": layout.UTF8, "method": 0, "checksum": 1, "packed": 1, "size": 1}
    setattr(header, field, other[field])
    refused(path, records.written(), "told in one way before its content and in another in the directory")


def test_two_files_out_of_the_same_bytes_are_refused(path, records):
    first, second = records.members[1], records.members[3]
    second.entry = attrs.evolve(first.entry, name=b"c.bin", offset=None)
    second.entry.offset = len(records.written()[: records.written().index(b"a.bin")]) - 30
    refused(path, records.written(), "two overlap, or bytes are hidden")


def test_bytes_between_two_files_are_refused(path, records):
    records.members[2].before = b"hidden"
    refused(path, records.written(), "'b.json' does not begin where what is before it ends")


def test_bytes_behind_the_last_file_are_refused(path, records):
    records.after = b"hidden"
    refused(path, records.written(), "holds bytes that belong to none of its files")


def test_bytes_in_front_and_behind_are_refused(path, records):
    whole = records.written()
    refused(path, b"MZ" + whole, "its directory is not where it is said to be")
    refused(path, whole + b"x", "does not end as a zip does")


def test_comments_are_refused(path, records):
    refused(path, attrs.evolve(records, comment=b"hello").written(), "does not end as a zip does")
    records.members[1].entry.comment = b"hello"
    refused(path, records.written(), r"'a\.bin' carries a comment")


@pytest.mark.parametrize("extra", [b"x", struct.pack("<2H4s", 0x7075, 4, b"evil"), struct.pack("<2HQ", 1, 8, 5)])
@pytest.mark.parametrize("where", ["header", "entry"])
def test_extra_fields_that_are_not_needed_are_refused(path, records, extra, where):
    getattr(records.members[1], where).extra = extra
    refused(path, records.written(), r"'a\.bin' has an extra field that")


@pytest.mark.parametrize("bit", [0, 6, 13])
def test_encrypted_files_are_refused(path, records, bit):
    records.members[1].header.flags = records.members[1].entry.flags = 1 << bit
    refused(path, records.written(), r"'a\.bin' is encrypted")


@pytest.mark.parametrize("bit", [3, 5])
def test_sizes_behind_the_content_and_patches_are_refused(path, records, bit):
    records.members[1].header.flags = records.members[1].entry.flags = 1 << bit
    refused(path, records.written(), r"'a\.bin' was written in a way that Navigator does not write")


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93, 99])
def test_other_ways_of_compressing_are_refused(path, records, method):
    records.members[1].header.method = records.members[1].entry.method = method
    refused(path, records.written(), r"'a\.bin' is compressed in a way")


def test_a_name_in_an_untold_encoding_is_refused(path, records):
    for record in (records.members[1].header, records.members[1].entry):
        record.name = "é.bin".encode()
    refused(path, records.written(), "has a name in an encoding that is not told")


@pytest.mark.parametrize("count", [0, 1, 3, 5, 60_000])
def test_a_directory_of_another_length_than_told_is_refused(path, records, count):
    refused(
        path, attrs.evolve(records, count=count).written(), "its directory is (shorter|longer) than it says|damaged"
    )


@pytest.mark.parametrize("end", [{"offset": 0}, {"size": 0}, {"offset": 2**32 - 1}, {"size": 2**32 - 1}])
def test_a_directory_that_is_elsewhere_is_refused(path, records, end):
    refused(path, attrs.evolve(records, end=end).written(), "its directory is not where")


WIDE = 2**32 - 1


@pytest.mark.parametrize("size", [0, 49, 51, 2**31, 2**40, 2**63, 2**64 - 1])
@pytest.mark.parametrize("both", [False, True])
def test_sizes_forged_by_way_of_zip64_are_refused(path, records, size, both):
    member = records.members[1]
    for record in (member.header, member.entry) if both else (member.entry,):
        record.size = record.packed = WIDE
        record.extra = struct.pack("<2H2Q", 1, 16, size, size)
    refused(path, records.written(), r"told in one way|does not begin|cut short")


@pytest.mark.parametrize("place", [1, 2**40, 2**64 - 1])
def test_places_forged_by_way_of_zip64_are_refused(path, records, place):
    entry = records.members[1].entry
    entry.offset, entry.extra = WIDE, struct.pack("<2HQ", 1, 8, place)
    refused(path, records.written(), r"'a\.bin' does not begin where")


@pytest.mark.parametrize(("field", "value"), [(4, 5000), (6, 5000), (7, 1), (8, 2**50), (9, 2**50), (9, 3)])
def test_a_forged_zip64_directory_is_refused(path, records, field, value):
    plain = records.written()
    _, _, _, _, count, size, offset, _ = zip_records.END.unpack(plain[-22:])
    honest = [b"PK\6\6", 44, 45, 45, 0, 0, count, count, size, offset]
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(plain) - 22, 1)

    def with_zip64(told):
        return plain[:-22] + struct.pack("<4sQ2H2L4Q", *told) + locator + plain[-22:]

    path.write_bytes(with_zip64(honest))
    with Archive.open(path) as opened:
        assert opened.names() == ("a.bin", "b.json", "c.bin")
    honest[field] = value
    refused(path, with_zip64(honest), "damaged|two ways|cut short")


def test_a_directory_too_large_to_be_ours_is_not_read(path, records, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_DIRECTORY", 100)
    refused(path, records.written(), "its directory has 213 bytes")


def test_a_stored_file_of_another_size_than_it_takes_is_refused(path, records):
    member = records.members[1]
    member.header.size = member.entry.size = 20
    refused(path, records.written(), r"a\.bin is stored in 50 bytes, and said to have 20")


def test_python_reads_in_every_accepted_zip_what_we_read(path, records):
    """The library below us, and the command `unzip` where there is one."""
    path.write_bytes(records.written())
    done = subprocess.run([sys.executable, "-m", "zipfile", "-t", path], capture_output=True, text=True, check=True)
    assert "Done testing" in done.stdout


def named(path, name):
    """An honest archive but for one name."""
    content = b"x"
    listed = {name: {"size": 1, "sha256": hashlib.sha256(content).hexdigest()}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps({"schema": archive.SCHEMA, "navigator": "0.1.0", "files": listed}))
        file.writestr(name, content)
    return path.read_bytes()


@pytest.mark.parametrize(
    "name",
    [
        "con",
        "CON.txt",
        "a/nul",
        "NUL .json",
        "aux.tar.gz",
        "prn/x",
        "com1",
        "LPT9.bin",
        "COM¹.x",
        "conin$",
        "x/CONOUT$",
    ],
)
def test_a_device_of_windows_is_refused(path, name):
    refused(path, named(path, name), "is a device of Windows")


@pytest.mark.parametrize("name", ["console", "nullable.json", "com", "com10", "lpt", "auxiliary/x", "x.con"])
def test_what_only_begins_like_a_device_is_accepted(path, name):
    path.write_bytes(named(path, name))
    with Archive.open(path) as opened:
        assert opened.names() == (name,)


@pytest.mark.parametrize(
    "name", ["a.", "a ", "dir./x", "dir /x", " a", "name:stream", "what?", "a*", 'say "x"', "a<b", "a>b", "a|b"]
)
def test_a_name_that_is_another_one_on_windows_is_refused(path, name):
    refused(path, named(path, name), "would be another one on Windows")


@pytest.mark.parametrize("name", ["a／b/..", "‥/x", "．．/x", "Ｃ：/x", "a＼b"])
def test_a_name_that_becomes_a_path_once_unicode_is_normalised_is_refused(path, name):
    refused(path, named(path, name), "is not a plain relative path")


def test_names_that_are_too_long_are_refused(path):
    refused(path, named(path, "x" * 256), "has a part that is too long")
    refused(path, named(path, "é" * 128), "has a part that is too long")
    refused(path, named(path, "a/" * 600 + "b"), "has 1201 characters")


@pytest.mark.parametrize("names", [("ﬁle", "file"), ("Å", "\u212b"), ("ẛ̣", "ṩ"), ("①", "1"), ("a/B", "A/b")])
def test_names_that_unicode_takes_for_one_are_refused(path, names):
    listed = {name: {"size": 1, "sha256": hashlib.sha256(b"x").hexdigest()} for name in names}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps({"schema": archive.SCHEMA, "files": listed}))
        for name in names:
            file.writestr(name, b"x")
    refused(path, path.read_bytes(), "the same where case does not matter")


def test_a_missing_name_cannot_write_to_the_terminal(path):
    listed = {"\x1b[2Jevil": {"size": 1, "sha256": ""}}
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("manifest.json", json.dumps({"schema": archive.SCHEMA, "files": listed}))
    with pytest.raises(PackageError) as caught, Archive.open(path):
        pass
    assert str(caught.value).isprintable()
    assert r"\x1b[2Jevil" in str(caught.value)
