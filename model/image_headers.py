"""`probe`: what a picture's file says of itself in its headers, and whether we take it. Nothing is decoded. Needs neither torch nor numpy.

The time and memory that this takes do not depend on what the file says. All parsers read through `header_source.Source`, which hands out a
bounded number of short pieces; no table is read whole, and no count that a file states makes anything larger.

| format | specification | parser |
|---|---|---|
| JPEG | ITU-T T.81, B.1 and B.2 | `raster_headers` |
| PNG | W3C PNG (third edition), 5 and 11.3.4 (acTL) | `raster_headers` |
| GIF, WebP, BMP | GIF89a, RFC 9649, BITMAPCOREHEADER to BITMAPV5HEADER | `raster_headers` |
| PNM, TGA | netpbm's pbm, pgm and ppm; TGA 2.0 | `raster_headers` |
| TIFF | TIFF 6.0, 2, and BigTIFF | `tiff_headers` |
| AVIF, HEIC, JPEG 2000, JPEG XL | see there | `box_headers` |
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from typing import IO, Final

from model.errors import PhotoError
from model.formats import box_headers, raster_headers, tiff_headers
from model.formats.header_source import Header, HeaderError, RefusedError, Source
from model.machine import memory_available

__all__ = [
    "ENDINGS",
    "FORMATS",
    "IN_WORDS",
    "MAX_ASPECT",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "Header",
    "Limits",
    "damaged",
    "end_of",
    "memory_needed",
    "photographs",
    "probe",
]

IN_WORDS: Final = "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF, HEIC, JPEG 2000, JPEG XL, PNM or TGA"
ENDINGS: Final = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "AVIF": (".avif", ".avifs"),
    "HEIF": (".heic", ".heif", ".hif"),
    "JPEG2000": (".jp2", ".j2k", ".jpf", ".jpx", ".j2c", ".jpc"),
    "JXL": (".jxl",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
}
"""Endings of names that files of a format have, the usual one first."""
FORMATS: Final = tuple(ENDINGS)
"""What is taken, by Pillow's names, and JXL."""

MAX_BYTES: Final = 25 * 2**20
MAX_PIXELS: Final = 50_000_000
MAX_SIDE: Final = 16_384
MAX_ASPECT: Final = 50.0
"""A service's limits, unless it is told others."""


_ENCODERS: Final = {"AVIF": 36, "WEBP": 4}
"""Bytes a pixel that libavif and libwebp take beside what they are given. Other encoders take a few rows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Which photos are taken. `check_size` raises PhotoError for others. None is no limit.

    The defaults are a service's. Where there is no limit to the pixels, memory is one, by `check_memory`.
    """

    max_bytes: int | None = MAX_BYTES
    max_pixels: int | None = MAX_PIXELS
    max_side: int | None = MAX_SIDE
    min_side: int = 8
    max_aspect: float | None = MAX_ASPECT
    """The longer side over the shorter."""

    @classmethod
    def none(cls) -> Limits:
        """For one's own photos on one's own machine."""
        return cls(max_bytes=None, max_pixels=None, max_side=None, min_side=1, max_aspect=None)

    def check_size(self, width: int, height: int) -> None:
        """Raises PhotoError: photo_too_large or photo_too_small."""
        short, long = sorted((width, height))
        size = f"The photo is {width} by {height} pixels"
        if self.max_pixels is not None and width * height > self.max_pixels:
            raise self.too_many_pixels()
        if self.max_side is not None and long > self.max_side:
            raise PhotoError(
                "photo_too_large", f"{size}; {self.max_side} is the longest side.", "Use a smaller version."
            )
        if short < self.min_side:
            raise PhotoError(
                "photo_too_small",
                f"{size}; each side must have at least {self.min_side}.",
                "Use a larger version.",
            )
        if self.max_aspect is not None and long > self.max_aspect * short:
            raise PhotoError(
                "photo_too_small",
                f"{size}: one side is over {self.max_aspect:g} times the other.",
                "Cut it into pieces.",
            )

    def check_memory(self, header: Header, file_bytes: int) -> None:
        """Raises PhotoError (photo_too_large) where there is no limit to the pixels and the photo needs more memory than there is."""
        if self.max_pixels is not None:
            return
        needed, there = memory_needed(header, file_bytes), memory_available()
        if there is not None and needed > there:
            megapixels = header.width * header.height / 1e6
            raise PhotoError(
                "photo_too_large",
                f"The photo has {megapixels:.0f} megapixels: it takes about {needed / 2**30:.1f} GiB of memory, and"
                f" {there / 2**30:.1f} GiB are free.",
                "End other programs, use a machine with more memory, or make the photo smaller.",
            )

    def too_many_pixels(self) -> PhotoError:
        if self.max_pixels is None:
            return PhotoError(
                "photo_too_large",
                "There is too little memory for the photo.",
                "End other programs, or make the photo smaller.",
            )
        return PhotoError(
            "photo_too_large",
            f"The photo has more than {self.max_pixels / 1e6:g} megapixels.",
            "Use a smaller version.",
        )


def memory_needed(header: Header, file_bytes: int = 0, saved: str = "", other: bool = False) -> int:
    """Roughly how many bytes it takes to open, color and save a photo, its file among them.

    `saved`: the format, where one is asked for. `other`: pictures of other colors are made, one at a time, while the first is held.
    """
    deep, alpha = 1 if header.bits <= 8 else 2, int(header.alpha)
    # As `image_io.saved_format` has it.
    written = header.format.replace("AVIF", "JPEG") if saved in ("", "auto") else saved.upper()
    opened, colored = deep * (max(1, header.channels) + alpha), deep * (3 + alpha)
    lightness, encoder = 4, _ENCODERS.get(written, 0)
    return file_bytes + header.width * header.height * (
        2 * opened + lightness + (2 + other) * colored + encoder
    )


def probe(source: bytes | IO[bytes], limits: Limits = Limits(), page: int | None = None) -> Header:
    """The header of a file, which is left at its start, or of a file's bytes. Raises PhotoError for what is not to be taken.

    `page`: 1 is the first; None is the photograph of a TIFF, and refuses animations. Whether there is memory for the photo is left to
    `Limits.check_memory`, and whether the file is cut off behind its header to the decoder, which has the last word on every photo.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        raise PhotoError("photo_empty", "The file is empty.", "Get it again from where it came.")
    if limits.max_bytes is not None and size > limits.max_bytes:
        raise PhotoError(
            "photo_too_large",
            f"The file has {size / 2**20:.1f} MiB; {limits.max_bytes / 2**20:g} MiB is the most.",
            "Use a smaller version, or save it as JPEG.",
        )
    header = _read(Source(file))
    if page is not None:
        header = _page(Source(file), header, page)
    elif header.frames > 1 and header.format != "TIFF":
        raise PhotoError(
            "photo_animated",
            "The file is an animation.",
            "Save one frame as JPEG or PNG, or ask for the first one (page=1).",
        )
    limits.check_size(header.width, header.height)
    file.seek(0)
    return header


def end_of(file: IO[bytes], header: Header) -> int:
    """How many bytes of a file are its picture's, which is left at its start: all where its format does not say, or it is not whole.

    What a JPEG says to have behind it (further pictures, a gain map, a film) is its own. Nothing that is opened lies behind the end.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    end: int | None = None
    try:
        if header.format == "PNG" and header.whole:
            end = raster_headers.png_end(Source(file))
        elif header.format == "JPEG" and header.whole:
            with closing(_mapped(file, size)) as data:
                end = raster_headers.jpeg_end(Source(file), data)
        elif header.format == "WEBP":
            end = raster_headers.webp_end(Source(file))
    except HeaderError:
        end = None
    file.seek(0)
    return min(end or size, size)


def _mapped(file: IO[bytes], size: int) -> mmap:
    """A file's bytes, without a copy of a large one in memory."""
    try:
        return mmap(file.fileno(), size, access=ACCESS_READ)
    except OSError:  # it is in memory
        data = mmap(-1, size)
        data.write(file.read())
        return data


def photographs(source: bytes | IO[bytes]) -> tuple[int, ...]:
    """The numbers, from 1 on, of the pages that are photographs of full size; (1,) of a file that has no pages. Raises PhotoError."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    header = probe(file, Limits.none(), page=1)
    if header.format != "TIFF":
        return (1,)
    found = tuple(tiff_headers.photographs(tiff_headers.pages(Source(file))))
    file.seek(0)
    return found


def _page(source: Source, header: Header, page: int) -> Header:
    """The header of a page that was asked for."""
    if header.format == "TIFF":
        found = tiff_headers.pages(source)
        if 1 <= page <= len(found):
            return tiff_headers.header_of(found, page)
    elif page == 1:
        return replace(header, frames=1)
    pages = header.frames if header.format == "TIFF" else 1
    raise PhotoError(
        "photo_unsupported",
        f"The file has no page {page}.",
        f"It has {pages} page{'s' * (pages > 1)}; choose one of them.",
    )


def _read(source: Source) -> Header:
    start = source.up_to(0, 64)
    for parse, accepts in _PARSERS.items():
        if accepts(start):
            return _parsed(parse, source)
    if raster_headers.is_tga(source):
        return _parsed(raster_headers.tga, source)
    raise _unsupported(start)


def _parsed(parse: Callable[[Source], Header], source: Source) -> Header:
    try:
        return parse(source)
    except RefusedError as refused:
        raise PhotoError("photo_unsupported", *refused.args) from refused
    except (HeaderError, struct.error, IndexError) as error:
        raise damaged() from error


def _unsupported(start: bytes) -> PhotoError:
    if start.startswith(_RAW_MAGIC) or box_headers.is_canon_raw(start) or start[6:14] == b"HEAPCCDR":
        return PhotoError("photo_unsupported", *tiff_headers.raw().args)
    if start.startswith(b"%PDF"):
        return PhotoError(
            "photo_unsupported",
            "The file is a PDF document, not a photo.",
            "Export the picture in it as TIFF, PNG or JPEG.",
        )
    return PhotoError(
        "photo_unsupported",
        "The file is not a photo in a format that can be read.",
        f"Use a {IN_WORDS} file; save others as JPEG first.",
    )


def damaged() -> PhotoError:
    return PhotoError(
        "photo_damaged",
        "The photo is damaged or cut off, or of a rare kind.",
        "Get it again from where it came, or save it anew as JPEG or PNG.",
    )


_TIFF_MAGIC: Final = (b"II*\0", b"MM\0*", b"MM*\0", b"II\0*", b"II+\0", b"MM\0+")
_RAW_MAGIC: Final = (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")
"""Of Fujifilm, Olympus, Panasonic, Sigma and Minolta. Other makers' raw files are TIFFs."""
_PNM_MAGIC: Final = tuple(
    b"P" + kind + space
    for kind in (b"1", b"2", b"3", b"4", b"5", b"6")
    for space in (b" ", b"\t", b"\n", b"\r")
)
_PARSERS: Final[dict[Callable[[Source], Header], Callable[[bytes], bool]]] = {
    raster_headers.jpeg: lambda start: start.startswith(b"\xff\xd8\xff"),
    raster_headers.png: lambda start: start.startswith(b"\x89PNG\r\n\x1a\n"),
    raster_headers.webp: lambda start: start.startswith(b"RIFF") and start[8:12] == b"WEBP",
    raster_headers.gif: lambda start: start.startswith((b"GIF87a", b"GIF89a")),
    tiff_headers.tiff: lambda start: start.startswith(_TIFF_MAGIC),
    raster_headers.bmp: lambda start: start.startswith(b"BM"),
    box_headers.avif: box_headers.is_avif,
    box_headers.heif: box_headers.is_heif,
    box_headers.jpeg_2000: lambda start: start.startswith((box_headers.JP2, box_headers.J2K)),
    box_headers.jpeg_xl: lambda start: start.startswith((box_headers.JXL, box_headers.JXL_BARE)),
    raster_headers.pnm: lambda start: start.startswith(_PNM_MAGIC),
}
