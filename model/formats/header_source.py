"""What parsers of headers share: the bytes they may read, and what they find."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import IO, Final

MOST_READS: Final = 200_000
"""A GIF of 25 MiB takes half of them. A file that takes more was made to keep us busy."""
LONGEST_READ: Final = 4096
_CHUNK: Final = 2**20


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. The size is as stored, before an orientation is applied."""

    format: str
    width: int
    height: int
    frames: int = 1
    """Pages of a TIFF; of others 1, or 2 where there are more. What a camera puts behind a JPEG (MPO, depth, gain map) does not count."""
    page: int = field(default=1, compare=False)
    """The page that is the photograph, from 1 on."""
    rivals: int = field(default=1, compare=False)
    """How many pages are photographs of equal standing."""
    channels: int = field(default=3, compare=False)
    bits: int = field(default=8, compare=False)
    """A channel."""
    alpha: bool = field(default=True, compare=False)
    """Whether there may be transparency beside these channels."""
    whole: bool = field(default=True, compare=False)
    """False: the mark that ends a JPEG or PNG is missing, or a WebP is shorter than it says."""
    colors: tuple[int, int] | None = field(default=None, compare=False)
    """H.273's primaries and transfer, where a box states them."""


class HeaderError(ValueError):
    """The header is broken, cut off, or made to take long."""


class RefusedError(ValueError):
    """The file is sound and of a kind that is not taken: a sentence and an advice."""


class Source:
    """A seekable file for parsers. Reading beyond its end, or too often, raises HeaderError."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._reads_left = MOST_READS
        self.size = file.seek(0, os.SEEK_END)

    def at(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on."""
        piece = self.up_to(position, size)
        if len(piece) < size:
            raise HeaderError("the file ends within its header")
        return piece

    def up_to(self, position: int, size: int) -> bytes:
        """`size` bytes from `position` on, fewer at the file's end."""
        self._reads_left -= 1
        if self._reads_left < 0 or size > LONGEST_READ:
            raise HeaderError("the header takes too long to read")
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
