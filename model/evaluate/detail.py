"""What a second look is worth: photographs colored without one, with one, and with one where `auto` decides so.

Protocol: photographs whole, at 448 pixels on the shorter side at most; those of which a second look shows no more are left out and
counted. AuC over all pixels as in `evaluate.color`, ab-PSNR as in `evaluate.hints`, both of 8-bit pictures; failures as in
`evaluate.failures`, at its 256 pixels on the shorter side, in percent of the photographs.

Averaging two answers makes colors paler, and that alone raises the raw AuC. So there is a control: the first look's colors, with each
photo's mean chroma brought to that with the second. What `on` gains over this is not from being paler.

Small people are made as well: mosaics of N × N photographs of a source, in order, each cut to 320 × 240 around its middle. That is kinder
to a second look than a real photo, whose parts belong together. Intervals: `evaluate.intervals`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from model import bins, upsample
from model.colorizer import Colorizer
from model.errors import InputError
from model.evaluate import failures
from model.evaluate.color import SIDE, Picture, reduced
from model.evaluate.hints import ab_psnr
from model.evaluate.intervals import Bootstrap, Metrics, as_plain, as_text
from model.evaluate.report import table
from model.image_io import Photo
from model.training import data
from model.training.validation import area, auc, rebalanced_auc

ROWS: Final = ("gray", "off", "on", "auto", "off, as pale as on")
_SHORT: Final = 448
_CELL: Final = (320, 240)
_FAILURES: Final = ("spill", "blotches", "confusion")
_COLUMNS: Final = {
    "raw_auc": ("raw AuC %", 2),
    "rebalanced_auc": ("rebalanced AuC %", 2),
    "ab_psnr": ("ab-PSNR, dB", 2),
    "chroma": ("chroma", 1),
    **{kind: (f"{kind} %", 1) for kind in _FAILURES},
}


@dataclass(frozen=True)
class Looked:
    """A photograph colored by each of ROWS, what the net's answer took in seconds without and with a second look, and if auto took one."""

    pictures: dict[str, NDArray[np.uint8]]
    truth: NDArray[np.uint8]
    seconds: tuple[float, float]
    by_auto: bool


def groups(paths: Sequence[Path], mosaic: int = 0) -> list[Sequence[Path]]:
    """The photos of which each photograph is made: one, or for mosaics `mosaic` × `mosaic`. What is left over makes none."""
    size = max(1, mosaic) ** 2
    return [paths[start : start + size] for start in range(0, len(paths) - size + 1, size)]


def photograph(paths: Sequence[Path]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8: a photo at the protocol's size, or a mosaic of several. Raises OSError for one that cannot be read."""
    photos = [data.read(path) for path in paths]
    if len(photos) == 1:
        return reduced(photos[0], _SHORT)
    cells = [ImageOps.fit(Image.fromarray(photo), _CELL, Image.Resampling.LANCZOS) for photo in photos]
    side = round(len(cells) ** 0.5)
    rows = [np.hstack([*map(np.asarray, cells[row * side : (row + 1) * side])]) for row in range(side)]
    return np.vstack(rows)


def look(colorizer: Colorizer, truth: NDArray[np.uint8]) -> Looked | None:
    """(H, W, 3) sRGB, colored in each way of `ROWS`; None for a photo in which a second look sees nothing more."""
    photo = Photo(truth, None, "PNG")
    looks = colorizer.looks(photo, "on")
    if len(looks) == 1:
        return None
    start = time.perf_counter()
    [first] = colorizer.infer(looks[:1])
    between = time.perf_counter()
    answers = [first, *(colorizer.infer([tile])[0] for tile in looks[1:])]
    both = colorizer.merge(photo, answers, "on")
    end = time.perf_counter()
    off, on = colorizer.decode(first), colorizer.decode(both)
    by_auto = colorizer.merge(photo, answers, "auto") is not first
    paler = np.float32(np.hypot(*on).mean() / max(np.hypot(*off).mean(), 1e-6))
    ab = dict(zip(ROWS, (0 * off, off, on, on if by_auto else off, paler * off), strict=True))
    return Looked(
        {row: upsample.render(truth, ab_2hw) for row, ab_2hw in ab.items()},
        truth,
        (between - start, end - start),
        by_auto,
    )


@dataclass
class Measured:
    """(photos, rows, …) of one source."""

    name: str
    small: int
    """Photos that were left out: a second look sees nothing more in them."""
    pixels: NDArray[np.float64]
    areas: NDArray[np.float64]
    others: NDArray[np.float64]
    """(photos, rows, columns) by the columns after the AuCs."""
    seconds: NDArray[np.float64]
    """(photos, 2)"""
    by_auto: int


def measure(colorizer: Colorizer, name: str, grouped: Iterable[Sequence[Path]]) -> Measured:
    """Photos of one source, each of a group of files (`groups`). Raises OSError for one that cannot be read."""
    pixels, areas, others, seconds, small, by_auto = [], [], [], [], 0, 0
    for paths in grouped:
        looked = look(colorizer, photograph(paths))
        if looked is None:
            small += 1
            continue
        true = Picture(looked.truth)
        place = true.bins.flatten()
        small_true = Picture(reduced(looked.truth, SIDE))
        of_rows, covered = [], []
        for colored in looked.pictures.values():
            picture = Picture(colored)
            covered.append(
                torch.bincount(place, area(picture.error(true)).flatten().double(), bins.COUNT).numpy()
            )
            found = failures.detect(small_true, Picture(reduced(colored, SIDE)))
            chroma = float(np.hypot(*picture.ab.numpy()).mean())
            of_rows.append([ab_psnr(true, picture), chroma, *(100.0 * found[kind] for kind in _FAILURES)])
        pixels.append(torch.bincount(place, minlength=bins.COUNT).double().numpy())
        areas.append(covered)
        others.append(of_rows)
        seconds.append(looked.seconds)
        by_auto += looked.by_auto
    return Measured(
        name, small, np.array(pixels), np.array(areas), np.array(others), np.array(seconds), by_auto
    )


@dataclass(frozen=True)
class Report:
    measured: Sequence[Measured]
    scores: dict[str, dict[str, Metrics]]
    """By source, then by row."""
    gains: dict[str, dict[str, Metrics]]

    def as_json(self) -> dict[str, object]:
        return {
            one.name: {
                "photos": len(one.areas),
                "too_small": one.small,
                "second_look_by_auto": one.by_auto,
                "seconds": dict(zip(("off", "on"), np.median(one.seconds, 0).round(4).tolist(), strict=True)),
                "scores": as_plain(self.scores[one.name]),
                "gains": as_plain(self.gains[one.name]),
            }
            for one in self.measured
        }

    def as_markdown(self) -> str:
        return "\n".join(self._of(one) for one in self.measured)

    def _of(self, one: Measured) -> str:
        def rows(found: dict[str, Metrics], signed: bool) -> list[list[str]]:
            return [
                [row, *(as_text(key, metrics[key], digits, signed) for key, (_, digits) in _COLUMNS.items())]
                for row, metrics in found.items()
            ]

        heads = [heading for heading, _ in _COLUMNS.values()]
        off, on = np.median(one.seconds, 0)
        return (
            f"**{one.name}**: {len(one.areas)} photographs, {one.small} more are too small; auto took a second look at {one.by_auto}. "
            f"The net's answer took {1000 * off:.0f} ms without a second look and {1000 * on:.0f} with one (medians).\n\n"
            + table(["", *heads], rows(self.scores[one.name], signed=False))
            + "\n"
            + table(["difference", *heads], rows(self.gains[one.name], signed=True))
        )


def summarize(measured: Sequence[Measured]) -> Report:
    """Each source that has photos, and all of them pooled where there are several. InputError where all photos are too small."""
    measured = [one for one in measured if len(one.areas)]
    if not measured:
        raise InputError("all of these photographs are too small for a second look: name larger ones")
    if len(measured) > 1:
        pooled = Measured(
            "all",
            sum(one.small for one in measured),
            np.concatenate([one.pixels for one in measured]),
            np.concatenate([one.areas for one in measured]),
            np.concatenate([one.others for one in measured]),
            np.concatenate([one.seconds for one in measured]),
            sum(one.by_auto for one in measured),
        )
        measured = [*measured, pooled]
    scores, gains = {}, {}
    for one in measured:
        scores[one.name] = of = _scores(one)
        gains[one.name] = {
            f"{row} − {beside}": {key: of[row][key] - of[beside][key] for key in _COLUMNS}
            for row, beside in (("on", "off"), ("auto", "off"), ("on", "off, as pale as on"))
        }
    return Report(measured, scores, gains)


def _scores(one: Measured) -> dict[str, Metrics]:
    draws = Bootstrap(len(one.areas))
    pixels = draws.sums(one.pixels)
    found = {}
    for place, row in enumerate(ROWS):
        areas = draws.sums(one.areas[:, place])
        others = dict(zip([*_COLUMNS][2:], draws.means(one.others[:, place]).T, strict=True))
        found[row] = {
            "raw_auc": auc(pixels, areas),
            "rebalanced_auc": rebalanced_auc(pixels, areas),
            **others,
        }
    return found
