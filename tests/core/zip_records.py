"""A zip as its records, so that tests can write what no library writes."""

from __future__ import annotations

import struct
from pathlib import Path

import attrs

END = struct.Struct("<4s4H2LH")
ENTRY = struct.Struct("<4s6H3L5H2L")
HEADER = struct.Struct("<4s5H3L2H")


@attrs.define
class Record:
    """What is told of a file in one place; ``offset`` and ``external`` only in the directory."""

    name: bytes
    flags: int
    method: int
    checksum: int
    packed: int
    size: int
    extra: bytes = b""
    comment: bytes = b""
    external: int = 0
    offset: int | None = None
    """None: where the file really is."""


@attrs.define
class Member:
    """A file: before its content, in the directory, and the content as it is packed."""

    header: Record
    entry: Record
    content: bytes
    before: bytes = b""


@attrs.define
class Zip:
    """A whole zip without ZIP64; `written` gives its bytes."""

    members: list[Member]
    comment: bytes = b""
    after: bytes = b""
    count: int | None = None
    end: dict[str, int] = attrs.Factory(dict)

    def written(self) -> bytes:
        """The bytes, as contradictory as the records are."""
        body, directory = bytearray(), bytearray()
        for member in self.members:
            body += member.before
            here, r = len(body), member.header
            body += HEADER.pack(
                b"PK\3\4", 20, r.flags, r.method, 0, 33, r.checksum, r.packed, r.size, len(r.name), len(r.extra)
            )
            body += r.name + r.extra + member.content
            e = member.entry
            offset = here if e.offset is None else e.offset
            directory += ENTRY.pack(
                b"PK\1\2", 0x314, 20, e.flags, e.method, 0, 33, e.checksum, e.packed, e.size,
                len(e.name), len(e.extra), len(e.comment), 0, 0, e.external, offset,
            )  # fmt: skip
            directory += e.name + e.extra + e.comment
        body += self.after
        count = len(self.members) if self.count is None else self.count
        size, offset = self.end.get("size", len(directory)), self.end.get("offset", len(body))
        return (
            bytes(body + directory)
            + END.pack(b"PK\5\6", 0, 0, count, count, size, offset, len(self.comment))
            + (self.comment)
        )


def read(path: Path) -> Zip:
    """The records of a zip that `navigator_core.archive.write` has written."""
    data = path.read_bytes()
    _, _, _, _, count, _, here, _ = END.unpack(data[-END.size :])
    members = []
    for _ in range(count):
        _, _, _, flags, method, _, _, checksum, packed, size, n, x, c, _, _, external, offset = ENTRY.unpack_from(
            data, here
        )
        name = data[here + ENTRY.size :][:n]
        entry = Record(name, flags, method, checksum, packed, size, external=external)
        start = offset + HEADER.size + n
        members.append(Member(attrs.evolve(entry), entry, data[start : start + packed]))
        here += ENTRY.size + n + x + c
    return Zip(members)
