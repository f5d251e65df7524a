"""EXIF blocks and the tags of TIFF files: read, corrected in place, carried from one file to another. Needs no torch.

An EXIF block is a TIFF structure (CIPA DC-008, TIFF 6.0): directories of tags that point to values anywhere in it. A camera's own notes
(MakerNote) point into it as well, in ways that only its maker knows. So `corrected` changes as few bytes as it can and moves none.
Whatever the bytes are, nothing here raises: a structure that cannot be followed counts as absent.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Final, Literal

from model.metadata import tiff

_BYTE, _SHORT, _LONG, _RATIONAL = 1, 3, 4, 5
_MOST_PAGES: Final = 1000

_WIDTH, _HEIGHT, _ORIENTATION, _X_RESOLUTION, _Y_RESOLUTION, _UNIT = 256, 257, 274, 282, 283, 296
_EXIF, _GPS, _INTEROPERABILITY, _MAKER_NOTE = 34665, 34853, 40965, 37500
_COLOR_SPACE, _EXIF_WIDTH, _EXIF_HEIGHT = 40961, 40962, 40963
_XMP, _IPTC, _PHOTOSHOP, _ICC = 700, 33723, 34377, 34675
_NESTED: Final = {
    _EXIF: frozenset({_INTEROPERABILITY}),
    _GPS: frozenset[int](),
    _INTEROPERABILITY: frozenset[int](),
}
"""The tags that point to directories, and which of these each may hold: no deeper, so that no circle is followed."""
_OF_THE_FILE: Final = frozenset(
    {
        254, 255, 258, 259, 262, 266, 273, 277, 278, 279, 280, 281, 284, 301, 317, 318, 319, 320, 321, 322, 323, 324, 325, 330, 338, 339,
        347, *range(512, 522), 529, 530, 531, 532, _XMP, _IPTC, _PHOTOSHOP, _ICC, 37724, 50341,
    }
)  # fmt: skip
"""What a directory says of how the pixels were stored, and other blocks, which are kept on their own. None is true of the new file."""
_OF_THE_PHOTO: Final = frozenset(
    {
        269, 270, 271, 272, _X_RESOLUTION, _Y_RESOLUTION, 285, _UNIT, 297, 305, 306, 315, 316, 18246, 18249, 33432, 33434, 33437,
        _EXIF, _GPS, 34855, 36867, 36868, *range(40091, 40096),
    }
)  # fmt: skip
"""What a TIFF's first directory says of the photograph: title, author, dates, device. The rest describes the file."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """What is true of the file that an EXIF block goes into. `dpi` is (horizontal, vertical)."""

    width: int
    height: int
    dpi: tuple[float, float] | None = None
    location: bool = True
    """False drops GPS, and the MakerNote, into which nobody can look."""
    keep_orientation: bool = True
    """As 1. False drops the tag, which means the same."""


def checked(block: bytes) -> bytes:
    """The block without an `Exif` mark before it; empty where its first directory cannot be read."""
    block = block.removeprefix(b"Exif\0\0")
    try:
        layout, at = tiff.start(block)
        if layout.big or not tiff.table(block, layout, at).entries:
            return b""
    except (tiff.BrokenError, struct.error):
        return b""
    return block


def corrected(block: bytes, truth: Corrections) -> bytes:
    """The block for a new, upright file: orientation 1, true sizes, sRGB, and no thumbnail, which would show the gray photograph.

    All else stays where it stands, byte for byte. Empty where the structure cannot be followed.
    """
    try:
        return _corrected(block, truth) if block else b""
    except (tiff.BrokenError, struct.error):
        return b""


def orientation(block: bytes) -> int:
    """1…8, as EXIF counts; 1 where the block says nothing that can be read."""
    try:
        layout, at = tiff.start(block)
        entry = tiff.table(block, layout, at).get(_ORIENTATION)
    except (tiff.BrokenError, struct.error):
        return 1
    field = entry.field[:2] if entry is not None else b""
    return next((value for value in range(1, 9) if field == layout.pack("H", value)), 1)


def resolution(block: bytes) -> tuple[float, float] | None:
    """(horizontal, vertical) dpi; None where the block does not say them."""
    try:
        layout, at = tiff.start(block)
        stated = _resolution(block, layout, tiff.table(block, layout, at).entries)
    except (tiff.BrokenError, struct.error):
        return None
    return stated if stated is not None and all(1 < value <= 65_535 for value in stated) else None


def without_maker_note(block: bytes) -> bytes:
    """The block built anew, as short as it gets: for a JPEG, which holds 64 KiB."""
    try:
        layout, at = tiff.start(block)
        tree = _tree(block, layout, at)
    except (tiff.BrokenError, struct.error):
        return b""
    inner = tree.get(_EXIF)
    if isinstance(inner, dict):
        inner.pop(_MAKER_NOTE, None)
    return tiff.header(layout.order) + tiff.serialized(tree, 8, layout)


def with_resolution(block: bytes, dpi: tuple[float, float]) -> bytes:
    """The block with these dpi where it says none; a new one for an empty block. For files that have no other place for them."""
    try:
        layout, at = tiff.start(block) if block else (tiff.Layout("<"), 0)
        entries = tiff.table(block, layout, at).entries if block else ()
    except (tiff.BrokenError, struct.error):
        return block
    if any(entry.tag == _X_RESOLUTION for entry in entries):
        return block
    block = block or tiff.header("<")
    block += b"\0" * (len(block) % 2)
    values = b"".join(layout.pack("II", *ratio(value)) for value in dpi)
    added = (
        tiff.Entry(_X_RESOLUTION, _RATIONAL, 1, layout.pack("I", len(block))),
        tiff.Entry(_Y_RESOLUTION, _RATIONAL, 1, layout.pack("I", len(block) + 8)),
        tiff.Entry(_UNIT, _SHORT, 1, layout.pack("HH", 2, 0)),
    )
    kept = (entry for entry in entries if entry.tag not in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT))
    table = tiff.packed(sorted((*kept, *added), key=lambda entry: entry.tag), layout)
    return block[:4] + layout.pack("I", len(block) + 16) + block[8:] + values + table


def of_tiff(data: bytes, page: int = 0) -> tuple[bytes, bytes, bytes]:
    """(EXIF block, XMP, IPTC-IIM) of a page of a TIFF file: what its directory says of the photograph, as a block of its own."""
    try:
        layout, at = tiff.start(data)
        for _ in range(min(page, _MOST_PAGES)):
            at = tiff.table(data, layout, at).following
        tree = _tree(data, layout, at, {*_OF_THE_PHOTO, _XMP, _IPTC, _PHOTOSHOP})
    except (tiff.BrokenError, struct.error):
        return b"", b"", b""
    xmp, iptc, photoshop = (_bytes(tree.pop(tag, None)) for tag in (_XMP, _IPTC, _PHOTOSHOP))
    if set(tree) <= {_X_RESOLUTION, _Y_RESOLUTION, _UNIT}:
        return b"", xmp, iptc or photoshop
    small = tiff.Layout(layout.order)
    return tiff.header(small.order) + tiff.serialized(tree, 8, small), xmp, iptc or photoshop


def byte_order(block: bytes) -> Literal["<", ">"]:
    """ "<" or ">": the order in which a TIFF must be written, so that the block's values can be carried over as they are."""
    return ">" if block.startswith(b"MM") else "<"


def into_tiff(data: bytearray, block: bytes, xmp: bytes, iptc: bytes) -> None:
    """Give a TIFF file of one page, in the block's byte order, the tags of an EXIF block, an XMP packet and IPTC-IIM datasets.

    Its directory is written anew at its end. `data` was written by us: raises ValueError where it is no such file.
    """
    layout, at = tiff.start(data)
    carried: tiff.Tree = {}
    if block:
        _, first = tiff.start(block)
        carried = _tree(block, tiff.Layout(layout.order), first, _OF_THE_PHOTO)
        for tag in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT):
            carried.pop(tag, None)  # the file's own
    for tag, kind, value in ((_XMP, _BYTE, xmp), (_IPTC, _BYTE, iptc)):
        if value:
            carried[tag] = kind, len(value), value
    if not carried:
        return
    data += b"\0" * (len(data) % 2)
    raw = [entry for entry in tiff.table(data, layout, at).entries if entry.tag not in carried]
    end = len(data)
    data += tiff.serialized(carried, end, layout, raw)
    where = 8 if layout.big else 4
    data[where : where + layout.offset.size] = layout.offset.pack(end)


def _corrected(original: bytes, truth: Corrections) -> bytes:
    layout, at = tiff.start(original)
    block = bytearray(original)
    first = tiff.table(block, layout, at)
    gone = _OF_THE_FILE | (set() if truth.location else {_GPS, _MAKER_NOTE})
    gone |= set() if truth.keep_orientation else {_ORIENTATION}
    values = {
        _ORIENTATION: (_SHORT, 1),
        _WIDTH: (_LONG, truth.width),
        _HEIGHT: (_LONG, truth.height),
        _EXIF_WIDTH: (_LONG, truth.width),
        _EXIF_HEIGHT: (_LONG, truth.height),
        _COLOR_SPACE: (_SHORT, 1),
    }
    tables = [first, *_inner(block, layout, first, _EXIF)]
    tables += [inner for table in tables[1:] for inner in _inner(block, layout, table, _INTEROPERABILITY)]
    positions = [position for table in tables for position in _inner(block, layout, table, _GPS)]
    # First wipe, then write: where a hostile block lets two things overlap, what is written wins.
    for table in _thumbnails(block, layout, first):
        _wipe_table(block, layout, table)
    if not truth.location:
        for table in positions:
            _wipe_table(block, layout, table)
    for table in tables:
        _wipe(block, layout, (entry for entry in table.entries if entry.tag in gone))
    end = 8
    for table in tables:
        kept = [_patched(entry, values, layout) for entry in table.entries if entry.tag not in gone]
        if table is first:
            kept = _turned(block, layout, kept, truth.dpi, first.get(_ORIENTATION))
        packed = tiff.packed(kept, layout)
        block[table.at : table.end] = packed.ljust(table.end - table.at, b"\0")
        extents = (tiff.extent(entry, layout, len(block)) for entry in kept)
        end = max(end, table.at + len(packed), *(extent[1] for extent in extents if extent))
    if truth.location:
        for table in positions:
            extents = (tiff.extent(entry, layout, len(block)) for entry in table.entries)
            end = max(end, table.end, *(extent[1] for extent in extents if extent))
    return bytes(block[: max(end, len(block.rstrip(b"\0")))])


def _inner(block: bytearray, layout: tiff.Layout, table: tiff.Table, tag: int) -> list[tiff.Table]:
    """The directory that an entry points to; none where it cannot be read."""
    entry = table.get(tag)
    if entry is None:
        return []
    try:
        return [tiff.table(block, layout, layout.offset.unpack(entry.field)[0])]
    except tiff.BrokenError:
        return []


def _thumbnails(block: bytearray, layout: tiff.Layout, first: tiff.Table) -> Iterator[tiff.Table]:
    """The directories behind the first, whose pictures are wiped on the way."""
    seen, at = {first.at}, first.following
    while at not in seen and len(seen) < 8:
        seen.add(at)
        try:
            table = tiff.table(block, layout, at)
        except tiff.BrokenError:
            return
        for place, length in ((513, 514), (273, 279)):  # a JPEG; or a strip
            start, size = (table.get(tag) for tag in (place, length))
            if start and size and start.kind == size.kind == _LONG and start.count == size.count == 1:
                begin, count = (layout.offset.unpack(entry.field)[0] for entry in (start, size))
                if 8 <= begin <= begin + count <= len(block):
                    block[begin : begin + count] = bytes(count)
        yield table
        at = table.following


def _wipe_table(block: bytearray, layout: tiff.Layout, table: tiff.Table) -> None:
    """Zeros for a table and its values."""
    _wipe(block, layout, table.entries)
    block[table.at : table.end] = bytes(table.end - table.at)


def _wipe(block: bytearray, layout: tiff.Layout, entries: Iterable[tiff.Entry]) -> None:
    """Zeros for the values of these entries that lie outside their table."""
    for entry in entries:
        extent = tiff.extent(entry, layout, len(block))
        if extent is not None:
            block[slice(*extent)] = bytes(extent[1] - extent[0])


def _patched(entry: tiff.Entry, values: Mapping[int, tuple[int, int]], layout: tiff.Layout) -> tiff.Entry:
    if entry.tag == 1 and entry.field == b"R03\0":  # the index of Adobe RGB, where sRGB's is R98
        return replace(entry, field=b"R98\0")
    if entry.tag not in values:
        return entry
    kind, value = values[entry.tag]
    field = layout.pack("HH", value, 0) if kind == _SHORT else layout.pack("I", value)
    return tiff.Entry(entry.tag, kind, 1, field)


def _turned(
    block: bytearray,
    layout: tiff.Layout,
    entries: list[tiff.Entry],
    dpi: tuple[float, float] | None,
    orientation: tiff.Entry | None,
) -> list[tiff.Entry]:
    """The entries with the two resolutions exchanged, where they are those of the photo before it was turned by a quarter."""
    stated = _resolution(block, layout, entries)
    if stated is None or abs(stated[0] - stated[1]) < 0.5:
        return entries
    if dpi is None:
        is_turned = orientation is not None and orientation.field[:2] in [
            layout.pack("H", value) for value in (5, 6, 7, 8)
        ]
    else:
        is_turned = abs(stated[0] - dpi[1]) < 0.5 and abs(stated[1] - dpi[0]) < 0.5
    if not is_turned:
        return entries
    fields = {entry.tag: entry.field for entry in entries}
    fields[_X_RESOLUTION], fields[_Y_RESOLUTION] = fields[_Y_RESOLUTION], fields[_X_RESOLUTION]
    return [replace(entry, field=fields[entry.tag]) for entry in entries]


def _resolution(
    block: bytes | bytearray, layout: tiff.Layout, entries: Iterable[tiff.Entry]
) -> tuple[float, float] | None:
    """(horizontal, vertical) in dots an inch; None where it is not said, or not in inches or centimeters."""
    found = {entry.tag: entry for entry in entries if entry.tag in (_X_RESOLUTION, _Y_RESOLUTION, _UNIT)}
    unit = found[_UNIT].field if _UNIT in found else layout.pack("HH", 2, 0)
    scale = {layout.pack("H", 2): 1.0, layout.pack("H", 3): 2.54}.get(unit[:2])
    if scale is None:
        return None
    values = []
    for tag in (_X_RESOLUTION, _Y_RESOLUTION):
        extent = tiff.extent(found[tag], layout, len(block)) if tag in found else None
        if extent is None or found[tag].kind != _RATIONAL:
            return None
        numerator, denominator = struct.unpack_from(f"{layout.order}II", block, extent[0])
        values.append(numerator / max(denominator, 1) * scale)
    return values[0], values[1]


def _tree(
    data: bytes | bytearray,
    layout: tiff.Layout,
    at: int,
    wanted: frozenset[int] | set[int] | None = None,
    nested: Mapping[int, frozenset[int]] = _NESTED,
) -> tiff.Tree:
    """A directory with its values and inner directories, without what cannot be read or is too much. Raises tiff.BrokenError."""
    tree: tiff.Tree = {}
    left = tiff.MOST_BYTES
    for entry in tiff.table(data, layout, at).entries:
        if (wanted is not None and entry.tag not in wanted) or entry.tag in tree:
            continue
        if entry.tag in _NESTED:
            inside = dict.fromkeys(nested.get(entry.tag, ()), frozenset[int]())
            if entry.tag in nested and (inner := _inner_tree(data, layout, entry, inside)):
                tree[entry.tag] = inner
            continue
        value = tiff.value(data, layout, entry)
        if value is not None and len(value[2]) <= left:
            left -= len(value[2])
            tree[entry.tag] = value
    return tree


def _inner_tree(
    data: bytes | bytearray, layout: tiff.Layout, entry: tiff.Entry, nested: Mapping[int, frozenset[int]]
) -> tiff.Tree:
    try:
        return _tree(data, layout, layout.offset.unpack(entry.field)[0], None, nested)
    except tiff.BrokenError:
        return {}


def _bytes(value: tiff.Value | tiff.Tree | None) -> bytes:
    return value[2] if isinstance(value, tuple) else b""


def ratio(value: float) -> tuple[int, int]:
    """To a hundredth: PNG counts in dots a meter, which makes 299.9994 of 300 dpi."""
    nearest = Fraction(value).limit_denominator(100)
    return nearest.numerator, nearest.denominator
