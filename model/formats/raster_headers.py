"""Headers of the simple formats: JPEG, PNG, GIF, WebP, BMP, PNM and TGA. `model.image_headers` says how they are bounded."""

from __future__ import annotations

import re
import struct
from mmap import mmap
from typing import Final

from model.formats.header_source import Header, HeaderError, RefusedError, Source

_MOST_SEGMENTS: Final = 10_000
"""Segments of a JPEG before its scan, or chunks of a PNG before its pixels: real files of 25 MiB have some hundreds."""
_MOST_SCANS: Final = 100
_LEAST_SCANS: Final = 32
"""Even of the largest photo."""
_MOST_SCANNED: Final = 1_500_000_000
"""Pixels of all scans together: some six seconds."""
NEXT_MARK: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""What ends a scan: neither a byte of 255, nor a restart."""
_MORE_BEHIND: Final = re.compile(rb"MPF\0|Container:Directory|:MicroVideo|:MotionPhoto")
"""By these a JPEG says that further pictures or a film lie behind it: CIPA DC-007, Ultra HDR and motion photos."""
_MOST_TOKENS: Final = 200
"""Characters of a PNM's numbers, comments apart."""


def jpeg(source: Source) -> Header:
    position, frame = jpeg_frame(source)
    kind, bits, width, height, channels = frame
    deep = kind in (0xC1, 0xC2) and bits == 12
    lossless = kind == 0xC3 and 2 <= bits <= 16
    if kind > 0xC3 and kind not in (0xC9, 0xCA):
        raise RefusedError(
            f"The JPEG is of a rare kind (frame {kind - 0xC0}).", "Save it anew as JPEG or PNG."
        )
    if not (bits == 8 or deep or lossless) or channels not in (1, 3, 4):
        raise HeaderError(f"a JPEG of {bits} bits in {channels} channels")
    # Within a scan 0xFF is followed by 0 or a restart mark (T.81, B.1.1.5). So the first end mark behind the start of the first scan is
    # the real one, and not that of an embedded thumbnail.
    whole = source.find(b"\xff\xd9", position)
    return Header("JPEG", width, height, channels=channels, bits=bits, alpha=False, whole=whole)


def jpeg_frame(source: Source, position: int = 2) -> tuple[int, tuple[int, int, int, int, int]]:
    """Where the first scan begins, and the frame's (kind, bits, width, height, channels)."""
    frame: tuple[int, int, int, int, int] | None = None
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
            frame = kind, bits, width, height, channels
        standalone = kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD9
        position += 2 if standalone else 2 + length
    else:
        raise HeaderError("the JPEG has too many segments")
    if frame is None:
        raise HeaderError("the JPEG has no frame")
    return position, frame


def check_scans(data: bytes | memoryview, position: int, pixels: int) -> None:
    """Raises HeaderError where a JPEG has more scans than encoders make; `position` is that of the first one.

    Each costs a pass over all `pixels`, however few bytes it has: 25 MiB of them would take hours. Encoders write about ten.
    """
    most = min(_MOST_SCANS, max(_LEAST_SCANS, _MOST_SCANNED // max(1, pixels)))
    scans = 0
    for _ in range(10 * _MOST_SCANS):
        if data[position : position + 2] == b"\xff\xda":
            scans += 1
        if scans > most:
            break
        behind = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        mark = NEXT_MARK.search(data, behind)
        if mark is None or mark[0] == b"\xff\xd9":
            return
        position = mark.start()
    raise HeaderError("the JPEG has too many scans")


def png(source: Source) -> Header:
    length, kind, width, height, bits, color = struct.unpack(">I4sIIBB", source.at(8, 18))
    if kind != b"IHDR" or length != 13:
        raise HeaderError("the PNG does not begin with its header")
    frames, is_frame, is_transparent = 0, False, color in (3, 4, 6)  # of a palette, 3, any may be transparent
    position = 8
    for _ in range(_MOST_SEGMENTS):
        length, kind = struct.unpack(">I4s", source.at(position, 8))
        if kind == b"IDAT":
            break
        if kind == b"acTL":
            frames = int.from_bytes(source.at(position + 8, 4), "big")
        is_transparent |= kind == b"tRNS"
        is_frame |= kind == b"fcTL"  # the picture is the animation's first frame, and not one beside it
        position += 12 + length
    else:
        raise HeaderError("the PNG has too many chunks")
    whole = source.find(b"IEND\xae\x42\x60\x82", position)
    frames = counted(frames + (not is_frame) if frames else 1)
    channels = 1 if color in (0, 4) else 3
    return Header(
        "PNG", width, height, frames, channels=channels, bits=bits, alpha=is_transparent, whole=whole
    )


def png_end(source: Source) -> int | None:
    """Where a PNG ends by its chunks; None where they do not lead to an end."""
    position = 8
    while len(head := source.up_to(position, 8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        position += 12 + length
        if kind == b"IEND":
            return position if length == 0 else None
    return None


def jpeg_end(source: Source, data: mmap) -> int | None:
    """Where a JPEG's picture ends, by its segments and scans; None where these lead to no end, or what is behind it belongs to it."""
    position, _ = jpeg_frame(source)
    if _MORE_BEHIND.search(data, 0, position):
        return None
    for _ in range(_MOST_SEGMENTS):
        mark, length = data[position : position + 2], int.from_bytes(data[position + 2 : position + 4], "big")
        if mark == b"\xff\xd9":
            return position + 2
        if mark == b"\xff\xff":  # filling between segments
            position += 1
            continue
        if len(mark) < 2 or mark[0] != 0xFF or length < 2:
            return None
        position += 2 + length
        if mark == b"\xff\xda":
            found = NEXT_MARK.search(data, position)
            if found is None:
                return None
            position = found.start()
    return None


def webp_end(source: Source) -> int:
    """Where a WebP ends, as it says."""
    return 8 + int.from_bytes(source.at(4, 4), "little")


def gif(source: Source) -> Header:
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
        raise HeaderError("the GIF holds no picture")
    return Header("GIF", width, height, frames)


def _gif_table(flags: int) -> int:
    """Bytes of the color table that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_gif_blocks(source: Source, position: int) -> int:
    while (length := source.up_to(position, 1)) and length != b"\0":
        position += 1 + length[0]
    return position + 1


def webp(source: Source) -> Header:
    announced = 8 + int.from_bytes(source.at(4, 4), "little")
    whole = announced <= source.size
    kind, body = source.at(12, 4), source.at(20, 10)
    if kind == b"VP8 ":
        width, height = struct.unpack("<HH", body[6:10])
        if body[3:6] != b"\x9d\x01\x2a":
            raise HeaderError("the WebP begins with no key frame")
        return Header("WEBP", width & 0x3FFF, height & 0x3FFF, alpha=False, whole=whole)
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        if body[0] != 0x2F:
            raise HeaderError("the WebP has no lossless signature")
        return Header("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, whole=whole)
    if kind != b"VP8X":
        raise HeaderError(f"the WebP begins with {kind!r}")
    width, height = (int.from_bytes(body[at : at + 3], "little") + 1 for at in (4, 7))
    frames = _webp_frames(source) if body[0] & 0x02 else 1
    return Header("WEBP", width, height, frames, whole=whole)


def _webp_frames(source: Source) -> int:
    frames, position = 0, 12
    while frames < 2 and len(head := source.up_to(position, 8)) == 8:
        frames += head[:4] == b"ANMF"
        length = int.from_bytes(head[4:], "little")
        position += 8 + length + (length & 1)
    return counted(frames)


def bmp(source: Source) -> Header:
    (size,) = struct.unpack("<I", source.at(14, 4))
    if size == 12:
        width, height = struct.unpack("<HH", source.at(18, 4))
    elif size in (40, 52, 56, 64, 108, 124):
        width, height = struct.unpack("<Ii", source.at(18, 8))
    else:
        raise HeaderError(f"a BMP whose header has {size} bytes")
    return Header("BMP", width, abs(height))  # negative: the rows run from top to bottom


def pnm(source: Source) -> Header:
    kind, numbers, _ = pnm_numbers(source)
    top = numbers[2] if len(numbers) > 2 else 1
    if not 0 < top < 65_536:
        raise HeaderError(f"a PNM whose white is {top}")
    channels, bits = 3 if kind in b"36" else 1, 8 if top < 256 else 16
    return Header("PPM", numbers[0], numbers[1], channels=channels, bits=bits, alpha=False)


def pnm_numbers(source: Source) -> tuple[bytes, list[int], int]:
    """The kind, b"1" to b"6"; width, height and, but for bitmaps, the value of white; and where the pixels begin."""
    start = source.up_to(0, 4096)
    kind, position = start[1:2], 2
    numbers: list[int] = []
    wanted = 2 if kind in b"14" else 3
    token = b""
    while len(numbers) < wanted:
        character = start[position : position + 1]
        if not character or len(token) > _MOST_TOKENS:
            raise HeaderError("the PNM does not say its size")
        position += 1
        if character == b"#":
            end = start.find(b"\n", position)
            if end < 0:
                raise HeaderError("a comment of a PNM does not end")
            position = end  # which ends a number too
        elif character.isdigit():
            token += character
        elif character.isspace():
            if token:
                numbers.append(int(token))
            token = b""
        else:
            raise HeaderError("a PNM with something else than numbers in its header")
    return kind, numbers, position


def is_tga(source: Source) -> bool:
    """By the footer of version 2; older files have no mark to know them by."""
    return source.size > 44 and source.up_to(source.size - 18, 18) == b"TRUEVISION-XFILE.\0"


def tga(source: Source) -> Header:
    kind = source.at(2, 1)[0]
    width, height, depth = struct.unpack("<HHB", source.at(12, 5))
    if kind not in (1, 2, 3, 9, 10, 11) or depth not in (8, 16, 24, 32):
        raise HeaderError(f"a TGA of kind {kind} with {depth} bits")
    return Header("TGA", width, height, channels=1 if kind in (3, 11) else 3)


def counted(frames: int) -> int:
    """1, or 2 for several: it is all that anybody asks."""
    return min(max(frames, 1), 2)
