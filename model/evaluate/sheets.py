"""Pictures of the answers beside gray and the truth, for people to judge: contact sheets, and single photographs whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from model.colorizer import Colorizer
from model.evaluate.color import gray
from model.image_io import Photo

_QUALITY = 88
_CELL = 128  # a side
_LINE = 16  # the height of a line of text
_GAP = 12
_CELLS_A_ROW = 13  # about 1,700 pixels


@dataclass(frozen=True)
class Strip:
    """One photo on a sheet: its caption, and what each row answers."""

    caption: str
    answers: Sequence[NDArray[np.uint8]]  # (256, 256, 3) each, in the order of the sheet's headings


def sheet(headings: Sequence[str], strips: Sequence[Strip]) -> Image.Image:
    """Strips side by side, as many as fit but four at most, and row by row; the headings stand above the first row."""
    wide = len(headings) * _CELL
    across = min(4, max(1, _CELLS_A_ROW // len(headings)), max(1, len(strips)))
    down = -(-len(strips) // across)
    size = (across * (wide + _GAP) - _GAP, _LINE + down * (_LINE + _CELL))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for column in range(across):
        for place, heading in enumerate(headings):
            _write(draw, heading, column * (wide + _GAP) + place * _CELL, 0, _CELL)
    for number, strip in enumerate(strips):
        left = number % across * (wide + _GAP)
        top = _LINE + number // across * (_LINE + _CELL)
        _write(draw, strip.caption, left, top, wide)
        cells = Image.fromarray(np.hstack(list(strip.answers)))
        picture.paste(cells.resize((wide, _CELL), Image.Resampling.LANCZOS), (left, top + _LINE))
    return picture


def row(headings: Sequence[str], pictures: Sequence[NDArray[np.uint8]], height: int) -> Image.Image:
    """Pictures of one size, (H, W, 3) each, side by side at this height, each under its heading."""
    width = max(1, round(pictures[0].shape[1] * height / pictures[0].shape[0]))
    found = Image.new("RGB", (len(pictures) * width, _LINE + height), "white")
    draw = ImageDraw.Draw(found)
    for place, (heading, picture) in enumerate(zip(headings, pictures, strict=True)):
        _write(draw, heading, place * width, 0, width)
        sized = Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS)
        found.paste(sized, (place * width, _LINE))
    return found


def _write(draw: ImageDraw.ImageDraw, text: str, left: int, top: int, width: int) -> None:
    """One line, cut to the width."""
    font = ImageFont.load_default(11)
    while text and draw.textlength(text, font) > width - 4:
        text = text[:-1]
    draw.text((left + 2, top + 1), text, "black", font)


def save(picture: Image.Image, path: Path) -> None:
    """As JPEG."""
    picture.save(path, quality=_QUALITY)


def whole(colorizer: Colorizer, truth: NDArray[np.uint8], height: int = 300) -> Image.Image:
    """A photo whole, in its own shape: gray, colored, true, side by side. A gray photo has no truth to show, and stands in two panels."""
    [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
    colorless = gray(truth)
    was_gray = int(np.abs(truth.astype(int) - colorless).max()) <= 2
    panels = [colorless, colored.pixels] if was_gray else [colorless, colored.pixels, truth]
    side_by_side = Image.fromarray(np.hstack(panels))
    width = round(side_by_side.width * height / side_by_side.height)
    return side_by_side.resize((width, height), Image.Resampling.LANCZOS)
