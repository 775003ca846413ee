"""A zip's records held against each other: nothing is told twice in two ways, no byte is hidden or in two files.

Readers of zips differ in what they believe: the directory at the end, or the header before each file. Here both must
say the same, and headers, files and directory follow each other without a gap from the first byte to the last.
The layout is that of PKWARE's APPNOTE, sections 4.3 and 4.5.3, as far as `archive.write` uses it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import IO

from attrs import frozen

from navigator_core.refusal import RefusedError, require

LARGEST_DIRECTORY = 16 * 2**20
"""Bytes; each file takes 46 and its name."""

UTF8 = 0x800
METHODS = (0, 8)
"""Stored and deflated."""
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_SATURATED = 0xFFFFFFFF

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_HEADER = struct.Struct("<4s5H3L2H")


@frozen
class _Told:
    """What a record tells of a file, wherever it does."""

    name: bytes
    flags: int
    method: int
    checksum: int
    packed: int
    size: int


@frozen
class _Directory:
    offset: int
    size: int
    count: int


def check(file: IO[bytes], length: int) -> None:
    """Raises RefusedError for a zip of ``length`` bytes whose records contradict each other or leave a gap."""
    directory = _directory(file, length)
    require(directory.size <= LARGEST_DIRECTORY, f"its directory has {directory.size} bytes")
    here = 0
    for told, offset in _entries(_bytes(file, directory.offset, directory.size), directory.count):
        name = told.name.decode(errors="backslashreplace")
        require(
            offset == here, f"{name!r} does not begin where what is before it ends: two overlap, or bytes are hidden"
        )
        header, length_of_header = _header(file, here)
        require(header == told, f"{name!r} is told in one way before its content and in another in the directory")
        here += length_of_header + told.packed
    require(here == directory.offset, "holds bytes that belong to none of its files")


def _directory(file: IO[bytes], length: int) -> _Directory:
    require(length >= _END.size, "is damaged, cut short or no .nav file: it is shorter than any zip")
    place = length - _END.size
    magic, *disks, here, count, size, offset, comment = _END.unpack(_bytes(file, place, _END.size))
    require(magic == b"PK\5\6", "is damaged, cut short or no .nav file: it does not end as a zip does")
    require(not comment, "carries a comment")
    require(disks == [0, 0] and here == count, "is one part of several")
    found = _Directory(offset, size, count)
    wide = _wide_directory(file, place)
    if wide is not None:
        saturated = zip((found.offset, found.size, found.count), (wide.offset, wide.size, wide.count), strict=True)
        agree = all(a == b or (a in (0xFFFF, _SATURATED) and b >= a) for a, b in saturated)
        require(agree, "tells in two ways where its directory is")
        found, place = wide, place - _LOCATOR.size - _END64.size
    require(found.offset + found.size == place, "is damaged or cut short: its directory is not where it is said to be")
    return found


def _wide_directory(file: IO[bytes], place: int) -> _Directory | None:
    """What the records of ZIP64 before the end say; None where there are none."""
    if place < _LOCATOR.size + _END64.size:
        return None
    magic, disk, at, disks = _LOCATOR.unpack(_bytes(file, place - _LOCATOR.size, _LOCATOR.size))
    if magic != b"PK\6\7":
        return None
    start = place - _LOCATOR.size - _END64.size
    require((disk, at, disks) == (0, start, 1), "is damaged: its ZIP64 record is not where it is said to be")
    magic, size, _, _, *parts, here, count, length, offset = _END64.unpack(_bytes(file, start, _END64.size))
    plain = magic == b"PK\6\6" and size == _END64.size - 12 and parts == [0, 0] and here == count
    require(plain, "is damaged: its ZIP64 record is none")
    return _Directory(offset, length, count)


def _entries(directory: bytes, count: int) -> Iterator[tuple[_Told, int]]:
    """Each file as the directory tells of it, and where its header is."""
    here = 0
    for _ in range(count):
        require(here + _ENTRY.size <= len(directory), "is damaged: its directory is shorter than it says")
        magic, _, _, flags, method, _, _, checksum, packed, size, *lengths, disk, _, _, offset = _ENTRY.unpack_from(
            directory, here
        )
        name_length, extra_length, comment_length = lengths
        here += _ENTRY.size
        name = directory[here : here + name_length]
        extra = directory[here + name_length : here + name_length + extra_length]
        here += name_length + extra_length + comment_length
        require(magic == b"PK\1\2" and here <= len(directory), "is damaged: its directory is none")
        require(not comment_length and not disk, f"{_shown(name)} carries a comment, or lies elsewhere")
        size, packed, offset = _widened(name, extra, size, packed, offset)
        yield _checked(_Told(name, flags, method, checksum, packed, size)), offset
    require(here == len(directory), "is damaged: its directory is longer than it says")


def _header(file: IO[bytes], here: int) -> tuple[_Told, int]:
    """What is told before the content at this place, and how many bytes that takes."""
    magic, _, flags, method, _, _, checksum, packed, size, name_length, extra_length = _HEADER.unpack(
        _bytes(file, here, _HEADER.size)
    )
    require(magic == b"PK\3\4", "is damaged: there is no file where its directory names one")
    rest = _bytes(file, here + _HEADER.size, name_length + extra_length)
    name, extra = rest[:name_length], rest[name_length:]
    size, packed = _widened(name, extra, size, packed)
    return _Told(name, flags, method, checksum, packed, size), _HEADER.size + len(rest)


def _checked(told: _Told) -> _Told:
    name = _shown(told.name)
    require(not told.flags & _ENCRYPTED, f"{name} is encrypted")
    require(told.method in METHODS, f"{name} is compressed in a way that Navigator does not write")
    require(
        not told.flags & ~UTF8, f"{name} was written in a way that Navigator does not write (flags {told.flags:#x})"
    )
    require(told.name.isascii() or told.flags & UTF8, f"{name} has a name in an encoding that is not told")
    require(b"\0" not in told.name, f"{name} has a name that was cut")
    return told


def _widened(name: bytes, extra: bytes, *values: int) -> list[int]:
    """The values, those that do not fit into 32 bits taken from the extra field of ZIP64; no other may be there."""
    if not extra:
        return list(values)
    require(len(extra) >= 4, f"{_shown(name)} has an extra field that is none")
    kind, length = struct.unpack_from("<2H", extra)
    missing = values.count(_SATURATED)
    whole = kind == 1 and length == len(extra) - 4 == 8 * missing
    require(whole, f"{_shown(name)} has an extra field that Navigator does not write")
    wide = iter(struct.unpack_from(f"<{missing}Q", extra, 4))
    return [next(wide) if value == _SATURATED else value for value in values]


def _bytes(file: IO[bytes], place: int, length: int) -> bytes:
    file.seek(place)
    found = file.read(length)
    if len(found) < length:
        raise RefusedError("is damaged or cut short: its records point beyond its end")
    return found


def _shown(name: bytes) -> str:
    return repr(name.decode(errors="backslashreplace"))
