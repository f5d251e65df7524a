"""Figures for people to judge by: grids of pictures with captions, contact sheets, pictures side by side, curves.

Pictures are (H, W, 3) uint8, of a grid also (H, W).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

_QUALITY = 88
_FONT_SIZE = 11
_GRID_GAP = 6
_GRID_LINE = 18  # a grid's captions, in a row that has any
_CELL = 128  # a side
_LINE = 16  # the height of a line of text
_GAP = 12
_CELLS_A_ROW = 13  # about 1,700 pixels

Cell = tuple[str, NDArray[np.uint8]]
"""A caption, or "", and a picture."""


def grid(rows: Sequence[Sequence[Cell]], height: int) -> Image.Image:
    """Rows of pictures, each `height` pixels high in its own shape, on white, from the left; captions above."""
    placed: list[tuple[int, int, str, Image.Image]] = []
    y = width = 0
    for row in rows:
        y += _GRID_LINE if any(caption for caption, _ in row) else 0
        x = 0
        for caption, pixels in row:
            picture = _scaled(pixels, height)
            placed.append((x, y, caption, picture))
            x += picture.width + _GRID_GAP
        width = max(width, x - _GRID_GAP)
        y += height + _GRID_GAP
    found = Image.new("RGB", (width, y - _GRID_GAP), "white")
    pen, font = ImageDraw.Draw(found), ImageFont.load_default(_FONT_SIZE)
    for x, top, caption, picture in placed:
        found.paste(picture, (x, top))
        pen.text((x, top - 3), caption, "black", font, anchor="ls")
    return found


@dataclass(frozen=True)
class Strip:
    """One photo on a contact sheet: its caption, and the pictures of it, all square and of one size, in the order of the headings."""

    caption: str
    pictures: Sequence[NDArray[np.uint8]]


def sheet(headings: Sequence[str], strips: Sequence[Strip]) -> Image.Image:
    """A contact sheet: strips side by side, as many as fit but four at most, and row by row; the headings stand above the first row."""
    wide = len(headings) * _CELL
    across = min(4, max(1, _CELLS_A_ROW // len(headings)), max(1, len(strips)))
    down = -(-len(strips) // across)
    size = (across * (wide + _GAP) - _GAP, _LINE + down * (_LINE + _CELL))
    found = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(found)
    for column in range(across):
        for place, heading in enumerate(headings):
            _write(pen, heading, column * (wide + _GAP) + place * _CELL, 0, _CELL)
    for number, strip in enumerate(strips):
        left = number % across * (wide + _GAP)
        top = _LINE + number // across * (_LINE + _CELL)
        _write(pen, strip.caption, left, top, wide)
        found.paste(_scaled(np.hstack(list(strip.pictures)), _CELL), (left, top + _LINE))
    return found


def headed_row(headings: Sequence[str], pictures: Sequence[NDArray[np.uint8]], height: int) -> Image.Image:
    """Pictures of one size, side by side at this height and without gaps, each under its heading."""
    scaled = [_scaled(picture, height) for picture in pictures]
    width = scaled[0].width
    found = Image.new("RGB", (len(pictures) * width, _LINE + height), "white")
    pen = ImageDraw.Draw(found)
    for place, (heading, picture) in enumerate(zip(headings, scaled, strict=True)):
        _write(pen, heading, place * width, 0, width)
        found.paste(picture, (place * width, _LINE))
    return found


def gray_colored_true(
    truth: NDArray[np.uint8], gray: NDArray[np.uint8], colored: NDArray[np.uint8], height: int = 300
) -> Image.Image:
    """A photo in its own shape: gray, colored, ground truth, side by side. A gray photo has no ground truth, and two panels."""
    was_gray = int(np.abs(truth.astype(int) - gray).max()) <= 2
    return _scaled(np.hstack([gray, colored] if was_gray else [gray, colored, truth]), height)


def save(picture: Image.Image, path: Path) -> None:
    """As JPEG."""
    picture.save(path, quality=_QUALITY)


def _scaled(pixels: NDArray[np.uint8], height: int) -> Image.Image:
    picture = Image.fromarray(pixels).convert("RGB")
    width = max(1, round(picture.width * height / picture.height))
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _write(pen: ImageDraw.ImageDraw, text: str, left: int, top: int, width: int) -> None:
    """One line, cut to the width."""
    font = ImageFont.load_default(_FONT_SIZE)
    while text and pen.textlength(text, font) > width - 4:
        text = text[:-1]
    pen.text((left + 2, top + 1), text, "black", font)


@dataclass(frozen=True)
class Panel:
    """A curve, and levels to compare it with: horizontal lines by label, (value, color) each."""

    title: str
    values: Sequence[float]
    levels: Mapping[str, tuple[float, str]] = field(default_factory=dict)


def curves(panels: Sequence[Panel], at: Sequence[float], axis: str, marked: float, path: Path) -> None:
    """Save panels side by side, of curves over the same places `at` on an axis of this name; a dotted line at the place `marked`."""
    # Slow to import, and only of the extra `train`.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.2 * len(panels), 3), layout="constrained")
    FigureCanvasAgg(figure)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), place)
        axes.plot(at, panel.values, "o-", ms=3)
        for label, (value, color) in panel.levels.items():
            axes.axhline(value, color=color, lw=1, label=label)
        axes.axvline(marked, color="gray", lw=1, ls=":")
        axes.set_title(panel.title, fontsize=10)
        axes.set_xlabel(axis)
        axes.legend(fontsize=7, frameon=False)
    figure.savefig(path, dpi=120)
