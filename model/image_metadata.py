"""A photo's record: what its file says beside the picture. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metadata:
    """The blocks of a file, as they stood in it."""

    exif: bytes = b""
    """A TIFF structure, without the `Exif` mark before it."""
    xmp: bytes = b""
    """An XMP packet, UTF-8."""
    iptc: bytes = b""
    """IPTC-IIM datasets."""
    comment: bytes = b""
    text: tuple[tuple[str, str], ...] = ()
    """Of a PNG: keyword and text."""
