"""Pixels as a file holds them, before they are turned upright and brought to sRGB; and what decoders do to them alike."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from model.errors import Notice, PhotoError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_STRIP: Final = 1 << 18
"""Values that are worked on at once, so that floating point copies stay small."""


@dataclass(slots=True)
class Raster:
    """`pixels`: (H, W) gray, (H, W, 3) RGB or Lab, (H, W, 4) CMYK; uint8 or uint16, over their whole range.

    `space`: gray, rgb, cmyk, lab (CIE, L from 0, a and b signed) or icclab (a and b from 0). `alpha`: (H, W) uint8. `profile`: ICC.
    `orientation`: EXIF's, still to be applied. `missing`: (H, W), true where the file was cut off.
    """

    pixels: NDArray[Any]
    space: str = "gray"
    alpha: NDArray[np.uint8] | None = None
    profile: bytes | None = None
    orientation: int = 1
    dpi: tuple[float, float] | None = None
    notices: list[Notice] = field(default_factory=list)
    missing: NDArray[np.bool_] | None = None


def cut_off(share: float) -> PhotoError:
    """The refusal that says how much is there."""
    return PhotoError(
        "photo_damaged",
        f"The file is cut off: {math.floor(share * 100)}% of the picture is there.",
        "Use the whole file, or ask for what is there with the option partial.",
    )


def spread(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """Whole numbers of so many bits over the range of uint8 or, from nine bits on, uint16."""
    return stretched(values, (1 << bits) - 1)


def stretched(values: NDArray[Any], most: int) -> NDArray[Any]:
    """Whole numbers from 0 to `most` over the range of uint8 or, where `most` is over 255, uint16."""
    kind, top = (np.uint8, 255) if most < 256 else (np.uint16, 65_535)
    if most == top:
        return values.astype(kind, copy=False)
    table = np.rint(np.arange(most + 1) * (top / most)).astype(kind)
    return np.take(table, values, mode="clip")


def strips(values: NDArray[Any]) -> list[slice]:
    """(rows, …) → slices of rows, each of about _STRIP values."""
    rows = max(1, _STRIP // max(1, math.prod(values.shape[1:])))
    return [slice(top, top + rows) for top in range(0, len(values), rows)]


def to_eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """uint16 as the nearest of 256 levels; uint8 as it is."""
    if values.dtype == np.uint8:
        return values
    narrow = np.empty(values.shape, np.uint8)
    for rows in strips(values):
        narrow[rows] = (values[rows].astype(np.uint32) + 128) // 257
    return narrow


def without_alpha(pixels: NDArray[Any], alpha: NDArray[Any]) -> NDArray[Any]:
    """(H, W) or (H, W, 3) of premultiplied colors, divided by their (H, W) alpha; black where that is 0."""
    if alpha.min() == np.iinfo(alpha.dtype).max:
        return pixels
    divisor = alpha.astype(np.float32)
    if pixels.ndim == 3:
        divisor = divisor[..., None]
    most = np.iinfo(pixels.dtype).max
    divided = np.divide(
        pixels * np.float32(most), divisor, out=np.zeros(pixels.shape, np.float32), where=divisor > 0
    )
    return np.minimum(np.rint(divided), most).astype(pixels.dtype)


def as_gray(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W, 3) whose channels are equal everywhere as (H, W); others as they are."""
    for top in range(0, len(pixels), 256):
        rows = pixels[top : top + 256]
        if not (np.array_equal(rows[..., 0], rows[..., 1]) and np.array_equal(rows[..., 1], rows[..., 2])):
            return pixels
    return np.ascontiguousarray(pixels[..., 1])


def from_floats(values: NDArray[Any], what: str) -> NDArray[np.uint16]:
    """Values from 0, black, to 1, white. Raises PhotoError for others, whose meaning no standard defines."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):  # NaN is refused too
        raise PhotoError(
            "photo_unsupported",
            f"The {what} holds floating point values from {low:g} to {high:g}, whose black and white are not defined.",
            "Save it with 16 or 8 bits a channel, or with values from 0 to 1.",
        )
    return np.rint(values.astype(np.float64) * 65_535).astype(np.uint16)


FLOAT_NOTICE: Final = Notice(
    "float_values",
    "The file holds floating point values; 0 was taken as black, 1 as white, with sRGB's curve between.",
)


def from_wide(values: NDArray[Any]) -> NDArray[np.uint16]:
    """Integers of 32 or 64 bits, of which many programs use no more than the lower sixteen. Raises PhotoError for negative ones."""
    bits = values.dtype.itemsize * 8 - (values.dtype.kind == "i")
    if values.dtype.kind == "i" and values.min() < 0:
        raise PhotoError(
            "photo_unsupported", "The TIFF holds negative values.", "Save it with 16 or 8 bits, unsigned."
        )
    if bits == 15:
        return spread(values.astype(np.uint16), 15)
    if bits == 7:
        return spread(spread(values.astype(np.uint8), 7), 8).astype(np.uint16) * 257
    if bits > 16 and values.max() > 65_535:
        return (values >> (bits - 16)).astype(np.uint16)
    return values.astype(np.uint16)
