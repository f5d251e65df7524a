"""A look at a file's header, at the door: what it is and how large, without decoding one pixel.

It refuses what can be refused cheaply, so that bad uploads never reach a worker. The worker decodes the whole
file and has the last word.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, cast

from PIL import Image, UnidentifiedImageError

from service.errors import Problem
from service.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\x00", b"MM\x00*")
_CHUNK = 2**20
_MOST_SEGMENTS = 10_000  # a file of 25 MiB has some hundreds, unless it is made to keep us busy
_MOST_READS = 200_000  # a GIF of 25 MiB takes half of them


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself."""

    format: str
    width: int
    height: int


class _Bounded:
    """A file for Pillow's parsers, which take some that are made for it byte by byte or block by block."""

    def __init__(self, file: IO[bytes]) -> None:
        self._reads_left = _MOST_READS
        self._read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        self._reads_left -= 1
        if self._reads_left < 0:
            raise Problem("photo_damaged")
        return self._read(size)


def sniff(file: IO[bytes], settings: Settings) -> Header:
    """Read the header of a seekable file and leave it at its start. Raises a PhotoProblem."""
    if file.seek(0, os.SEEK_END) == 0:
        raise Problem("photo_empty")
    header, several = _open(file, settings)
    _check_size(header, settings)
    if several:
        raise Problem("photo_animated")
    if not _is_whole(file, header.format):
        raise Problem("photo_damaged", "The file ends before the picture does. Send the whole file.")
    file.seek(0)
    return header


def _open(file: IO[bytes], settings: Settings) -> tuple[Header, bool]:
    """The header, and whether there are several pictures where there should be one."""
    file.seek(0)
    magic = file.read(16)
    file.seek(0)
    try:
        with Image.open(cast(IO[bytes], _Bounded(file)), formats=FORMATS) as image:
            header = Header(str(image.format), image.width, image.height)
            if header.width * header.height > settings.max_pixels:
                return header, False  # looking for a second frame may decode the first
            # A JPEG with further pictures inside (MPO) is what many phones write: the first is the photo.
            return header, header.format != "MPO" and bool(getattr(image, "is_animated", False))
    except UnidentifiedImageError as error:
        raise Problem("photo_damaged" if magic.startswith(_MAGIC) else "photo_unsupported") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(settings) from error
    except Exception as error:  # Pillow's parsers raise nearly anything on hostile bytes
        raise Problem("photo_damaged") from error


def _check_size(header: Header, settings: Settings) -> None:
    short, long = sorted((header.width, header.height))
    size = f"The photo is {header.width} by {header.height} pixels"
    if header.width * header.height > settings.max_pixels:
        raise _too_many_pixels(settings)
    if long > settings.max_side:
        raise Problem("photo_too_large", f"{size}; {settings.max_side} is the longest side. Scale it down.")
    if short < settings.min_side:
        raise Problem(
            "photo_too_small", f"{size}; each side must have at least {settings.min_side}. Send a larger one."
        )
    if long > settings.max_aspect * short:
        raise Problem(
            "photo_too_small",
            f"{size}: one side is over {settings.max_aspect:g} times the other. Cut it into pieces.",
        )


def _too_many_pixels(settings: Settings) -> Problem:
    return Problem(
        "photo_too_large",
        f"The photo has more than {settings.max_pixels / 1e6:g} megapixels. Scale it down and send it again.",
    )


def _is_whole(file: IO[bytes], format: str) -> bool:
    """Whether the mark is there that ends a JPEG or PNG; other formats are left to the decoder."""
    if format in ("JPEG", "MPO"):
        # Inside a scan 0xFF is always followed by 0 or a restart mark (ISO 10918-1, B.1.1.5), so that the
        # end mark after the first scan's start is the real one and not that of an embedded thumbnail.
        return _find(file, b"\xff\xd9", _first_scan(file)) >= 0
    if format == "PNG":
        return _find(file, b"IEND\xae\x42\x60\x82", 8) >= 0
    return True


def _first_scan(file: IO[bytes]) -> int:
    """Where the first start-of-scan mark of a JPEG lies, walking segment by segment."""
    position = 2
    for _ in range(_MOST_SEGMENTS):
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[:2] == b"\xff\xda":
            return position
        # Between segments any number of 0xFF may stand as filling.
        position += 1 if head[0] != 0xFF or head[1] == 0xFF else 2 + int.from_bytes(head[2:], "big")
    return position


def _find(file: IO[bytes], mark: bytes, start: int) -> int:
    """Where a short mark is, from `start` on; -1 where it is not."""
    file.seek(start)
    position, tail = start, b""
    while chunk := file.read(_CHUNK):
        found = (tail + chunk).find(mark)
        if found >= 0:
            return position - len(tail) + found
        position += len(chunk)
        tail = (tail + chunk)[-len(mark) + 1 :]
    return -1
