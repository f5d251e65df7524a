"""The pages of a TIFF, and which of them is the photograph (TIFF 6.0, part 2; BigTIFF; TIFF/EP and DNG for cameras' raw files)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from model.formats.header_source import LONGEST_READ, Header, HeaderError, RefusedError, Source
from model.metadata.tiff import MOST_ENTRIES, MOST_NUMBERS, MOST_RATIONALS, SIZES, Layout

_MOST_PAGES: Final = 4096
_MOST_ENTRIES_IN_ALL: Final = 200_000
"""Of all directories together, which may overlap: a file of 25 MiB had 50 million."""
_RAW_PHOTOMETRIC: Final = (32_803, 34_892)
"""A color filter array, and what a camera's linear raw file has."""
_CODES: Final = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_INTERESTING: Final = (254, 256, 257, 258, 259, 262, 277, 284, 317, 330, 332, 338, 339, 530, 50_706)
_MOST_VALUES: Final = 16
"""That are looked at, of any tag."""


@dataclass(frozen=True, slots=True)
class Page:
    """A directory's tags, as far as they matter here, with TIFF's defaults."""

    tags: dict[int, tuple[int, ...]]
    is_crowded: bool
    """A tag holds more numbers than any photograph needs."""
    entries: int = 0
    """Of its directory, those too that do not matter here."""

    def one(self, tag: int, default: int) -> int:
        return (self.tags.get(tag) or (default,))[0]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)"""
        return self.one(256, 0), self.one(257, 0)

    @property
    def area(self) -> int:
        return self.size[0] * self.size[1]

    @property
    def bits(self) -> tuple[int, ...]:
        return self.tags.get(258) or (1,)

    @property
    def compression(self) -> int:
        return self.one(259, 1)

    @property
    def photometric(self) -> int:
        return self.one(262, 1)

    @property
    def samples(self) -> int:
        return self.one(277, 1)

    @property
    def is_planar(self) -> bool:
        return self.one(284, 1) == 2 and self.samples > 1

    @property
    def extra(self) -> tuple[int, ...]:
        """What the samples beside the colors are: 0 unspecified, 1 premultiplied alpha, 2 alpha."""
        return self.tags.get(338, ())

    @property
    def sample_format(self) -> int:
        """1 unsigned, 2 signed, 3 floating point"""
        return self.one(339, 1)

    @property
    def is_reduced(self) -> bool:
        """A thumbnail, or a mask."""
        return bool(self.one(254, 0) & 5) or self.photometric == 4

    @property
    def is_gray(self) -> bool:
        return self.photometric in (0, 1)


def tiff(source: Source) -> Header:
    found = pages(source)
    _refuse_raw(source, found)
    rivals = photographs(found)
    return header_of(found, rivals[0], len(rivals))


def header_of(found: Sequence[Page], number: int, rivals: int = 1) -> Header:
    """The header of the page of this `number`, from 1 on. `rivals`: how many pages are photographs as much as it is."""
    page = found[number - 1]
    return Header(
        "TIFF",
        *page.size,
        len(found),
        page=number,
        rivals=rivals,
        channels=1 if page.is_gray else 3,
        alpha=bool(page.extra),
        bits=max(page.bits),
    )


def photographs(found: Sequence[Page]) -> list[int]:
    """Numbers, from 1 on, of the pages that hold a photograph of full size.

    Pages that say of themselves that they are thumbnails or masks are none, nor are those of less than a third of the largest's area, as
    previews of half the size are, nor gray ones of the same size as one in color: scanners write infrared light so.
    """
    named = [number for number, page in enumerate(found, 1) if not page.is_reduced]
    full = named or list(range(1, len(found) + 1))
    largest = max(found[number - 1].area for number in full)
    full = [number for number in full if found[number - 1].area * 3 >= largest]
    colored = {found[number - 1].size for number in full if not found[number - 1].is_gray}
    return [n for n in full if not (found[n - 1].is_gray and found[n - 1].size in colored)]


def pages(source: Source) -> list[Page]:
    """All pages that the file chains. Raises HeaderError where one does not say its size."""
    layout, offset = _start(source)
    seen, found = set[int](), list[Page]()
    entries = 0
    while offset and offset not in seen and len(seen) < _MOST_PAGES and entries < _MOST_ENTRIES_IN_ALL:
        seen.add(offset)
        try:
            page, offset = _page(source, layout, offset)
        except HeaderError:
            if not found:
                raise
            break  # the first pages are there
        entries += page.entries
        if 256 in page.tags and 257 in page.tags:
            found.append(page)
        elif not found:
            raise HeaderError("the TIFF does not say its size")
    if not found:
        raise HeaderError("the TIFF has no page")
    return found


def _start(source: Source) -> tuple[Layout, int]:
    """How the file is laid out, and where its first directory is."""
    start = source.at(0, 16)
    layout = Layout("<" if start.startswith(b"II") else ">", big=b"\x2b" in start[2:4])
    (first,) = layout.offset.unpack(start[8:16] if layout.big else start[4:8])
    return layout, first


def _page(source: Source, layout: Layout, offset: int) -> tuple[Page, int]:
    """The page whose directory is there, and the next one's offset."""
    (count,) = layout.count.unpack(source.at(offset, layout.count.size))
    if count > MOST_ENTRIES:
        raise HeaderError(f"the TIFF has {count} entries")
    tags: dict[int, tuple[int, ...]] = {}
    is_crowded = False
    start = offset + layout.count.size
    for entry in _entries(source, layout, start, count):
        tag, kind, values, value = layout.entry.unpack(entry)
        most = MOST_RATIONALS if kind in (5, 10) else MOST_NUMBERS
        is_there = values * SIZES.get(kind, 1) <= source.size  # or else decoders pass over it
        is_crowded |= kind not in (1, 2, 7) and values > most and is_there
        if tag in _INTERESTING and tag not in tags:
            tags[tag] = _values(source, layout, kind, values, value)
    behind = source.up_to(start + count * layout.entry.size, layout.offset.size)
    following = layout.offset.unpack(behind)[0] if len(behind) == layout.offset.size else 0
    return Page(tags, is_crowded, count), following


def _entries(source: Source, layout: Layout, start: int, count: int) -> Iterator[bytes]:
    size = layout.entry.size
    at_once = LONGEST_READ // size
    for first in range(0, count, at_once):
        piece = source.at(start + first * size, min(at_once, count - first) * size)
        yield from (piece[at : at + size] for at in range(0, len(piece), size))


def _values(source: Source, layout: Layout, kind: int, count: int, value: bytes) -> tuple[int, ...]:
    """The first sixteen of a tag's whole numbers; none of another kind."""
    code = _CODES.get(kind)
    if code is None:
        return ()
    taken = min(count, _MOST_VALUES)
    if count * SIZES[kind] > len(value):
        value = source.up_to(layout.offset.unpack(value)[0], taken * SIZES[kind])
    if len(value) < taken * SIZES[kind]:
        return ()
    return struct.unpack_from(f"{layout.order}{taken}{code}", value)


def _refuse_raw(source: Source, found: Sequence[Page]) -> None:
    layout, _ = _start(source)
    inner: list[Page] = []
    for page in found[:4]:
        for offset in page.tags.get(330, ())[:8]:  # SubIFDs
            try:
                inner.append(_page(source, layout, offset)[0])
            except HeaderError:
                continue
    is_raw = any(page.photometric in _RAW_PHOTOMETRIC or 50_706 in page.tags for page in [*found, *inner])
    if is_raw or source.at(8, 2) == b"CR":
        raise raw()


def raw() -> RefusedError:
    return RefusedError(
        "The file is a camera's raw file, which holds no finished picture.",
        "Develop it and export it as TIFF or JPEG.",
    )
