"""The blocks of a record, as they stand in files of each format. Needs no torch.

Time and memory do not depend on what a file says: so many segments are looked at, and so much of each is taken. What is broken may raise
ValueError, KeyError, IndexError, struct.error or zlib.error: `image_metadata.read` lets none of them through.

| format | where |
|---|---|
| JPEG | APP1, APP13 and COM segments before the first scan (T.81; XMP 3, 1.1.3); the extended part of an XMP packet is not taken |
| PNG | eXIf, tEXt, zTXt, iTXt; raw profiles as ImageMagick and ExifTool write them |
| WebP | the EXIF and XMP chunks (RFC 9649) |
| HEIC, AVIF | the items Exif and mime |
| JPEG 2000, JPEG XL | the boxes Exif, xml and uuid |
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from model.metadata.iptc import unwrapped

EXIF: Final = b"Exif\0\0"
XAP: Final = b"http://ns.adobe.com/xap/1.0/\0"
PHOTOSHOP: Final = b"Photoshop 3.0\0"
_ICC: Final = b"ICC_PROFILE\0"
_PLACELESS: Final = {0xE0: (b"JFIF\0",), 0xE1: (EXIF, XAP), 0xE2: (_ICC,), 0xEE: (b"Adobe",)}
"""How segments of a JPEG begin that hold no place, or are read whole (T.81, JFIF, ICC.1, Exif 2.32, XMP part 3)."""
_TABLES: Final = {0xDB, 0xDD, *range(0xC0, 0xD0)}
"""Of a JPEG: what decodes it."""
_JPEG_MARK: Final = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")
_MOST_SEGMENTS: Final = 10_000
_MOST_EXTENTS: Final = 16
MOST_BLOCK: Final = 4 * 2**20
"""Of one block, compressed or not."""
_MOST_TEXTS: Final = 256
_MOST_TEXT: Final = 2**20
"""Of all texts of a PNG together."""
_RAW_PROFILE: Final = re.compile(r"\s*+[^\n]*+\n\s*+(\d{1,8})\s++([0-9a-fA-F\s]*+)")
"""Nothing is tried twice: of a text of blank lines, all ways to share them out would take hours."""
_UUIDS: Final = {
    "exif": bytes.fromhex("4a706754696666457869662d3e4a5032"),
    "xmp": bytes.fromhex("be7acfcb97a942e89c71999491e3afac"),
    "iptc": bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"),
}
"""Of JPEG 2000's boxes, by the writers of EXIF, XMP (ISO 16684-3) and IPTC into it."""


class Blocks(NamedTuple):
    """As in `image_metadata.Metadata`, but with marks before them, and as yet unchecked."""

    exif: bytes = b""
    xmp: bytes = b""
    iptc: bytes = b""
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()


def of_jpeg(data: bytes) -> Blocks:
    """What the segments of a JPEG before its scan hold; empty where there is none."""
    exif = xmp = iptc = comment = b""
    for kind, body in _segments(data):
        if kind == 0xE1 and body.startswith(EXIF):
            exif = exif or body
        elif kind == 0xE1 and body.startswith(XAP):
            xmp = xmp or body[len(XAP) :]
        elif kind == 0xED and body.startswith(PHOTOSHOP) and len(iptc) < MOST_BLOCK:
            iptc += body[len(PHOTOSHOP) :]
        elif kind == 0xFE:
            comment = comment or body
    return Blocks(exif, xmp, unwrapped(iptc), comment)


def jpeg_profile(data: bytes) -> bytes:
    """The ICC profile, from segments that count from 1 on (ICC.1, B.4); empty where there is none."""
    bodies = [body for kind, body in _segments(data) if kind == 0xE2 and body.startswith(_ICC)]
    return b"".join(body[len(_ICC) + 2 :] for body in sorted(bodies))


def is_placeless_but_for_its_record(jpeg: bytes) -> bool:
    """Whether all of a JPEG's segments are those of _PLACELESS and _TABLES, and nothing else is between or behind them."""
    at, in_scan = 2, False
    while mark := _JPEG_MARK.search(jpeg, at):
        kind, begin = mark[1][0], mark.end()
        if mark.start() != at and not in_scan:
            return False
        if kind == 0xD9:  # the end; phones append videos, which may say a place of their own
            return not jpeg[begin:].strip(b"\0")
        at, in_scan = begin + int.from_bytes(jpeg[begin : begin + 2], "big"), kind == 0xDA
        if not in_scan and kind not in _TABLES and not jpeg.startswith(_PLACELESS.get(kind, ()), begin + 2):
            return False
    return False


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(marker, body) of a JPEG's segments before its first scan."""
    at = 2
    for _ in range(_MOST_SEGMENTS):
        if at + 4 > len(data):
            return
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1
            continue
        kind = data[at + 1]
        if kind == 0xDA:
            return
        if kind in (0x00, 0x01) or 0xD0 <= kind <= 0xD9:
            at += 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if kind in (0xE1, 0xE2, 0xED, 0xFE):
            yield kind, data[at + 4 : at + 2 + length]
        at += 2 + length


def of_png(data: bytes) -> Blocks:
    exif = xmp = iptc = b""
    texts: list[tuple[str, str]] = []
    left = _MOST_TEXT
    for kind, body in _chunks(data):
        if kind == b"eXIf":
            exif = exif or body
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and len(texts) < _MOST_TEXTS:
            try:
                key, value = _png_text(kind, body)
            except (ValueError, IndexError, zlib.error):
                continue
            if key == "XML:com.adobe.xmp":
                xmp = xmp or value.encode()
            elif key.startswith("Raw profile type "):
                exif, xmp, iptc = _profile(key[17:].lower(), value, exif, xmp, iptc)
            elif len(key) + len(value) <= left:
                left -= len(key) + len(value)
                texts.append((key, value))
    return Blocks(exif, xmp, iptc, b"", tuple(texts))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    for _ in range(_MOST_SEGMENTS):
        if at + 12 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if kind == b"IEND":
            return
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") and length <= 2 * MOST_BLOCK:
            yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _png_text(kind: bytes, body: bytes) -> tuple[str, str]:
    """Keyword and text. Raises ValueError, IndexError or zlib.error."""
    key, rest = body.split(b"\0", 1)
    if not 1 <= len(key) <= 79:
        raise ValueError("a keyword of no or many letters")
    if kind == b"tEXt":
        return key.decode("latin-1"), rest[:MOST_BLOCK].decode("latin-1")
    if kind == b"zTXt":
        return key.decode("latin-1"), _inflated(rest[1:]).decode("latin-1")
    is_compressed, rest = rest[0], rest[2:]
    _language, _translated, value = rest.split(b"\0", 2)
    return key.decode("latin-1"), (_inflated(value) if is_compressed else value[:MOST_BLOCK]).decode("utf-8")


def _inflated(data: bytes) -> bytes:
    """Raises zlib.error for what is broken, and ValueError for what is too much."""
    machine = zlib.decompressobj()
    value = machine.decompress(data, MOST_BLOCK)
    if not machine.eof:
        raise ValueError("cut off, or too much")
    return value


def _profile(kind: str, value: str, exif: bytes, xmp: bytes, iptc: bytes) -> tuple[bytes, bytes, bytes]:
    """The blocks with what ImageMagick and ExifTool write into a text: name, length, and hexadecimal digits."""
    match = _RAW_PROFILE.match(value)
    try:
        body = bytes.fromhex(match[2])[: int(match[1])] if match else b""
    except ValueError:
        body = b""
    if kind in ("exif", "app1") and body.startswith(EXIF):
        return exif or body, xmp, iptc
    if kind in ("xmp", "app1"):
        return exif, xmp or body.removeprefix(XAP), iptc
    if kind in ("iptc", "8bim"):
        return exif, xmp, iptc or body.removeprefix(PHOTOSHOP)
    return exif, xmp, iptc


def of_webp(data: bytes) -> Blocks:
    exif = xmp = b""
    at = 12
    for _ in range(_MOST_SEGMENTS):
        if at + 8 > len(data):
            break
        kind, length = struct.unpack_from("<4sI", data, at)
        if kind == b"EXIF" and length <= MOST_BLOCK:
            exif = exif or data[at + 8 : at + 8 + length]
        elif kind == b"XMP " and length <= MOST_BLOCK:
            xmp = xmp or data[at + 8 : at + 8 + length]
        at += 8 + length + (length & 1)
    return Blocks(exif, xmp)


def of_heif(data: bytes) -> Blocks:
    """HEIC and AVIF: the first items of EXIF and XMP (ISO 23008-12, annex A; ISO 14496-12, 8.11)."""
    top = {kind: (start, end) for kind, start, end in _boxes(data, 0, len(data))}
    inside = {kind: (start, end) for kind, start, end in _boxes(data, top[b"meta"][0] + 4, top[b"meta"][1])}
    kinds = _item_kinds(data, *inside[b"iinf"])
    places = _item_places(data, *inside[b"iloc"], inside.get(b"idat", (0, 0))[0])
    found = {b"Exif": b"", b"mime": b""}
    for item, kind in kinds:
        if item in places and kind in found and not found[kind]:
            found[kind] = b"".join(data[start:end] for start, end in places[item])[:MOST_BLOCK]
    exif = found[b"Exif"]
    return Blocks(exif[4 + int.from_bytes(exif[:4], "big") :], found[b"mime"])


def _item_kinds(data: bytes, start: int, end: int) -> list[tuple[int, bytes]]:
    """(item, "Exif" or "mime") of an item information box; of the latter only those that hold XMP."""
    wide = 2 if data[start] == 0 else 4
    kinds = []
    for _, at, behind in _boxes(data, start + 4 + wide, end):
        size = {2: 2, 3: 4}.get(data[at], 0)
        item = int.from_bytes(data[at + 4 : at + 4 + size], "big")
        kind = data[at + 6 + size : at + 10 + size]
        if kind == b"Exif" or (kind == b"mime" and b"application/rdf+xml\0" in data[at:behind]):
            kinds.append((item, kind))
    return kinds


def _item_places(data: bytes, start: int, end: int, idat: int) -> dict[int, list[tuple[int, int]]]:
    """Where in the file each item lies, by an item location box."""
    version, at = data[start], start + 4
    sizes = [data[at] >> 4, data[at] & 15, data[at + 1] >> 4, data[at + 1] & 15 if version else 0]
    at += 2

    def number(size: int) -> int:
        nonlocal at
        at += size
        if at > end:
            raise ValueError("the box ends before its items")
        return int.from_bytes(data[at - size : at], "big")

    offset_size, length_size, base_size, index_size = sizes
    wide = 4 if version == 2 else 2
    places: dict[int, list[tuple[int, int]]] = {}
    for _ in range(min(number(wide), _MOST_SEGMENTS)):
        item = number(wide)
        in_idat = (number(2) & 15) == 1 if version else False
        number(2)  # data reference
        base = number(base_size) + (idat if in_idat else 0)
        extents = places.setdefault(item, [])
        count = number(2)
        if not index_size + offset_size + length_size:
            continue  # such extents take no bytes, and so no end to them would be found
        for _ in range(min(count, _MOST_EXTENTS)):
            number(index_size)
            first = base + number(offset_size)
            length = number(length_size)
            if len(extents) < _MOST_EXTENTS and length <= MOST_BLOCK:
                extents.append((first, first + length))
        at += max(0, count - _MOST_EXTENTS) * (index_size + offset_size + length_size)
    return places


def of_boxes(data: bytes) -> Blocks:
    """JPEG 2000 and JPEG XL: boxes at the top of the file. Codestreams without boxes have no record."""
    found = {"exif": b"", "xmp": b"", "iptc": b""}
    for kind, start, end in _boxes(data, 0, len(data)):
        block = data[start:end] if end - start <= MOST_BLOCK else b""
        if kind == b"Exif":
            found["exif"] = found["exif"] or block[4 + int.from_bytes(block[:4], "big") :]
        elif kind == b"xml " and b"adobe:ns:meta" in block:
            found["xmp"] = found["xmp"] or block
        elif kind == b"uuid":
            for name, uuid in _UUIDS.items():
                if block.startswith(uuid):
                    found[name] = found[name] or block[16:]
    return Blocks(found["exif"], found["xmp"], found["iptc"])


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its body starts, and ends) of each of the boxes that follow one another (ISO 14496-12, 4.2)."""
    for _ in range(_MOST_SEGMENTS):
        if start + 8 > end:
            return
        length, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if length == 1 and body + 8 <= end:
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        following = end if length == 0 else start + length
        if not body <= following <= end:
            return
        yield kind, body, following
        start = following
