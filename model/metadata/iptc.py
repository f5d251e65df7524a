"""IPTC-IIM datasets (IIM 4.2), in which press and archives write captions, and Photoshop's image resources, which wrap them in files."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Final

from model.metadata.xmp import Text

_MOST_RESOURCES: Final = 10_000
_PROPERTIES: Final = {
    (2, 5): ("dc:title", "Alt"),
    (2, 25): ("dc:subject", "Bag"),
    (2, 40): ("photoshop:Instructions", ""),
    (2, 55): ("photoshop:DateCreated", ""),
    (2, 80): ("dc:creator", "Seq"),
    (2, 85): ("photoshop:AuthorsPosition", ""),
    (2, 90): ("photoshop:City", ""),
    (2, 95): ("photoshop:State", ""),
    (2, 101): ("photoshop:Country", ""),
    (2, 103): ("photoshop:TransmissionReference", ""),
    (2, 105): ("photoshop:Headline", ""),
    (2, 110): ("photoshop:Credit", ""),
    (2, 115): ("photoshop:Source", ""),
    (2, 116): ("dc:rights", "Alt"),
    (2, 120): ("dc:description", "Alt"),
    (2, 122): ("photoshop:CaptionWriter", ""),
}
"""IPTC-IIM's datasets as XMP properties: IPTC Photo Metadata Standard 2024.1."""


def wrapped(iptc: bytes) -> bytes:
    """IPTC-IIM datasets as Photoshop's image resource 0x0404, which JPEG files and PNG profiles wrap them in."""
    return b"8BIM\x04\x04\0\0" + struct.pack(">I", len(iptc)) + iptc + b"\0" * (len(iptc) % 2)


def unwrapped(resources: bytes) -> bytes:
    """The IPTC-IIM datasets among Photoshop's image resources."""
    at = 0
    for _ in range(_MOST_RESOURCES):
        if resources[at : at + 4] != b"8BIM" or at + 12 > len(resources):
            return b""
        (kind,) = struct.unpack_from(">H", resources, at + 4)
        name = 1 + resources[at + 6]
        at += 6 + name + name % 2
        length = int.from_bytes(resources[at : at + 4], "big")
        if kind == 0x0404:
            return resources[at + 4 : at + 4 + length]
        at += 4 + length + length % 2
    return b""


def checked(iptc: bytes) -> bytes:
    """IPTC-IIM up to the end of the last dataset that is whole."""
    return iptc[: max((end for _, _, end in datasets(iptc)), default=0)]


def datasets(iptc: bytes) -> Iterator[tuple[tuple[int, int], bytes, int]]:
    """((record, number), value, where the dataset ends), by IIM 4.2, 1.5."""
    at = 0
    while at + 5 <= len(iptc) and iptc[at] == 0x1C:
        record, number, length = struct.unpack_from(">BBH", iptc, at + 1)
        start = at + 5
        if length & 0x8000:  # an extended dataset: the length of its length
            size = length & 0x7FFF
            if size > 4:
                return
            length = int.from_bytes(iptc[start : start + size], "big")
            start += size
        if start + length > len(iptc):
            return
        at = start + length
        yield (record, number), iptc[start:at], at


def words(iptc: bytes) -> dict[str, Text]:
    """The datasets that XMP has properties for."""
    is_utf8 = False
    values: dict[tuple[int, int], list[str]] = {}
    for number, value, _ in datasets(iptc):
        is_utf8 |= number == (1, 90) and value == b"\x1b%G"
        if number in _PROPERTIES:
            text = value.decode("utf-8", "replace") if is_utf8 else decoded(value)
            values.setdefault(number, []).append(text)
    found = {}
    for number, texts in values.items():
        key, kind = _PROPERTIES[number]
        if number == (2, 55):
            texts = [re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", text) for text in texts]
        found[key] = Text(tuple(texts) if kind in ("Bag", "Seq") else (texts[0],), kind)
    return found


def decoded(value: bytes) -> str:
    """UTF-8 where it is such, or else Latin-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
