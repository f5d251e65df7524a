"""A PNG's chunks (W3C PNG, third edition): what is sound of them, as a file for decoders, and what it says of its colors."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from model.errors import Notice
from model.formats import profiles
from model.formats.header_source import HeaderError

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS: Final = 200_000
_LONGEST_PROFILE: Final = 16 * 2**20
_LONGEST_RECORD: Final = 2**18
_AT_ONCE: Final = 2**20
"""Bytes that are inflated at once to see whether they can be."""
_SRGB_GAMMA: Final = 45_455
_KEPT: Final = (b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"eXIf")
_ADAM7: Final = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Left, top, step across and step down of the seven passes."""


@dataclass(slots=True)
class Chunks:
    """`kept`: the chunks that a decoder needs, but for the pixels; `pixels`: the parts of their zlib stream."""

    kept: dict[bytes, bytes] = field(default_factory=dict)
    pixels: list[memoryview] = field(default_factory=list)
    colors: dict[bytes, bytes] = field(default_factory=dict)
    notices: list[Notice] = field(default_factory=list)
    is_cut: bool = False
    """The file ends, or is damaged, before its end mark; or its pixels do."""

    @property
    def layout(self) -> tuple[int, int, int, int, bool]:
        """(width, height, bits, color type, whether interlaced)"""
        width, height, bits, color, _, _, interlace = struct.unpack(">IIBBBBB", self.kept[b"IHDR"])
        return width, height, bits, color, bool(interlace)

    def file(self, pixels: bytes | None = None, keyed: bool = True) -> bytes:
        """A PNG of these chunks alone. `pixels`: another zlib stream; `keyed`: with tRNS."""
        kept = [(kind, body) for kind, body in self.kept.items() if keyed or kind != b"tRNS"]
        stream = b"".join(self.pixels) if pixels is None else pixels
        parts = [*kept, (b"IDAT", stream), (b"IEND", b"")]
        return _SIGNATURE + b"".join(part for kind, body in parts for part in chunk(kind, body))

    def rows(self) -> tuple[bytes, int]:
        """The rows that are there, filters included, and how many bytes all of them have."""
        width, height, bits, color, interlaced = self.layout
        a_pixel = bits * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[color]
        passes: list[tuple[int, int, int]] = []  # where each begins and ends, and the bytes of a row
        expected = 0
        for left, top, across, down in _ADAM7 if interlaced else ((0, 0, 1, 1),):
            wide, high = -((left - width) // across), -((top - height) // down)
            if wide > 0 and high > 0:
                a_row = 1 + (wide * a_pixel + 7) // 8
                passes.append((expected, expected + high * a_row, a_row))
                expected += high * a_row
        inflate = zlib.decompressobj()
        rows = bytearray()
        try:
            for part in self.pixels:
                rows += inflate.decompress(part, expected + 1 - len(rows))
                if len(rows) > expected:
                    break
        except zlib.error:
            pass  # what was inflated before is there
        for start, end, a_row in passes:
            filters = rows[start:end:a_row]
            sound = len(filters) - len(filters.lstrip(b"\0\1\2\3\4"))
            if sound < len(filters):
                return bytes(rows[: start + sound * a_row]), expected
        return bytes(rows[:expected]), expected

    def profile(self) -> bytes | None:
        """How to bring the colors to sRGB, as an ICC profile: by cICP, else iCCP, sRGB, or gAMA and cHRM. Raises PhotoError."""
        if len(points := self.colors.get(b"cICP", b"")) == 4:
            return profiles.code_point_profile(points[0], points[1])
        if body := self.colors.get(b"iCCP"):
            _, _, packed = body.partition(b"\0")
            try:
                return zlib.decompressobj().decompress(packed[1:], _LONGEST_PROFILE)
            except zlib.error:
                return None
        if b"sRGB" in self.colors:
            return None
        return self._gamma_profile()

    def _gamma_profile(self) -> bytes | None:
        gamma = int.from_bytes(self.colors.get(b"gAMA", b""), "big")
        body = self.colors.get(b"cHRM", b"")
        points = tuple(value / 100_000 for value in struct.unpack(">8I", body)) if len(body) == 32 else None
        if points and (min(points) <= 0 or max(points) > 1 or _near(points, profiles.SRGB_POINTS)):
            points = None
        is_srgb = abs(gamma - _SRGB_GAMMA) < 500 or not 5_000 <= gamma <= 500_000
        if points is None and is_srgb:
            return None
        try:
            if is_srgb:  # the curve is that of sRGB, only the primaries are others
                return profiles.curve_profile(profiles.srgb_curve(), points)
            return profiles.gamma_profile(100_000 / gamma, points)
        except RuntimeError:  # of Little CMS: primaries on one line
            return None


def read(data: bytes) -> Chunks:
    """All chunks of a PNG, their checksums compared. Raises HeaderError where it is damaged before its pixels."""
    found, view, position = Chunks(), memoryview(data), 8
    sound = None  # how many parts of the pixels come before the first with a wrong checksum
    for _ in range(_MOST_CHUNKS):
        if position + 12 > len(data):
            found.is_cut = True
            break
        length, kind = struct.unpack_from(">I4s", data, position)
        body = view[position + 8 : position + 8 + length]
        sum_there = view[position + 8 + length : position + 12 + length]
        is_whole = len(sum_there) == 4
        is_right = is_whole and zlib.crc32(body, zlib.crc32(kind)) == int.from_bytes(sum_there, "big")
        if kind == b"IDAT" and is_whole:
            if sound is None and not is_right:
                sound = len(found.pixels)
            found.pixels.append(body)
        elif not is_whole or not kind.isalpha():
            if kind == b"IDAT":
                found.pixels.append(body)
            found.is_cut = True
            break
        elif kind == b"IEND":
            break
        elif not is_right:
            _pass_over(found, kind)
        else:
            _keep(found, kind, bytes(body) if length <= _LONGEST_PROFILE else b"")
        position += 12 + length
    else:
        raise HeaderError("the PNG has too many chunks")
    if sound is not None and b"IHDR" in found.kept:
        _judge_pixels(found, sound)
    if b"IHDR" not in found.kept or not found.pixels:
        raise HeaderError("the PNG lacks a chunk")
    palette = len(found.kept.get(b"PLTE", b""))
    if found.layout[3] == 3 and (palette == 0 or palette % 3 or palette > 768):
        raise HeaderError("the PNG lacks its palette")  # Pillow shows black
    return found


def _judge_pixels(found: Chunks, sound: int) -> None:
    """A chunk of pixels has a wrong checksum. The zlib stream has one of its own (RFC 1950): where that is right, the pixels are."""
    width, height, *_ = found.layout
    left = 2 * (8 * width + 8) * height  # more than any picture of this size has
    inflate = zlib.decompressobj()
    try:
        for part in found.pixels:
            rest: bytes | memoryview = part
            while rest and not inflate.eof and left > 0:
                left -= len(inflate.decompress(rest, _AT_ONCE))
                rest = inflate.unconsumed_tail
    except zlib.error:
        pass
    if inflate.eof:
        found.notices.append(
            Notice(
                "file_checksum_wrong",
                "A checksum in the file is wrong; another one says that the picture is whole.",
            )
        )
    else:
        del found.pixels[sound:]
        found.is_cut = True


def _pass_over(found: Chunks, kind: bytes) -> None:
    """A chunk whose checksum is wrong."""
    if kind in (b"IHDR", b"PLTE"):
        raise HeaderError(f"the checksum of {kind!r} is wrong")
    name = kind.decode("ascii")
    found.notices.append(
        Notice(
            "file_checksum_wrong",
            f"A part of the file ({name}) is damaged and was passed over; the picture is whole.",
        )
    )


def _keep(found: Chunks, kind: bytes, body: bytes) -> None:
    if kind in (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"):
        found.colors.setdefault(kind, body)
    elif kind in _KEPT:
        if _fits(found, kind, body):
            found.kept.setdefault(kind, body)
    elif kind in (b"tEXt", b"zTXt") and body.startswith(b"Raw profile type ") and _is_short(kind, body):
        found.kept.setdefault(kind, body)  # where ImageMagick puts EXIF


def _fits(found: Chunks, kind: bytes, body: bytes) -> bool:
    """Whether the chunk has a length that it can have: Pillow refuses the file for another."""
    if kind == b"pHYs":
        return len(body) == 9
    if kind == b"tRNS" and len(found.kept.get(b"IHDR", b"")) == 13:
        return len(body) == {0: 2, 2: 6}.get(found.layout[3], len(body))
    return True


def _is_short(kind: bytes, text: bytes) -> bool:
    """Whether a text, which zTXt packs, is no longer than Pillow takes: it refuses the file for another."""
    if kind == b"tEXt":
        return len(text) < _LONGEST_RECORD
    inflate = zlib.decompressobj()
    try:
        inflate.decompress(text.partition(b"\0")[2][1:], _LONGEST_RECORD)
    except zlib.error:
        return False
    return inflate.eof


def chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes]:
    """A chunk's head, its body, and its checksum."""
    head = struct.pack(">I4s", len(body), kind)
    return head, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))


def _near(points: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return all(abs(one - other) < 0.002 for one, other in zip(points, others, strict=True))
