"""`probe`: what a picture's file says of itself in its headers, and whether we take it. Nothing is decoded. Needs neither torch nor numpy.

The time and memory that this takes do not depend on what the file says. All parsers read through `_Source`, which hands out a bounded
number of short pieces; no table is read whole, and no count that a file states makes anything larger.

| format | specification |
|---|---|
| JPEG | ITU-T T.81, B.1 and B.2 |
| PNG | W3C PNG (third edition), 5 and 11.3.4 (acTL) |
| GIF | GIF89a |
| WebP | RFC 9649 |
| TIFF | TIFF 6.0, 2, and BigTIFF |
| BMP | BITMAPCOREHEADER to BITMAPV5HEADER |
| AVIF | ISO 14496-12 (boxes) and AVIF 1.1 |
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Final

from model.errors import PhotoError

FORMATS: Final = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
"""What is taken, by Pillow's names."""
IN_WORDS: Final = "JPEG, PNG, WebP, TIFF, GIF, BMP or AVIF"
_MOST_READS: Final = 200_000
"""A GIF of 25 MiB takes half of them. A file that takes more was made to keep us busy."""
_LONGEST_READ: Final = 4096
_MOST_SEGMENTS: Final = 10_000
"""Segments of a JPEG before its scan, or chunks of a PNG before its pixels: real files of 25 MiB have some hundreds."""
_MOST_ENTRIES: Final = 4096
"""Of a TIFF's directory: real ones have some dozens."""
_CHUNK: Final = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Which photos are taken. `check_size` raises PhotoError for others."""

    max_bytes: int = 25 * 2**20
    max_pixels: int = 50_000_000
    max_side: int = 16_384
    min_side: int = 8
    max_aspect: float = 50.0
    """The longer side over the shorter."""

    def check_size(self, width: int, height: int) -> None:
        """Raises PhotoError: photo_too_large or photo_too_small."""
        short, long = sorted((width, height))
        size = f"The photo is {width} by {height} pixels"
        if width * height > self.max_pixels:
            raise self.too_many_pixels()
        if long > self.max_side:
            raise PhotoError(
                "photo_too_large", f"{size}; {self.max_side} is the longest side.", "Send a smaller version."
            )
        if short < self.min_side:
            raise PhotoError(
                "photo_too_small",
                f"{size}; each side must have at least {self.min_side}.",
                "Send a larger version.",
            )
        if long > self.max_aspect * short:
            raise PhotoError(
                "photo_too_small",
                f"{size}: one side is over {self.max_aspect:g} times the other.",
                "Cut it into pieces.",
            )

    def too_many_pixels(self) -> PhotoError:
        return PhotoError(
            "photo_too_large",
            f"The photo has more than {self.max_pixels / 1e6:g} megapixels.",
            "Send a smaller version.",
        )


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. The size is as stored, before an orientation is applied."""

    format: str
    width: int
    height: int
    frames: int = 1
    """1, or 2 where there are more. Pictures that a camera puts behind a JPEG (MPO, depth, gain map) do not count."""


def probe(source: bytes | IO[bytes], limits: Limits = Limits()) -> Header:
    """The header of a file, which is left at its start, or of a file's bytes. Raises PhotoError for what is not to be taken.

    Of a JPEG or PNG, the mark that ends it must be there too. Other formats that are cut off behind their header are left to the decoder,
    which has the last word on every photo.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise PhotoError("photo_empty", "The file is empty.", "Choose it again and send it once more.")
    if size > limits.max_bytes:
        raise PhotoError(
            "photo_too_large",
            f"The file has {size / 2**20:.1f} MiB; {limits.max_bytes / 2**20:g} MiB is the most.",
            "Send a smaller version or save it as JPEG.",
        )
    header = _read(file)
    limits.check_size(header.width, header.height)
    if header.frames > 1 and header.format == "TIFF":
        raise PhotoError("photo_animated", "The TIFF holds several pages.", "Send each as a file of its own.")
    if header.frames > 1:
        raise PhotoError("photo_animated", "The file is an animation.", "Send a single frame as JPEG or PNG.")
    file.seek(0)
    return header


def _read(file: IO[bytes]) -> Header:
    source = _Source(file)
    start = source.up_to(0, 64)
    for parse, accepts in _PARSERS.items():
        if accepts(start):
            try:
                return parse(source)
            except (_HeaderError, struct.error, IndexError) as error:
                raise damaged() from error
    raise PhotoError(
        "photo_unsupported",
        "The file is not a photo in a format that can be read.",
        f"Send a {IN_WORDS} file; save others, HEIC and raw ones too, as JPEG first.",
    )


def damaged() -> PhotoError:
    return PhotoError(
        "photo_damaged",
        "The photo is damaged or cut off, or of a rare kind.",
        "Send it again, or save it anew as JPEG or PNG.",
    )


def _cut_off() -> PhotoError:
    return PhotoError("photo_damaged", "The file ends before the picture does.", "Send the whole file.")


class _HeaderError(ValueError):
    """The header is broken, cut off, or made to take long."""


class _Source:
    """A seekable file for parsers. Reading beyond its end, or too often, raises _HeaderError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._reads_left = _MOST_READS
        self.size = file.seek(0, os.SEEK_END)

    def at(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on."""
        piece = self.up_to(position, size)
        if len(piece) < size:
            raise _HeaderError("the file ends within its header")
        return piece

    def up_to(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, fewer at the file's end."""
        self._reads_left -= 1
        if self._reads_left < 0 or size > _LONGEST_READ:
            raise _HeaderError("the header takes too long to read")
        if position >= self.size:
            return b""
        self._file.seek(position)
        return self._file.read(size)

    def find(self, mark: bytes, start: int) -> bool:
        """Whether a short mark is in the file from `start` on: one pass over the rest, in pieces of 1 MiB."""
        self._file.seek(min(start, self.size))
        tail = b""
        while chunk := self._file.read(_CHUNK):
            if mark in tail + chunk:
                return True
            tail = (tail + chunk)[-len(mark) + 1 :]
        return False


def _jpeg(source: _Source) -> Header:
    size: tuple[int, int] | None = None
    position = 2
    for _ in range(_MOST_SEGMENTS):
        mark = source.at(position, 4)
        if mark[0] != 0xFF or mark[1] == 0xFF:  # junk or filling between segments
            position += 1
            continue
        kind, length = mark[1], int.from_bytes(mark[2:], "big")
        if kind == 0xDA:  # start of scan
            break
        if 0xC0 <= kind <= 0xCF and kind not in (0xC4, 0xC8, 0xCC):  # a frame
            bits, height, width, channels = struct.unpack(">BHHB", source.at(position + 4, 6))
            if bits != 8 or channels not in (1, 3, 4):
                raise _HeaderError(f"a JPEG of {bits} bits in {channels} channels")
            size = width, height
        standalone = kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD9
        position += 2 if standalone else 2 + length
    else:
        raise _HeaderError("the JPEG has too many segments")
    if size is None:
        raise _HeaderError("the JPEG has no frame")
    # Within a scan 0xFF is followed by 0 or a restart mark (T.81, B.1.1.5). So the first end mark behind the start of the first scan is
    # the real one, and not that of an embedded thumbnail.
    if not source.find(b"\xff\xd9", position):
        raise _cut_off()
    return Header("JPEG", *size, 1)


def _png(source: _Source) -> Header:
    length, kind, width, height = struct.unpack(">I4sII", source.at(8, 16))
    if kind != b"IHDR" or length != 13:
        raise _HeaderError("the PNG does not begin with its header")
    frames, is_frame = 0, False
    position = 8
    for _ in range(_MOST_SEGMENTS):
        length, kind = struct.unpack(">I4s", source.at(position, 8))
        if kind == b"IDAT":
            break
        if kind == b"acTL":
            frames = int.from_bytes(source.at(position + 8, 4), "big")
        is_frame |= kind == b"fcTL"  # the picture is the animation's first frame, and not one beside it
        position += 12 + length
    else:
        raise _HeaderError("the PNG has too many chunks")
    if not source.find(b"IEND\xae\x42\x60\x82", position):
        raise _cut_off()
    return Header("PNG", width, height, _counted(frames + (not is_frame) if frames else 1))


def _gif(source: _Source) -> Header:
    width, height, flags = struct.unpack("<HHB", source.at(6, 5))
    position = 13 + _gif_table(flags)
    frames = 0
    while frames < 2 and (mark := source.up_to(position, 1)):
        position += 1
        if mark == b"\x3b":
            break
        if mark == b"\x21":  # an extension, with its label
            position = _behind_gif_blocks(source, position + 1)
        elif mark == b"\x2c":  # a frame
            descriptor = source.up_to(position, 9)
            if len(descriptor) < 9:
                break
            left, top, wide, high, flags = struct.unpack("<4HB", descriptor)
            frames += 1
            if frames == 1:  # the first may be larger than the screen
                width, height = max(width, left + wide), max(height, top + high)
            position = _behind_gif_blocks(source, position + 9 + _gif_table(flags) + 1)
    if not frames:
        raise _HeaderError("the GIF holds no picture")
    return Header("GIF", width, height, frames)


def _gif_table(flags: int) -> int:
    """Bytes of the color table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_gif_blocks(source: _Source, position: int) -> int:
    while (length := source.up_to(position, 1)) and length != b"\0":
        position += 1 + length[0]
    return position + 1


def _webp(source: _Source) -> Header:
    if 8 + int.from_bytes(source.at(4, 4), "little") > source.size:
        raise _cut_off()
    kind, body = source.at(12, 4), source.at(20, 10)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        if body[3:6] != b"\x9d\x01\x2a":
            raise _HeaderError("the WebP begins with no key frame")
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF, 1)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        if body[0] != 0x2F:
            raise _HeaderError("the WebP has no lossless signature")
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 1)
    if kind != b"VP8X":
        raise _HeaderError(f"the WebP begins with {kind!r}")
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    frames = _webp_frames(source) if body[0] & 0x02 else 1
    return Header("WEBP", width, height, frames)


def _webp_frames(source: _Source) -> int:
    frames, position = 0, 12
    while frames < 2 and len(head := source.up_to(position, 8)) == 8:
        frames += head[:4] == b"ANMF"
        length = int.from_bytes(head[4:], "little")
        position += 8 + length + (length & 1)
    return _counted(frames)


def _tiff(source: _Source) -> Header:
    start = source.at(0, 16)
    order = "<" if start.startswith(b"II") else ">"
    is_big = b"\x2b" in start[2:4]
    directory, count_format, entry = (
        (start[8:16], f"{order}Q", struct.Struct(f"{order}HHQ8s"))
        if is_big
        else (start[4:8], f"{order}H", struct.Struct(f"{order}HHI4s"))
    )
    offset = int.from_bytes(directory, "little" if order == "<" else "big")
    (count,) = struct.unpack(count_format, source.at(offset, struct.calcsize(count_format)))
    if count > _MOST_ENTRIES:
        raise _HeaderError(f"the TIFF has {count} entries")
    position = offset + struct.calcsize(count_format)
    sides: dict[int, int] = {}
    for _ in range(count):
        tag, kind, values, value = entry.unpack(source.at(position, entry.size))
        position += entry.size
        code = {1: "B", 3: "H", 4: "I", 16: "Q"}.get(kind)  # BYTE, SHORT, LONG, LONG8
        if tag in (256, 257) and values == 1 and code and tag not in sides:
            sides[tag] = struct.unpack_from(order + code, value)[0]
    if len(sides) < 2:
        raise _HeaderError("the TIFF does not say its size")
    following = int.from_bytes(source.up_to(position, len(directory)), "little" if order == "<" else "big")
    return Header("TIFF", sides[256], sides[257], 1 if following in (0, offset) else 2)


def _bmp(source: _Source) -> Header:
    (size,) = struct.unpack("<I", source.at(14, 4))
    if size == 12:
        width, height = struct.unpack("<HH", source.at(18, 4))
    elif size in (40, 52, 56, 64, 108, 124):
        width, height = struct.unpack("<Ii", source.at(18, 8))
    else:
        raise _HeaderError(f"a BMP whose header has {size} bytes")
    return Header("BMP", width, abs(height), 1)  # negative: the rows run from top to bottom


def _avif(source: _Source) -> Header:
    """The largest size that any item or track states: tiles, thumbnails and alpha planes are at most as large as the picture."""
    size, frames = (0, 0), 1
    is_sequence = source.at(8, 4) in (b"avis", b"msf1")
    for kind, start, _ in _boxes(source, 0, source.size, _AVIF_NESTED):
        found = (0, 0)
        if kind == b"ispe":
            found = struct.unpack(">II", source.at(start + 4, 8))
        elif kind == b"stsd":
            found = struct.unpack(">HH", source.at(start + 40, 4))
        elif kind == b"stsz" and is_sequence:
            frames = max(frames, int.from_bytes(source.at(start + 8, 4), "big"))
        size = max(size, found, key=lambda sides: sides[0] * sides[1])
    if size == (0, 0):
        raise _HeaderError("the AVIF does not say its size")
    return Header("AVIF", *size, _counted(frames))


_AVIF_NESTED: Final = dict.fromkeys((b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0) | {
    b"meta": 4
}
"""Boxes with boxes inside, and how many bytes come before these."""


def _boxes(
    source: _Source, start: int, end: int, nested: dict[bytes, int]
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start of its body, end) of each box, those inside others too."""
    pending = [(start, end)]
    while pending:
        start, end = pending.pop()
        while end - start >= 8:
            length, kind = struct.unpack(">I4s", source.at(start, 8))
            body = start + 8
            if length == 1:
                length = int.from_bytes(source.at(body, 8), "big")
                body += 8
            following = end if length == 0 else start + length
            if not body <= following <= end:
                raise _HeaderError(f"the box {kind!r} does not fit")
            yield kind, body, following
            if kind in nested:
                pending.append((body + nested[kind], following))
            start = following


def _counted(frames: int) -> int:
    return min(max(frames, 1), 2)


def _is_avif(start: bytes) -> bool:
    """By its brands: the major one, or one of those that it is compatible with."""
    brands = [
        start[8:12],
        *(start[at : at + 4] for at in range(16, min(int.from_bytes(start[:4], "big"), len(start)), 4)),
    ]
    return start[4:8] == b"ftyp" and not {b"avif", b"avis"}.isdisjoint(brands)


_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
_PARSERS: Final[dict[Callable[[_Source], Header], Callable[[bytes], bool]]] = {
    _jpeg: lambda start: start.startswith(b"\xff\xd8\xff"),
    _png: lambda start: start.startswith(b"\x89PNG\r\n\x1a\n"),
    _webp: lambda start: start.startswith(b"RIFF") and start[8:12] == b"WEBP",
    _gif: lambda start: start.startswith((b"GIF87a", b"GIF89a")),
    _tiff: lambda start: start.startswith(_TIFF_MAGIC),
    _bmp: lambda start: start.startswith(b"BM"),
    _avif: _is_avif,
}
