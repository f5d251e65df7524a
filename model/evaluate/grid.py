"""Pictures in rows, each with a few words above it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_GAP = 6
_LINE = 18  # a row's captions, where it has any

Cell = tuple[str, NDArray[np.uint8]]  # a caption, or "", and an (H, W) or (H, W, 3) picture


def grid(rows: Sequence[Sequence[Cell]], height: int) -> Image.Image:
    """Rows of pictures, each `height` pixels high in its own shape, on white, from the left."""
    placed: list[tuple[int, int, str, Image.Image]] = []
    y = width = 0
    for row in rows:
        y += _LINE if any(caption for caption, _ in row) else 0
        x = 0
        for caption, pixels in row:
            picture = _reduced(pixels, height)
            placed.append((x, y, caption, picture))
            x += picture.width + _GAP
        width = max(width, x - _GAP)
        y += height + _GAP
    sheet = Image.new("RGB", (width, y - _GAP), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for x, top, caption, picture in placed:
        sheet.paste(picture, (x, top))
        pen.text((x, top - 3), caption, "black", font, anchor="ls")
    return sheet


def _reduced(pixels: NDArray[np.uint8], height: int) -> Image.Image:
    picture = Image.fromarray(pixels).convert("RGB")
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)
