"""The mark in a corner: it tells who sees a print or a screenshot, which hold no metadata, that the photograph was colorized."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORD: Final = "colorized"
_SHARE: Final = 1 / 40
"""Of the shorter side: the height of the letters."""
_SMALLEST: Final = 10
"""Pixels of the font's size below which letters cannot be read."""
_WIDEST: Final = 0.7
"""Of the photo's width. A word that is wider gives way to a square, half dark and half light."""
_OPACITY: Final = 0.8


def marked(
    pixels: NDArray[Any], alpha: NDArray[np.uint8] | None
) -> tuple[NDArray[Any], NDArray[np.uint8] | None]:
    """(H, W) or (H, W, 3), uint8 or uint16, with the mark in the lower right corner, and its alpha, opaque under the mark. Copies both.

    White letters with a dark rim, mixed with what is there: readable on any ground, and without a color of their own. A line of
    single pixels has no room for it and comes back as it is.
    """
    height, width = pixels.shape[:2]
    if min(width, height) < 2:  # no room for a square
        return pixels, alpha
    rim, ink = _word(width, height) or _square(width, height)
    margin = max(1, min(width, height) // 50)
    bottom, right = height - min(margin, height - rim.shape[0]), width - min(margin, width - rim.shape[1])
    corner = np.s_[bottom - rim.shape[0] : bottom, right - rim.shape[1] : right]
    pixels = pixels.copy()
    shape = (*rim.shape, 1) if pixels.ndim == 3 else rim.shape
    most = np.iinfo(pixels.dtype).max
    dark = pixels[corner] * (1 - _OPACITY * rim.reshape(shape))
    light = _OPACITY * ink.reshape(shape)
    pixels[corner] = np.rint(dark * (1 - light) + most * light).astype(pixels.dtype)
    if alpha is not None:
        alpha = alpha.copy()
        alpha[corner] = np.maximum(alpha[corner], np.rint(255 * np.maximum(rim, ink)).astype(np.uint8))
    return pixels, alpha


def _word(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(rim, ink) of the word, 0…1; None where it does not fit."""
    size = max(_SMALLEST, round(min(width, height) * _SHARE))
    font = ImageFont.load_default(size)
    stroke = max(1, size // 10)
    left, top, right, bottom = (round(side) for side in font.getbbox(WORD, stroke_width=stroke))
    if right - left > _WIDEST * width or bottom - top > height // 2:
        return None

    def drawn(stroke_width: int) -> NDArray[np.float64]:
        image = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(image).text(
            (-left + stroke - stroke_width, -top + stroke - stroke_width),
            WORD,
            255,
            font,
            stroke_width=stroke_width,
        )
        return np.asarray(image) / 255

    return drawn(stroke), drawn(0)


def _square(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rim, ink): the left half dark, the right half light."""
    side = max(2, min(width, height) // 8) // 2 * 2
    rim = np.zeros((side, side))
    rim[:, : side // 2] = 1
    return rim, 1 - rim
