"""Headers of what lies in boxes: AVIF, HEIC, JPEG 2000 and JPEG XL; of the last two also without boxes.

| format | specification |
|---|---|
| boxes, AVIF, HEIC | ISO 14496-12, 23008-12, AVIF 1.1 |
| JPEG 2000 | ITU-T T.800, annexes A and I |
| JPEG XL | ISO 18181-1, annexes C to E (headers), 18181-2 (boxes) |
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from model.formats.header_source import Header, HeaderError, RefusedError, Source
from model.formats.raster_headers import counted

JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"
J2K: Final = b"\xff\x4f\xff\x51"
JXL: Final = b"\0\0\0\x0cJXL \r\n\x87\n"
JXL_BARE: Final = b"\xff\x0a"
_NESTED: Final = dict.fromkeys((b"iprp", b"ipco", b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0) | {
    b"meta": 4
}
"""Boxes with boxes inside, and how many bytes come before these."""
_MOST_TILES: Final = 1024
_LEAST_TILE: Final = 64 * 64
"""Pixels, where there are many."""
_HEIF_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"hevc", b"hevx"}


def is_avif(start: bytes) -> bool:
    return not {b"avif", b"avis"}.isdisjoint(_brands(start))


def is_heif(start: bytes) -> bool:
    return not is_avif(start) and not _HEIF_BRANDS.isdisjoint(_brands(start))


def is_canon_raw(start: bytes) -> bool:
    return b"crx " in _brands(start)


def _brands(start: bytes) -> list[bytes]:
    """The major brand, and those that it is compatible with."""
    if start[4:8] != b"ftyp":
        return []
    end = min(int.from_bytes(start[:4], "big"), len(start))
    return [start[8:12], *(start[at : at + 4] for at in range(16, end, 4))]


def avif(source: Source) -> Header:
    return _heif(source, "AVIF")


def heif(source: Source) -> Header:
    return _heif(source, "HEIF")


def _heif(source: Source, format: str) -> Header:
    """The largest size that any item or track states: tiles, thumbnails and alpha planes are at most as large as the picture."""
    size, frames, bits = (0, 0), 1, 8
    colors: tuple[int, int] | None = None
    is_sequence = source.at(8, 4) in (b"avis", b"msf1", b"hevc")
    for kind, start, _ in _boxes(source, 0, source.size, _NESTED):
        found = (0, 0)
        if kind == b"ispe":
            found = struct.unpack(">II", source.at(start + 4, 8))
        elif kind == b"stsd":
            found = struct.unpack(">HH", source.at(start + 40, 4))
        elif kind == b"stsz" and is_sequence:
            frames = max(frames, int.from_bytes(source.at(start + 8, 4), "big"))
        elif kind == b"pixi":
            bits = max(bits, *source.at(start + 5, 1))
        elif kind == b"colr" and colors is None and source.at(start, 4) == b"nclx":
            colors = struct.unpack(">HH", source.at(start + 4, 4))
        size = max(size, found, key=lambda sides: sides[0] * sides[1])
    if size == (0, 0):
        raise HeaderError(f"the {format} does not say its size")
    return Header(format, *size, counted(frames), bits=bits, colors=colors)


def _boxes(
    source: Source, start: int, end: int, nested: dict[bytes, int]
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
                raise HeaderError(f"the box {kind!r} does not fit")
            yield kind, body, following
            if kind in nested:
                pending.append((body + nested[kind], following))
            start = following


def jpeg_2000(source: Source) -> Header:
    start = 0
    if source.at(0, 4) != J2K:
        start = next((body for kind, body, _ in _boxes(source, 0, source.size, {}) if kind == b"jp2c"), -1)
    if start < 0 or source.at(start, 4) != J2K:
        raise HeaderError("the JPEG 2000 has no codestream")
    right, bottom, left, top = struct.unpack(">4I", source.at(start + 8, 16))
    (channels,) = struct.unpack(">H", source.at(start + 40, 2))
    depths = source.at(start + 42, 3 * min(channels, 8))
    if not 1 <= channels <= 5 or right <= left or bottom <= top:
        raise HeaderError(f"a JPEG 2000 of {channels} channels")
    wide, high = struct.unpack(">II", source.at(start + 24, 8))
    tiles = -(-right // max(1, wide)) * -(-bottom // max(1, high))
    if tiles > max(_MOST_TILES, (right - left) * (bottom - top) // _LEAST_TILE):
        raise HeaderError(f"a JPEG 2000 of {tiles} tiles")  # a decoder takes ten kilobytes for each
    bits = max((depth & 0x7F) + 1 for depth in depths[::3])
    is_signed = any(depth & 0x80 for depth in depths[::3])
    if bits > 16 or is_signed:
        raise RefusedError(
            "The JPEG 2000 has signed values or more than 16 bits a channel.", "Save it as TIFF with 16 bits."
        )
    return Header("JPEG2000", right - left, bottom - top, channels=channels, bits=bits)


def jpeg_xl(source: Source) -> Header:
    """Refuses what its decoder here would show wrong: ICC profiles, rare white points, floating point values."""
    bits = _Bits(_jxl_start(source))
    width, height = _jxl_size(bits)
    deep, channels = 8, 3
    colors: tuple[int, int] | None = None
    if not bits.flag():  # not all_default
        if bits.flag():  # extra_fields
            bits.take(3)  # the orientation, which the decoder applies
            if bits.flag():
                _jxl_size(bits)  # intrinsic size
            if bits.flag():
                raise RefusedError("The JPEG XL has a preview inside.", "Save it as TIFF or PNG.")
            if bits.flag():
                return Header("JXL", width, height, 2)  # an animation
        if bits.flag():
            raise RefusedError(
                "The JPEG XL holds floating point values.", "Save it with 16 or 8 bits a channel."
            )
        deep = bits.one_of((8, 0), (10, 0), (12, 0), (1, 6))
        bits.flag()  # modular_16bit_buffers
        extras = bits.one_of((0, 0), (1, 0), (2, 4), (1, 12))
        if extras > 1:
            raise RefusedError(
                "The JPEG XL has several channels beside its colors.", "Save it as TIFF or PNG."
            )
        for _ in range(extras):
            _jxl_extra_channel(bits)
        bits.flag()  # xyb_encoded
        channels, colors = _jxl_color(bits)
    return Header("JXL", width, height, channels=channels, bits=deep, colors=colors)


def _jxl_start(source: Source) -> bytes:
    """The codestream's first bytes."""
    if source.at(0, 2) == JXL_BARE:
        return source.up_to(2, 256)
    for kind, body, _ in _boxes(source, 0, source.size, {}):
        if kind == b"jxlp":
            body += 4
        if kind in (b"jxlc", b"jxlp"):
            if source.at(body, 2) != JXL_BARE:
                break
            return source.up_to(body + 2, 256)
    raise HeaderError("the JPEG XL has no codestream")


class _Bits:
    """Bits of bytes, the lowest first. Beyond their end raises HeaderError."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = len(data) * 8

    def take(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise HeaderError("the JPEG XL's header is too long")
        taken = self._value & (1 << count) - 1
        self._value >>= count
        return taken

    def flag(self) -> bool:
        return bool(self.take(1))

    def one_of(self, *choices: tuple[int, int]) -> int:
        """U32 of the standard: two bits choose an (offset, number of bits)."""
        offset, count = choices[self.take(2)]
        return offset + self.take(count)

    def enum(self) -> int:
        return self.one_of((0, 0), (1, 0), (2, 4), (18, 6))


def _jxl_size(bits: _Bits) -> tuple[int, int]:
    is_small = bits.flag()

    def side() -> int:
        return (bits.take(5) + 1) * 8 if is_small else bits.one_of((1, 9), (1, 13), (1, 18), (1, 30))

    height = side()
    ratio = bits.take(3)
    if ratio == 0:
        return side(), height
    across, down = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
    return height * across // down, height


def _jxl_extra_channel(bits: _Bits) -> None:
    if bits.flag():  # 8 bits of alpha
        return
    kind = bits.enum()
    if bits.flag():
        raise RefusedError("The JPEG XL holds floating point values.", "Save it with 16 or 8 bits a channel.")
    bits.one_of((8, 0), (10, 0), (12, 0), (1, 6))
    bits.one_of((0, 0), (3, 0), (4, 0), (1, 3))
    bits.take(8 * bits.one_of((0, 0), (0, 4), (16, 5), (48, 10)))
    if kind == 0:
        if bits.flag():
            raise RefusedError("The JPEG XL has premultiplied alpha.", "Save it as PNG.")
    elif kind in (2, 5):  # spot colors, a color filter array
        raise RefusedError("The JPEG XL has more inks than red, green and blue.", "Save it as TIFF or PNG.")


def _jxl_color(bits: _Bits) -> tuple[int, tuple[int, int] | None]:
    """The channels, and H.273's primaries and transfer, whose numbers the standard took over; None for sRGB."""
    if bits.flag():  # all_default
        return 3, None
    wants_icc, space = bits.flag(), bits.enum()
    if wants_icc or space > 1:
        raise _jxl_other_color()
    white = bits.enum()
    primaries = bits.enum() if space == 0 and white != 2 else 1
    has_other_points = white != 1 or primaries not in _JXL_PRIMARIES  # 1 is D65
    if has_other_points or bits.flag():  # the flag: a gamma of its own
        raise _jxl_other_color()
    return 3 if space == 0 else 1, (_JXL_PRIMARIES[primaries], bits.enum())


_JXL_PRIMARIES: Final = {1: 1, 9: 9, 11: 12}
"""11 is P3, whose number with a white of D65 is 12 in H.273."""


def _jxl_other_color() -> RefusedError:
    return RefusedError(
        "The JPEG XL has an ICC profile or rare colors, which cannot be followed.",
        "Save it as TIFF or PNG, with its profile.",
    )
