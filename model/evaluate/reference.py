"""What reference colors do: how much nearer the truth a palette leads, and what it spoils where it lacks colors, or is not the photo's.

Protocol: the 256×256 crops and AuC of `evaluate.color`, the ab-PSNR of `evaluate.hints`. A photo is colored without a palette; with the
main colors of its ground truth (`reference.palette_of`), among them the first two that are not gray, as somebody remembers a tram; with
those of another photo of its source, as a reference; and with five of a photo of another source, which are wrong. The others are drawn by
a seed. Beside the gains: the share of pixels that move by more than 5 ab units; that were right, less than 10 off, and become wrong, more
than 20 off; and the other way round. How much the error changes where the true color is none that is named: more than 25 units from each
color of the palette and from gray. And the mean chroma where the truth has less than 5. Intervals: `evaluate.intervals`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from model import reference
from model.colorizer import Colorizer, ColorOptions
from model.evaluate.color import Picture, Tally, center_crop
from model.evaluate.hints import ab_psnr
from model.evaluate.intervals import Bootstrap, Metrics, as_plain, as_text
from model.evaluate.report import Source, table
from model.image_io import Photo
from model.training import data
from model.training.validation import auc, rebalanced_auc

NONE, TWO, FIVE, SAME, WRONG = (
    "no palette",
    "its own two, not gray",
    "its own 5",
    "another's of its source",
    "5 of another source",
)
_ROWS = (NONE, TWO, "its own 3", FIVE, "its own 8", SAME, WRONG)
_GRAY = 15.0  # chroma below which a color of a photo is gray to whoever remembers it
_BY_SOURCE = (TWO, FIVE, SAME, WRONG)
_SCORES = {
    "raw_auc": ("raw AuC %", 2),
    "rebalanced_auc": ("rebalanced AuC %", 2),
    "ab_psnr": ("ab-PSNR, dB", 2),
}
_MOVES = {
    "moved": ("moved %", 1),
    "spoiled": ("right, then wrong %", 2),
    "mended": ("wrong, then right %", 2),
    "unnamed": ("error where not named, ab units", 2),
    "gray_chroma": ("chroma of gray places", 2),
}


@dataclass(frozen=True)
class Case:
    """A photo, the source that it is of, and its palettes by row."""

    path: Path
    source: str
    palettes: dict[str, tuple[str, ...]]


def cases(sources: Sequence[Source], seed: int) -> list[Case]:
    """Raises OSError for a photo that cannot be read."""
    photos = [(source.name, path) for source in sources for path in source.photos]
    own = [[color for color, _ in reference.palette_of(center_crop(data.read(path)))] for _, path in photos]
    found = []
    for place, (source, path) in enumerate(photos):
        others = [other for other in range(len(photos)) if other != place] or [place]
        same = [other for other in others if photos[other][0] == source] or others
        foreign = [other for other in others if photos[other][0] != source] or others
        draw = np.random.default_rng(zlib.crc32(f"{seed}/{path.name}".encode()))
        palettes = {
            NONE: [],
            TWO: [color for color in own[place] if np.hypot(*reference.ab_of(color)) >= _GRAY][:2],
            **{f"its own {count}": own[place][:count] for count in (3, 5, 8)},
            SAME: own[draw.choice(same)],
            WRONG: own[draw.choice(foreign)][:5],
        }
        found.append(Case(path, source, {row: tuple(palettes[row]) for row in _ROWS}))
    return found


def colored(colorizer: Colorizer, case: Case) -> tuple[Picture, dict[str, Picture]]:
    """The ground truth, and the photo as it is colored with each palette. InputError for a net that answers with no distribution."""
    photo = Photo(center_crop(data.read(case.path)), None, "PNG")
    [logits] = colorizer.infer([colorizer.preprocess(photo)])
    return Picture(photo.pixels), {
        row: Picture(colorizer.postprocess(photo, logits, ColorOptions(palette=colors)).pixels)
        for row, colors in case.palettes.items()
    }


@dataclass
class Measured:
    """(photos, rows, …)."""

    sources: list[str]
    pixels: NDArray[np.float64]
    areas: NDArray[np.float64]
    psnr: NDArray[np.float64]
    moves: NDArray[np.float64]
    """… and by _MOVES: (its sum, over so many pixels)."""


def measure(colorizer: Colorizer, photos: Iterable[Case]) -> Measured:
    """Raises OSError for a photo that cannot be read, InputError for a net that answers with no distribution."""
    sources, pixels, areas, psnr, moves = [], [], [], [], []
    for case in photos:
        truth, pictures = colored(colorizer, case)
        tally = Tally()
        for picture in pictures.values():
            tally.add(truth, picture)
        sources.append(case.source)
        pixels.append(tally.pixels[0])
        areas.append(tally.areas)
        psnr.append([ab_psnr(truth, picture) for picture in pictures.values()])
        moves.append(
            [_moves(truth, pictures[NONE], picture, case.palettes[row]) for row, picture in pictures.items()]
        )
    return Measured(
        sources, np.array(pixels, np.float64), np.array(areas, np.float64), np.array(psnr), np.array(moves)
    )


def _moves(
    truth: Picture, before: Picture, after: Picture, colors: Sequence[str]
) -> list[tuple[float, float]]:
    was, now = before.error(truth), after.error(truth)
    chroma = torch.hypot(*truth.ab)
    unnamed = chroma > 25
    for color in colors:
        a, b = reference.ab_of(color)
        unnamed &= torch.hypot(truth.ab[0] - float(a), truth.ab[1] - float(b)) > 25
    gray = chroma < 5
    every = float(was.numel())
    return [
        (100 * float((before.error(after) > 5).sum()), every),
        (100 * float(((was < 10) & (now > 20)).sum()), every),
        (100 * float(((was > 20) & (now < 10)).sum()), every),
        (float((now - was)[unnamed].sum()), float(unnamed.sum())),
        (float(torch.hypot(*after.ab)[gray].sum()), float(gray.sum())),
    ]


@dataclass(frozen=True)
class Report:
    photos: int
    seed: int
    scores: dict[str, Metrics]
    gains: dict[str, Metrics]
    moves: dict[str, Metrics]
    by_source: dict[str, Metrics]
    """Of each source, the gain in ab-PSNR by row."""

    def as_json(self) -> dict[str, object]:
        return {
            "photos": self.photos,
            "seed": self.seed,
            "scores": as_plain(self.scores),
            "gains": as_plain(self.gains),
            "moves": as_plain(self.moves),
            "ab_psnr_gain_by_source": as_plain(self.by_source),
        }

    def as_markdown(self) -> str:
        def rows(found: dict[str, Metrics], columns: dict[str, tuple[str, int]], signed: str) -> str:
            lines = [
                [
                    row,
                    *(
                        as_text(key, metrics[key], decimals, signed=key in signed)
                        for key, (_, decimals) in columns.items()
                    ),
                ]
                for row, metrics in found.items()
            ]
            return table(["palette", *(heading for heading, _ in columns.values())], lines)

        sources = [
            [source, *(as_text("ab_psnr", metrics[row], 2, signed=True) for row in _BY_SOURCE)]
            for source, metrics in self.by_source.items()
        ]
        return (
            f"{self.photos} photographs, seed {self.seed}; in brackets 95% intervals, by bootstrap over photographs.\n\n"
            + rows({NONE: self.scores[NONE]}, _SCORES, "")
            + "\nAbove that:\n\n"
            + rows(self.gains, _SCORES, " ".join(_SCORES))
            + "\n"
            + rows(self.moves, _MOVES, "unnamed")
            + "\nGain in ab-PSNR, dB, by source:\n\n"
            + table(["source", *_BY_SOURCE], sources)
        )


def summarize(measured: Measured, seed: int) -> Report:
    """Scores by each palette, what they are above those without one, by source too, and how far colors moved; draws over photographs."""
    draws = Bootstrap(len(measured.psnr), seed)
    pixels, areas, psnr = (
        draws.sums(measured.pixels),
        draws.sums(measured.areas),
        draws.means(measured.psnr),
    )
    scores: dict[str, Metrics] = {
        row: {
            "raw_auc": auc(pixels, areas[:, place]),
            "rebalanced_auc": rebalanced_auc(pixels, areas[:, place]),
            "ab_psnr": psnr[:, place],
        }
        for place, row in enumerate(_ROWS)
    }
    gains = {row: {key: scores[row][key] - scores[NONE][key] for key in _SCORES} for row in _ROWS[1:]}
    with np.errstate(invalid="ignore"):  # none of these pixels: undefined
        means = np.divide(*np.moveaxis(draws.sums(measured.moves), -1, 0))
    moves = {
        row: {key: means[:, place, column] for column, key in enumerate(_MOVES)}
        for place, row in enumerate(_ROWS)
    }
    by_source: dict[str, Metrics] = {}
    for source in dict.fromkeys(measured.sources):
        those = measured.psnr[[name == source for name in measured.sources]]
        found = Bootstrap(len(those), seed).means(those - those[:, :1])
        by_source[source] = {row: found[:, _ROWS.index(row)] for row in _BY_SOURCE}
    return Report(len(measured.psnr), seed, scores, gains, moves, by_source)
