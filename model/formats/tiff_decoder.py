"""TIFFs that Pillow does not read right: more than 8 bits a channel, planes, alpha, floating point values, rare compressions.

tifffile reads them, with imagecodecs. What a strip or tile may decode to is bounded by the page's own size, which has been checked before.
"""

from __future__ import annotations

import io
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.errors import Notice, PhotoError
from model.formats import raster
from model.formats.header_source import HeaderError, Source
from model.formats.raster import Raster
from model.formats.raster_headers import check_scans, jpeg_frame
from model.formats.tiff_headers import Page

if TYPE_CHECKING:
    from numpy.typing import NDArray

# tifffile reports errors of pictures that are read all the same.
logging.getLogger("tifffile").setLevel(logging.CRITICAL)

_PILLOW_READS: Final = (1, 2, 3, 4, 5, 6, 7, 8, 32_773, 32_946)
"""Compressions: none, CCITT's, LZW, JPEG, deflate, PackBits."""
_READABLE: Final = (1, 5, 7, 8, 32_773, 32_946, 34_925, 50_000)
"""By tifffile, of those whose strips cannot hold more than the page: none, LZW, JPEG, deflate, PackBits, LZMA, Zstandard."""
_COLORS: Final = {0: 1, 1: 1, 2: 3, 5: 4, 6: 3, 8: 3, 9: 3}
"""Channels by PhotometricInterpretation: gray, RGB, CMYK, YCbCr, CIELAB, ICCLAB."""
_MOST_IN_A_TILE: Final = 4
_HEADER: Final = 8
"""Bytes, before which no pixel can be."""


def is_for_pillow(page: Page) -> bool:
    """8 bits and less, no channel beside the colors, in one plane, in a common compression; no palette of more."""
    fits = max(page.bits) <= 8 and len(set(page.bits)) == 1 and not page.is_planar and page.sample_format == 1
    channels = 1 if page.photometric == 3 else _COLORS.get(page.photometric, 0)
    if page.photometric == 6 and page.compression not in (6, 7) and page.tags.get(530, (2, 2)) != (1, 1):
        return False  # Pillow takes chroma of reduced size for pixels
    return fits and page.samples == channels and page.compression in _PILLOW_READS and page.photometric != 9


def decode(data: bytes, page: Page, number: int, partial: bool) -> Raster:
    """The page of this number, from 1 on. Raises PhotoError."""
    import tifffile

    _check(page)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        stored: Any = file.pages[number - 1]
        if (stored.imagewidth, stored.imagelength) != page.size or stored.imagedepth != 1:
            raise HeaderError("the page has another size")
        if math.prod(stored.shaped) != page.area * page.samples:
            raise HeaderError("the page has another number of values")
        _check_tiles(page, stored)
        check_segments(data, page, stored.dataoffsets, stored.databytecounts)
        _check_places(page, stored)
        missing = None
        if _is_cut(stored, len(data)):
            values, missing = _decode_what_is_there(data, stored, partial)
        else:
            values = _pixels(data, stored, number)
        made = _interpret(_channels_last(values, page), page)
        made.missing = missing
        tag = stored.tags.get(34_675)
        made.profile = tag.value if tag is not None and isinstance(tag.value, bytes) else None
        made.orientation = _whole(stored, 274, 1)
        made.dpi = _dpi(stored)
    return made


def _check(page: Page) -> None:
    """Refuse what no decoder here is trusted with."""
    channels = _COLORS.get(page.photometric)
    if page.photometric in (4, 10, 32_844, 32_845) or channels is None:
        raise PhotoError(
            "photo_unsupported",
            f"The TIFF holds colors of a rare kind (PhotometricInterpretation {page.photometric}).",
            "Save it as gray or RGB.",
        )
    if page.photometric == 6 and page.compression != 7:
        raise PhotoError(
            "photo_unsupported",
            "The TIFF holds YCbCr in a rare layout.",
            "Save it as RGB, or with JPEG inside.",
        )
    if page.compression not in _READABLE:
        raise PhotoError(
            "photo_unsupported",
            f"The TIFF is compressed in a rare way ({page.compression}).",
            "Save it uncompressed, or with LZW or deflate.",
        )
    if page.photometric == 5 and page.one(332, 1) != 1:
        raise PhotoError(
            "photo_unsupported", "The TIFF holds other inks than CMYK.", "Save it as gray or RGB."
        )
    if page.is_crowded or page.samples > 8 or page.samples < channels or len(set(page.bits)) > 1:
        raise HeaderError("a TIFF of a rare layout")


def _check_tiles(page: Page, stored: Any) -> None:
    """A tile is decoded whole: it may not be much larger than the page. Where there are too few, nothing would be said of it."""
    tile = int(stored.tilewidth or 0) * int(stored.tilelength or 0)
    if tile > max(_MOST_IN_A_TILE * page.area, 2**22):
        raise HeaderError("a tile is larger than the page")
    if len(stored.dataoffsets) < math.prod(stored.chunked):
        raise HeaderError("strips or tiles are missing")


def check_segments(data: bytes, page: Page, offsets: Sequence[int], counts: Sequence[int]) -> None:
    """Strips or tiles may not take long to read: they may overlap, and a JPEG inside says its own size. Raises HeaderError."""
    # Strips may share their bytes, as empty ones do, but reading and unpacking them takes time for each.
    if sum(counts) > len(data) + 2 * page.area * page.samples * (max(page.bits) // 8 + 1):
        raise HeaderError("the strips are longer than the file and the pixels")
    if page.compression != 7:
        return
    source = Source(io.BytesIO(data))  # one for all: it hands out so many pieces
    view = memoryview(data)
    for offset, count in zip(offsets, counts, strict=False):
        if count and offset + count <= len(data):
            position, (_, _, width, height, _) = jpeg_frame(source, offset + 2)
            if width * height > max(_MOST_IN_A_TILE * page.area, 2**22):
                raise HeaderError("a JPEG inside is larger than the page")
            check_scans(view[: offset + count], position, width * height)


def _check_places(page: Page, stored: Any) -> None:
    """Uncompressed strips that lie over one another: one of the offsets is wrong, and nothing else would say so.

    Strips that are the same may share one place.
    """
    if page.compression != 1:
        return
    whole = math.prod(stored.chunks) * max(page.bits) // 8
    ends = 0
    for offset, count in sorted(set(zip(stored.dataoffsets, stored.databytecounts, strict=False))):
        if not _is_written(offset, count):
            continue
        if offset < ends:
            raise PhotoError(
                "photo_damaged",
                "The TIFF's directory is damaged: parts of the picture lie over one another.",
                "Save it anew with the program that wrote it, or scan it again.",
            )
        ends = max(ends, offset + min(count, whole))


def _pixels(data: bytes, stored: Any, number: int) -> NDArray[Any]:
    """All values. Some programs fill the last strip up, for which tifffile sets aside too little: it is told the full height."""
    import tifffile

    try:
        values: NDArray[Any] = stored.asarray(maxworkers=1)
    except RuntimeError:  # of imagecodecs
        rows = int(stored.rowsperstrip or 0)
        beyond = -stored.imagelength % rows if 0 < rows < stored.imagelength else 0
        if stored.is_tiled or not beyond:
            raise
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            taller: Any = file.pages[number - 1]
            planes, depth, height, width, samples = taller.shaped
            taller.imagelength = height + beyond
            taller.shaped = (planes, depth, height + beyond, width, samples)
            taller.shape = taller.shaped
            values = taller.asarray(maxworkers=1).reshape(taller.shaped)[:, :, :height]
        values = np.moveaxis(values[:, 0, ..., 0], 0, -1) if planes > 1 else values[0, 0]
    return values


def _is_cut(stored: Any, size: int) -> bool:
    return any(
        offset + count > size or not _is_written(offset, count)
        for offset, count in zip(stored.dataoffsets, stored.databytecounts, strict=False)
    )


def _is_written(offset: int, count: int) -> bool:
    """Whether a strip says where it is. Strips that were never written say 0, and those of a damaged directory point into the header."""
    return offset >= _HEADER and count > 0


def _decode_what_is_there(data: bytes, stored: Any, partial: bool) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """The strips or tiles that are whole, and of an uncompressed one the rows; and which pixels are missing. Raises PhotoError."""
    planes = stored.shaped[0]
    values = np.zeros(stored.shaped, stored.dtype)  # (plane, depth, H, W, sample)
    missing = np.zeros(stored.shaped[2:4], bool)
    for index, (offset, count) in enumerate(zip(stored.dataoffsets, stored.databytecounts, strict=True)):
        piece = data[offset : offset + count] if _is_written(offset, count) else b""
        there = len(piece) / count if count else 0.0
        if there < 1 and stored.compression == 1:
            piece = piece.ljust(count, b"\0")
        if count and len(piece) == count:
            decoded, place, shape = stored.decode(piece, index)
        else:
            decoded, place, shape = stored.decode(None, index)
        plane, _, top, left, _ = place
        high, wide = shape[1], shape[2]
        rows = slice(top, min(top + high, missing.shape[0]))
        columns = slice(left, min(left + wide, missing.shape[1]))
        if decoded is not None:
            values[plane, 0, rows, columns] = decoded[0, : rows.stop - top, : columns.stop - left]
        if there < 1:
            missing[top + math.floor(high * there if stored.compression == 1 else 0) : rows.stop, columns] = (
                True
            )
    if not partial:
        raise raster.cut_off(1 - missing.mean())
    return np.moveaxis(values[:, 0, ..., 0], 0, -1) if planes > 1 else values[0, 0], missing


def _channels_last(values: NDArray[Any], page: Page) -> NDArray[Any]:
    """(H, W, samples)"""
    width, height = page.size
    if page.is_planar and values.shape == (page.samples, height, width):
        return np.moveaxis(values, 0, -1)
    if values.size != height * width * page.samples:
        raise HeaderError("the pixels do not fit the page")
    return values.reshape(height, width, page.samples)


def _interpret(values: NDArray[Any], page: Page) -> Raster:
    """Channels of whatever type as gray, RGB, CMYK or Lab of 8 or 16 bits, and alpha."""
    notices: list[Notice] = []
    values = _whole_range(values, page, notices)
    channels = _COLORS[page.photometric]
    colors = values[..., 0] if channels == 1 else values[..., :channels]
    alpha = None
    extra = page.extra or (0,) * (page.samples - channels)
    for place, meaning in enumerate(extra[: page.samples - channels]):
        if meaning in (1, 2) and alpha is None:
            alpha = values[..., channels + place]
            if meaning == 1 and page.photometric in (0, 1, 2, 6):
                colors = raster.without_alpha(colors, alpha)
        else:
            notices.append(
                Notice("channel_ignored", "The file has a channel beside its colors, which was ignored.")
            )
    if page.photometric == 0:
        colors = np.iinfo(colors.dtype).max - colors
    space = {1: "gray", 3: "rgb", 4: "cmyk"}[channels]
    space = {8: "lab", 9: "icclab"}.get(page.photometric, space)
    return Raster(
        np.ascontiguousarray(colors),
        space,
        raster.to_eight_bits(alpha) if alpha is not None else None,
        notices=notices,
    )


def _whole_range(values: NDArray[Any], page: Page, notices: list[Notice]) -> NDArray[Any]:
    """Values of any type over the range of uint8 or uint16."""
    kind, bits = values.dtype.kind, page.bits[0]
    if kind == "f":
        notices.append(raster.FLOAT_NOTICE)
        return raster.from_floats(values, "TIFF")
    if kind not in "uib" or (kind == "i" and page.photometric in (8, 9)):
        raise PhotoError(
            "photo_unsupported", "The TIFF holds complex or signed values.", "Save it with 8 or 16 bits."
        )
    if kind == "i" or bits > 16:
        return raster.from_wide(values)
    if bits == 16 and page.photometric in (0, 1, 2) and (used := _bits_used(values)) < 16:
        notices.append(
            Notice(
                "dark_values",
                f"The file uses the lower {used} of its 16 bits; they were taken as the whole range.",
            )
        )
        bits = used
    return raster.spread(values, bits)


def _bits_used(values: NDArray[Any]) -> int:
    """12 where the values need 11 or 12 of their 16 bits, as cameras for science and some scanners write them; 10 for 9 or 10; else 16.

    A photograph whose brightest spot has a sixteenth of white's value would be nearly black. One of 14 bits would be dark, as some are.
    """
    most = int(values.max())
    return 10 if 255 < most < 1_024 else 12 if 1_023 < most < 4_096 else 16


def _whole(stored: Any, tag: int, default: int) -> int:
    try:
        return int(stored.tags[tag].value)
    except (KeyError, TypeError, ValueError):
        return default


def _dpi(stored: Any) -> tuple[float, float] | None:
    """Of the tags for inches (2) and centimeters (3)."""
    unit = {2: 1.0, 3: 2.54}.get(_whole(stored, 296, 2))
    try:
        across, down = (stored.tags[tag].value for tag in (282, 283))
        return None if unit is None else (across[0] / across[1] * unit, down[0] / down[1] * unit)
    except (KeyError, TypeError, ValueError, ZeroDivisionError, IndexError):
        return None
