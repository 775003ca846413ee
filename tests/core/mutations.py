"""Seeded damage to a valid package: to its bytes, to the zip's records, to its documents, to its arrays, to its files.

What changes a file inside also lists it anew, as whoever means harm would, unless chance says otherwise.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import zip_records

NASTY_NAMES = (
    "../up", "/etc/passwd", "a/../../up", "..", ".", "", "/", "a//b", "C:\\x", "c:x", "a\\b", "nul", "COM1.txt", "a.",
    "a ", "manifest.json", "MANIFEST.JSON", "report.json/x", "artifacts", "samples", "\x1b[2J", "x\0y", "\u202egnp",
    "‥/x", "é", "e\u0301", "x" * 300, "d/" * 700 + "x", "\ud800", "a:b", "report.json", "signature.json",
    "artifacts/00/extra",
)  # fmt: skip
NASTY_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**63, 2**64, 10**40, 1.5, -0.0, 1e308, 5e-324, "", "x", "nan", "os:system",
    "runpy:run_path", "builtins:exec", "builtins:dict", "antigravity:x", "\x1b[2J", "\ud800", "x" * 5000, [], {}, [[]],
    [None], {"": None}, {"class": "Leaf", "name": "x"}, {"class": "Dim"}, {"target": "os:system"}, {"float": "nan"},
    {"float": "inf"}, {"opaque": "x"}, {"pairs": [[1, 2]]}, {"pairs": [[[], 2]]}, {"object": {}}, "../../x",
    "/etc/passwd", "artifacts", "artifacts/00", "samples/000.npz", "cuda:0", "python", "fp16",
)  # fmt: skip
STRUCTS = ("size", "packed", "checksum", "flags", "method", "offset", "external", "name", "extra", "comment")


def mutated(whole: bytes, seed: int, folder: Path) -> bytes:
    """The package after one kind of damage, chosen and done by the seed; ``folder`` is for a moment's file."""
    chance = random.Random(seed)
    return chance.choice(KINDS)(whole, chance, folder)


def _bytes(whole: bytes, chance: random.Random, folder: Path) -> bytes:
    data = bytearray(whole)
    for _ in range(chance.choice([1, 1, 2, 8, 64])):
        data[_place(data, chance)] = chance.choice([0, 255, chance.randrange(256)])
    if chance.random() < 0.2:
        del data[chance.randrange(len(data)) :]
    if chance.random() < 0.2:
        start, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        place = chance.randrange(len(data) + 1)
        data[place:place] = data[start:end]
    return bytes(data)


def _place(data: bytearray, chance: random.Random) -> int:
    """Anywhere, or in what the zip itself has at its end."""
    return (
        chance.randrange(len(data)) if chance.random() < 0.5 else len(data) - 1 - chance.randrange(min(900, len(data)))
    )


def _records(whole: bytes, chance: random.Random, folder: Path) -> bytes:
    (folder / "whole").write_bytes(whole)
    found = zip_records.read(folder / "whole")
    for _ in range(chance.choice([1, 1, 2, 3])):
        member = chance.choice(found.members)
        field, value = (
            chance.choice(STRUCTS),
            chance.choice([0, 1, 8, 12, 2**31 - 1, 2**32 - 1, chance.randrange(2**16)]),
        )
        records = chance.choice([(member.header,), (member.entry,), (member.header, member.entry)])
        for record in records:
            if field == "name":
                record.name = chance.choice(NASTY_NAMES).encode("utf-8", "replace")[:60_000]
                record.flags |= chance.choice([0, 0x800])
            elif field in ("extra", "comment"):
                setattr(record, field, chance.randbytes(chance.choice([1, 4, 12, 20])))
                if field == "extra" and chance.random() < 0.6:
                    size = chance.choice([0, 2**31, 2**40, 2**63, 2**64 - 1, chance.randrange(5000)])
                    record.extra = b"\1\0\20\0" + size.to_bytes(8, "little") * 2
                    record.size = record.packed = 2**32 - 1
            elif field in ("flags", "method"):
                setattr(record, field, value % 2**16)
            else:
                setattr(record, field, value)
    if chance.random() < 0.3:
        chance.choice([chance.shuffle, lambda members: members.append(chance.choice(members)), list.pop])(found.members)
    if chance.random() < 0.1:
        chance.choice(found.members).before = chance.randbytes(5)
    if chance.random() < 0.1:
        found.end[chance.choice(["offset", "size"])] = chance.choice([0, 1, 2**32 - 1, chance.randrange(5000)])
    if chance.random() < 0.1:
        found.count = chance.choice([0, 1, 2**16 - 1])
    return found.written()


def _documents(whole: bytes, chance: random.Random, folder: Path) -> bytes:
    files = _unpacked(whole)
    name = chance.choice(["report.json", "report.json", "report.json", "manifest.json", "signature.json"])
    document = json.loads(files[name])
    for _ in range(chance.choice([1, 1, 1, 2, 5])):
        _hurt(document, chance)
    if chance.random() < 0.02:
        document = chance.choice(NASTY_VALUES)
    if chance.random() < 0.03:
        document = _nested(chance.choice([50, 90, 99, 101, 500]), document)
    text = json.dumps(document)
    if chance.random() < 0.05:
        text = chance.choice(
            ["[" * 100_000, '{"a":' * 100_000, text + "}", text.replace("1", "9" * 5000, 1), "\ufeff" + text]
        )
    files[name] = text.encode("utf-8", "surrogatepass")
    return _packed(files, relist=name != "manifest.json" and chance.random() < 0.97)


def _nested(depth: int, inside: Any) -> Any:
    for number in range(depth):
        inside = [inside] if number % 2 else {"a": inside}
    return inside


def _hurt(document: Any, chance: random.Random) -> None:
    places = list(_places(document))
    if not places:
        return
    holder, key = chance.choice(places)
    what = chance.random()
    if what < 0.15:
        del holder[key]
    elif what < 0.3:
        other, where = chance.choice(places)
        holder[key] = json.loads(json.dumps(other[where])) if _has(other, where) else None
    elif what < 0.4 and isinstance(holder, dict):
        holder[chance.choice([*NASTY_NAMES, "implementation", "executes_code", "home", "class"])] = holder.pop(key)
    elif what < 0.45 and isinstance(holder, list):
        holder.extend(holder * chance.choice([1, 3]))
    elif isinstance(holder[key], str) and what < 0.6:
        holder[key] = chance.choice(NASTY_NAMES)
    else:
        holder[key] = copy.deepcopy(chance.choice(NASTY_VALUES))


def other_numbers(whole: bytes, name: str, values: Iterable[Any]) -> Iterator[tuple[bytes, str]]:
    """The package with one number of one document replaced, for every number and value, and what was replaced."""
    files = _unpacked(whole)
    document = json.loads(files[name])
    for holder, key in _places(document):
        number = holder[key]
        for value in values if type(number) in (int, float) else ():
            holder[key] = value
            yield _packed({**files, name: json.dumps(document).encode()}), f"{key!r}: {number} -> {value}"
        holder[key] = number


def _has(holder: Any, key: Any) -> bool:
    return key in holder if isinstance(holder, dict) else key < len(holder)


def _places(value: Any) -> Any:
    for key, child in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(child, dict | list):
            yield from _places(child)


def _arrays(whole: bytes, chance: random.Random, folder: Path) -> bytes:
    files = _unpacked(whole)
    name = chance.choice([name for name in files if name.startswith(("samples/", "references/"))])
    with np.load(io.BytesIO(files[name])) as stored:
        arrays = {key: stored[key] for key in stored.files}
    key = chance.choice(list(arrays))
    made = io.BytesIO()
    what = chance.randrange(7)
    if what == 0:
        arrays[key] = np.zeros((0, 3), "int64")
    elif what == 1:
        arrays[key] = np.array([{"an": "object"}], dtype=object)
    elif what == 2:
        arrays[key] = np.frombuffer(
            chance.choice([b"[]", b'["../x"]', b"[1]", b"{}", b"[" * 9000, b'["x", "x"]']), "uint8"
        )
    elif what == 3:
        arrays[chance.choice([*NASTY_NAMES[:8], "a7", "names2"])] = arrays.pop(key)
    save = np.savez_compressed if what == 4 else np.savez
    if what == 4:
        arrays[key] = np.zeros(2_000_000, "float32")
    save(made, **arrays)
    content = bytearray(made.getvalue())
    if what == 5:
        for old, new in ((b"'shape': (", b"'shape': (9999999999,"), (b"<f4", b"|O8"), (b"False", b"True ")):
            if chance.random() < 0.5:
                content = bytearray(bytes(content).replace(old, new, 1))
    if what == 6:
        for _ in range(chance.choice([1, 3])):
            content[chance.randrange(len(content))] = chance.randrange(256)
    files[name] = bytes(content)
    return _packed(files)


def _swapped(whole: bytes, chance: random.Random, folder: Path) -> bytes:
    files = _unpacked(whole)
    manifest = files["manifest.json"]
    names = [name for name in files if name != "manifest.json"]
    one, other = chance.choice(names), chance.choice(names)
    what = chance.randrange(5)
    if what == 0:
        files[one], files[other] = files[other], files[one]
    elif what == 1:
        del files[one]
    elif what == 2:
        files[chance.choice(NASTY_NAMES)] = files[one]
    elif what == 3:
        files[one] = chance.choice([b"", b"\0" * 1000, chance.randbytes(100), whole, files[one] * 2])
    else:
        files[chance.choice(NASTY_NAMES)] = files.pop(one)
    return _packed(files, relist=files["manifest.json"] is manifest and chance.random() < 0.8)


def _unpacked(whole: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _packed(files: dict[str, bytes], *, relist: bool = True) -> bytes:
    """A zip of these files; ``relist``: the manifest says what they are now."""
    files = dict(files)
    text = files.pop("manifest.json", b"{}")
    if relist:
        manifest = json.loads(text)
        sums = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in files.items()}
        manifest["files"] = {name: {"size": size, "sha256": digest} for name, (size, digest) in sums.items()}
        text = json.dumps(manifest).encode()
    records = []
    for name, content in {"manifest.json": text, **files}.items():
        raw = name.encode("utf-8", "replace")[:60_000]
        record = zip_records.Record(
            raw,
            0 if raw.isascii() else 0x800,
            0,
            zipfile.crc32(content),
            len(content),
            len(content),
            external=0x81A40000,
        )
        records.append(zip_records.Member(attrs.evolve(record), record, content))
    return zip_records.Zip(records).written()


KINDS: tuple[Callable[[bytes, random.Random, Path], bytes], ...] = (
    _bytes, _records, _documents, _documents, _documents, _arrays, _swapped,
)  # fmt: skip
