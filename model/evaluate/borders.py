"""Does the page around a photograph stay neutral? Photographs laid on made pages, and colored there.

Protocol: each photograph in gray, whole, at 256 pixels on the shorter side, on a page that `evaluate.inspection` makes: paper or album page
from white to black, with texture; half of the prints have a light border, some lie aslant or have a caption. Training makes its pages by
other code (`training.aging`). What is drawn follows from the photo's name. Measured is 8-bit sRGB, of each net twice:

- by itself: the net sees the page whole, and may color all of it.
- inspected, as what serves does it: `model.inspection` looks for the border first. Where it finds one, the net sees the photograph alone,
  and the rest stays gray. It was developed on pages of this kind, and misses more of the real ones.

The border is all pixels of which the photograph covers no part: their mean chroma in ab units, and in percent how many have a chroma of 8
and more. White and black pages can take no color, and count as well. Of the pixels that the photograph covers wholly: their mean chroma,
beside which the border's is to be read, and the mean distance in ab units from what the same net makes of the photograph alone, cut out of
the page. The net sees that larger, so that not all of the distance is the page's doing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model import inspection
from model.colorizer import Colorizer
from model.evaluate import color
from model.evaluate.color import Picture
from model.evaluate.failures import NEUTRAL
from model.evaluate.inspection import Page, lay
from model.evaluate.intervals import Bootstrap, Metrics, as_plain, as_text
from model.evaluate.report import table
from model.image_io import Photo
from model.training import data

COLUMNS: Final = {
    "border_chroma": ("chroma of the border", 2),
    "border_colored": ("border not neutral %", 1),
    "photo_chroma": ("chroma of the photograph", 1),
    "photo_moved": ("photograph, from itself alone, ab units", 1),
}


def laid(path: Path) -> Page:
    """A photograph on its page, the same each time. Raises OSError for one that cannot be read."""
    gray = color.gray(color.reduced(data.read(path), color.SIDE))[..., 0]
    return lay(Image.fromarray(gray), np.random.default_rng(color.seed(path)))


def seen(page: Page) -> tuple[Photo, Photo, Photo]:
    """What is colored: the page whole, the page inspected, whose frame is None where no border was found, and the photograph alone."""
    whole = Photo(page.pixels, None, "JPEG")
    top, left, bottom, right = page.box
    return whole, inspection.prepare(whole), Photo(page.pixels[top:bottom, left:right], None, "JPEG")


def colored(
    colorizer: Colorizer, shown: Sequence[Photo]
) -> tuple[dict[str, NDArray[np.uint8]], NDArray[np.uint8]]:
    """What `seen` gave, in color, (H, W, 3) uint8 each: the page by the names of the net's two rows, and the photograph alone."""
    itself, inspected, alone = (photo.pixels for photo in colorizer.colorize(shown))
    return {colorizer.name: itself, f"{colorizer.name} · inspected": inspected}, alone


def scores(page: Page, shown: NDArray[np.uint8], alone: NDArray[np.uint8]) -> tuple[float, ...]:
    """One number for each of COLUMNS, of a page in color, (H, W, 3) uint8, and the photograph in its box colored alone."""
    ab = Picture(shown).ab
    chroma = torch.hypot(*ab)
    covered = torch.from_numpy(np.array(page.photo))
    border, photo = chroma[covered == 0], chroma[covered == 255]
    top, left, bottom, right = page.box
    moved = torch.hypot(*(ab[:, top:bottom, left:right] - Picture(alone).ab))
    within = covered[top:bottom, left:right] == 255
    not_neutral = 100 * (border >= NEUTRAL).double()
    return tuple(float(values.mean()) for values in (border, not_neutral, photo, moved[within]))


@dataclass(frozen=True, slots=True)
class Measured:
    """A photograph's `scores` by row, and whether inspection found its border."""

    path: Path
    is_found: bool
    scores: Mapping[str, tuple[float, ...]]


def measure(colorizers: Sequence[Colorizer], photos: Sequence[Path]) -> Iterator[Measured]:
    """Each photograph, on its page, by each net. Raises OSError for one that cannot be read."""
    for path in photos:
        page = laid(path)
        shown = seen(page)
        found: dict[str, tuple[float, ...]] = {}
        for colorizer in colorizers:
            by_row, alone = colored(colorizer, shown)
            found |= {row: scores(page, pixels, alone) for row, pixels in by_row.items()}
        yield Measured(path, shown[1].frame is not None, found)


def worst(measured: Sequence[Measured], net: str, count: int) -> list[Path]:
    """The photographs whose border gets most chroma from a net by itself, the worst first."""
    return [one.path for one in sorted(measured, key=lambda one: -one.scores[net][0])[:count]]


@dataclass(frozen=True)
class Source:
    """Of one source, or of all: how many pages, of how many a border was found, and the numbers by row and by difference of two rows."""

    pages: int
    found: int
    scores: Mapping[str, Metrics]
    differences: Mapping[str, Metrics]


@dataclass(frozen=True)
class Report:
    sources: Mapping[str, Source]

    def as_json(self) -> dict[str, object]:
        """Plain values: of the numbers {"value", "low", "high"} each."""
        return {
            "interval": "95%, percentile bootstrap over photographs, 1,000 draws; differences are paired",
            "sources": {
                name: {
                    "pages": source.pages,
                    "borders_found": source.found,
                    "scores": as_plain(source.scores),
                    "differences": as_plain(source.differences),
                }
                for name, source in self.sources.items()
            },
        }

    def as_markdown(self) -> str:
        """One table: the rows of each source, and below them the differences between nets."""
        lines = [
            [name, f"{source.pages:,}", f"{source.found:,}", row]
            + [as_text(key, metrics[key], decimals, signed) for key, (_, decimals) in COLUMNS.items()]
            for name, source in self.sources.items()
            for rows, signed in ((source.scores, False), (source.differences, True))
            for row, metrics in rows.items()
        ]
        return (
            "Photographs on made pages, the page colored by the net itself, and inspected: gray where a border was found. In brackets 95% "
            "intervals, by bootstrap over photographs; differences are paired.\n\n"
            + table(
                ["source", "pages", "borders found", "", *(heading for heading, _ in COLUMNS.values())], lines
            )
        )


def summarize(measured: Mapping[str, Sequence[Measured]]) -> Report:
    """Of `measure`'s by source, each of one photograph at least; where there are several, also all of them pooled, as "all"."""
    if len(measured) > 1:
        measured = {**measured, "all": [one for those in measured.values() for one in those]}
    return Report({name: _source(those) for name, those in measured.items()})


def _source(measured: Sequence[Measured]) -> Source:
    draws = Bootstrap(len(measured))
    found = {
        row: dict(zip(COLUMNS, draws.means([one.scores[row] for one in measured]).T, strict=True))
        for row in measured[0].scores
    }
    rows = [*found]
    differences = {
        f"{later} − {earlier}": {key: found[later][key] - found[earlier][key] for key in COLUMNS}
        for ways in (rows[::2], rows[1::2])
        for earlier, later in combinations(ways, 2)
    }
    return Source(len(measured), sum(one.is_found for one in measured), found, differences)
