"""What TIFF files and EXIF blocks are made of: directories of entries, and the values these point to (TIFF 6.0, part 1, 2; BigTIFF).

Reads structures that are in memory, and writes them. `formats.tiff_headers` reads those of files that are not. Needs no torch.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

SIZES: Final = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    16: 8,
    17: 8,
    18: 8,
}
"""Bytes of one value of each of TIFF's types."""
MOST_ENTRIES: Final = 4096
"""Of a directory: real ones have some dozens."""
MOST_BYTES: Final = 4 * 2**20
"""Of all values that are carried from one file to another: real ones have some kilobytes, large MakerNotes 100."""
MOST_RATIONALS: Final = 4096
MOST_NUMBERS: Final = 2**20
"""In one tag. A photo of 50 megapixels in tiles of 16 × 16 pixels has 200,000 offsets; no tag has 100 rationals."""
_LONG: Final = 4


class BrokenError(ValueError):
    """A structure that cannot be followed."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Byte order, "<" or ">", and whether it is a BigTIFF."""

    order: str
    big: bool = False

    @property
    def entry(self) -> struct.Struct:
        return struct.Struct(f"{self.order}HHQ8s" if self.big else f"{self.order}HHI4s")

    @property
    def offset(self) -> struct.Struct:
        return struct.Struct(f"{self.order}Q" if self.big else f"{self.order}I")

    @property
    def count(self) -> struct.Struct:
        return struct.Struct(f"{self.order}Q" if self.big else f"{self.order}H")

    def pack(self, code: str, *values: int) -> bytes:
        return struct.pack(self.order + code, *values)


@dataclass(frozen=True, slots=True)
class Entry:
    """A tag: its number, the type and count of its values, and where these are."""

    tag: int
    kind: int
    count: int
    field: bytes
    """The value where it fits, or else where it lies: 4 bytes, 8 in a BigTIFF."""

    @property
    def size(self) -> int:
        return SIZES.get(self.kind, 0) * self.count


@dataclass(frozen=True, slots=True)
class Table:
    """A directory as it stands in a block."""

    at: int
    end: int
    entries: tuple[Entry, ...]
    following: int

    def get(self, tag: int) -> Entry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)


Value = tuple[int, int, bytes]
"""Type, count and bytes, in the byte order of the structure."""
Tree = dict[int, "Value | Tree"]
"""A directory with its values, and the directories inside it."""


def start(data: bytes | bytearray) -> tuple[Layout, int]:
    """How a structure is laid out, and where its first directory is. Raises BrokenError, or struct.error where it ends before that."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise BrokenError("no byte order")
    (magic,) = struct.unpack_from(f"{order}H", data, 2)
    if magic not in (42, 43):
        raise BrokenError(f"the magic number is {magic}")
    layout = Layout(order, magic == 43)
    (at,) = layout.offset.unpack_from(data, 8 if layout.big else 4)
    return layout, at


def header(order: str) -> bytes:
    """Of a structure whose first directory stands right behind."""
    return (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)


def table(data: bytes | bytearray, layout: Layout, at: int) -> Table:
    """The directory at `at`. Raises BrokenError where it does not lie in the data."""
    if not 8 <= at <= len(data) - layout.count.size:
        raise BrokenError("a directory lies outside")
    (count,) = layout.count.unpack_from(data, at)
    first = at + layout.count.size
    end = first + count * layout.entry.size
    if count > MOST_ENTRIES or end > len(data):
        raise BrokenError(f"a directory of {count} entries")
    entries = tuple(Entry(*fields) for fields in layout.entry.iter_unpack(bytes(data[first:end])))
    if end + layout.offset.size > len(data):  # cut off behind its last entry, which harms nobody
        return Table(at, end, entries, 0)
    (following,) = layout.offset.unpack_from(data, end)
    return Table(at, end + layout.offset.size, entries, following)


def extent(entry: Entry, layout: Layout, length: int) -> tuple[int, int] | None:
    """(start, end) of a value that lies outside its entry; None for one that does not, or of which not all is there."""
    if entry.size <= len(entry.field):
        return None
    (first,) = layout.offset.unpack(entry.field)
    return (first, first + entry.size) if 8 <= first <= length - entry.size else None


def packed(entries: list[Entry], layout: Layout, following: int = 0) -> bytes:
    """A directory of these entries, without what they refer to."""
    rows = (layout.entry.pack(entry.tag, entry.kind, entry.count, entry.field) for entry in entries)
    return layout.count.pack(len(entries)) + b"".join(rows) + layout.offset.pack(following)


def value(data: bytes | bytearray, layout: Layout, entry: Entry) -> Value | None:
    """None for what lies outside, or is of a type that only a BigTIFF has."""
    if entry.size == 0 or entry.kind > 13:
        return None
    if entry.size <= len(entry.field):
        return entry.kind, entry.count, entry.field[: entry.size]
    place = extent(entry, layout, len(data))
    if place is None or entry.size > MOST_BYTES:
        return None
    return entry.kind, entry.count, bytes(data[slice(*place)])


def serialized(tree: Tree, at: int, layout: Layout, raw: list[Entry] | None = None) -> bytes:
    """A directory and all that it refers to, to stand at `at`. `raw`: further entries, whose values are in the file already."""
    entries = list(raw or ())
    size = layout.count.size + (len(entries) + len(tree)) * layout.entry.size + layout.offset.size
    behind = bytearray()
    width = layout.offset.size
    for tag, item in tree.items():
        if isinstance(item, tuple) and len(item[2]) <= width:
            entries.append(Entry(tag, item[0], item[1], item[2].ljust(width, b"\0")))
            continue
        behind += b"\0" * (len(behind) % 2)
        place = at + size + len(behind)
        if isinstance(item, dict):
            behind += serialized(item, place, layout)
            entries.append(Entry(tag, 16 if layout.big else _LONG, 1, layout.offset.pack(place)))
        else:
            behind += item[2]
            entries.append(Entry(tag, item[0], item[1], layout.offset.pack(place)))
    return packed(sorted(entries, key=lambda entry: entry.tag), layout) + bytes(behind)
