"""PBM, PGM and PPM, binary and ASCII (netpbm's pbm, pgm and ppm), by numpy, as Pillow keeps 8 bits of a color's 16."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.formats import raster
from model.formats.header_source import HeaderError, Source
from model.formats.raster import Raster
from model.formats.raster_headers import pnm_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_COMMENTS: Final = 10_000


def decode(data: bytes, partial: bool) -> Raster:
    """Raises PhotoError or HeaderError."""
    kind, numbers, start = pnm_numbers(Source(io.BytesIO(data)))
    width, height = numbers[:2]
    most = numbers[2] if len(numbers) > 2 else 1
    channels = 3 if kind in b"36" else 1
    count = width * height * channels
    values: NDArray[Any]
    if kind == b"4":
        packed = np.frombuffer(data, np.uint8, offset=start)[: height * -(-width // 8)]
        there = len(packed) // -(-width // 8) * width
        packed = np.pad(packed, (0, height * -(-width // 8) - len(packed))).reshape(height, -1)
        values = 1 - np.unpackbits(packed, axis=1)[:, :width].reshape(-1)
    elif kind in b"56":
        values = np.frombuffer(data[start:], np.uint8) if most < 256 else _big_endian(data[start:])
        there = min(len(values), count)
    else:
        values = _ascii_numbers(data[start:], kind == b"1")
        there = min(len(values), count)
        values = 1 - values if kind == b"1" else values
    if values[:count].max(initial=0) > most:
        raise HeaderError("a PNM with more than white")
    if there < count and not partial:
        raise raster.cut_off(there / count)
    values = values[:count].astype(np.uint8 if most < 256 else np.uint16, copy=False)
    values = np.pad(values, (0, count - len(values)))
    missing = None
    if there < count:
        missing = np.ones((height, width), bool)
        missing[: there // (width * channels)] = False
    pixels = raster.stretched(values, most).reshape((height, width, 3) if channels == 3 else (height, width))
    return Raster(pixels, "rgb" if channels == 3 else "gray", missing=missing)


def _big_endian(data: bytes) -> NDArray[np.uint16]:
    return np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype(np.uint16)


def _ascii_numbers(data: bytes, is_bitmap: bool) -> NDArray[np.int64]:
    """Numbers between white space; of a bitmap single digits, with or without."""
    if data.count(b"#") > _MOST_COMMENTS:
        raise HeaderError("a PNM of comments")
    text = re.sub(rb"#[^\n]*", b"", data)
    if is_bitmap:
        digits = np.frombuffer(text, np.uint8)
        bits: NDArray[np.int64] = (digits[(digits == 48) | (digits == 49)] == 49).astype(np.int64)
        return bits
    if text.translate(None, b"0123456789 \t\r\n\v\f"):
        raise HeaderError("a PNM with something else than numbers")
    numbers: NDArray[np.int64] = np.fromstring(text, np.int64, sep=" ")
    return numbers
