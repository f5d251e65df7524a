"""What the alternatives are worth: of a first answer and its alternatives, how near the truth is the best, and each alone?

Protocol: the 256×256 crops and AuC of `evaluate.color`, and the ab-PSNR of `evaluate.hints`. For each number the best picture of a photo is
the one that raises that number most: by raw area, by area weighted by the rarity of the ground truth's colors, by ab-PSNR. Choosing by the
truth gains something for any set of pictures, so there are controls: the first answer with all its hues turned, by as much as makes the
mean distance from it equal to an alternative's, the one way and the other in turn. Where a photo has fewer alternatives than asked for,
the first answer stands in for both. Intervals: `evaluate.intervals`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model import alternatives
from model.colorizer import Colorizer
from model.evaluate.color import Picture, Tally
from model.evaluate.hints import Opened, ab_psnr, opened
from model.evaluate.intervals import Bootstrap, Metrics, as_plain, as_text
from model.evaluate.report import table
from model.training.validation import auc, rebalanced_auc

_COLUMNS = {
    "raw_auc": ("raw AuC %", 2),
    "rebalanced_auc": ("rebalanced AuC %", 2),
    "ab_psnr": ("ab-PSNR, dB", 2),
}


@dataclass(frozen=True)
class Set:
    """A photo's first answer, its alternatives and their controls, in ab, and the alternatives' probabilities."""

    first: NDArray[np.float32]
    others: list[NDArray[np.float32]]
    controls: list[NDArray[np.float32]]
    probabilities: list[float]


def pictures(shown: Opened, count: int) -> Set:
    """At most `count` alternatives of a photo, and a control for each."""
    found = alternatives.find(shown.scene, shown.ab_2hw, count)
    others = [alternative.ab_2hw for alternative in found]
    controls = [turned(shown.ab_2hw, other, place % 2 == 0) for place, other in enumerate(others)]
    return Set(shown.ab_2hw, others, controls, [alternative.probability for alternative in found])


def turned(first: NDArray[np.float32], other: NDArray[np.float32], forward: bool) -> NDArray[np.float32]:
    """The first with all hues turned, as far from it on average as the other is (or as turning leads)."""
    distance, chroma = np.hypot(*(other - first)).mean(), np.hypot(*first).mean()
    angle = 2 * np.arcsin(min(1.0, float(distance / (2 * max(chroma, 1e-3))))) * (1 if forward else -1)
    a, b = first
    return np.stack([np.cos(angle) * a - np.sin(angle) * b, np.sin(angle) * a + np.cos(angle) * b]).astype(
        np.float32
    )


@dataclass
class Measured:
    """(photos, pictures, …): first the first answer, then `count` alternatives, then as many controls."""

    pixels: NDArray[np.float64]
    areas: NDArray[np.float64]
    psnr: NDArray[np.float64]
    fewer: int
    """Photos with fewer alternatives than were asked for."""


def measure(colorizer: Colorizer, photos: Iterable[Path], count: int) -> Measured:
    """Raises OSError for a photo that cannot be read, InputError for a net that answers with no distribution."""
    pixels, areas, psnr, fewer = [], [], [], 0
    for path in photos:
        shown = opened(colorizer, path)
        found = pictures(shown, count)
        truth, tally = Picture(shown.truth), Tally()
        missing = [found.first] * (count - len(found.others))
        fewer += bool(missing)
        row = [
            Picture(shown.colored(ab))
            for ab in (found.first, *found.others, *missing, *found.controls, *missing)
        ]
        for picture in row:
            tally.add(truth, picture)
        pixels.append(tally.pixels[0])
        areas.append(tally.areas)
        psnr.append([ab_psnr(truth, picture) for picture in row])
    return Measured(np.array(pixels, np.float64), np.array(areas, np.float64), np.array(psnr), fewer)


@dataclass(frozen=True)
class Report:
    photos: int
    count: int
    fewer: int
    seed: int
    scores: dict[str, Metrics]
    gains: dict[str, Metrics]

    def as_json(self) -> dict[str, object]:
        return {
            "photos": self.photos,
            "alternatives": self.count,
            "photos_with_fewer": self.fewer,
            "seed": self.seed,
            "scores": as_plain(self.scores),
            "gains": as_plain(self.gains),
        }

    def as_markdown(self) -> str:
        def rows(found: dict[str, Metrics], signed: bool) -> list[list[str]]:
            return [
                [
                    row,
                    *(
                        as_text(key, metrics[key], decimals, signed)
                        for key, (_, decimals) in _COLUMNS.items()
                    ),
                ]
                for row, metrics in found.items()
            ]

        heads = [heading for heading, _ in _COLUMNS.values()]
        return (
            f"{self.photos} photographs, {self.count} alternatives ({self.fewer} photographs have fewer), seed {self.seed}; in brackets "
            "95% intervals, by bootstrap over photographs.\n\n"
            + table(["", *heads], rows(self.scores, signed=False))
            + "\n"
            + table(["above the first answer", *heads], rows(self.gains, signed=True))
        )


def summarize(measured: Measured, seed: int) -> Report:
    """Scores of each picture and of the best of several, and what they are above the first answer's, with draws over photographs."""
    photos, shown = measured.psnr.shape
    count = (shown - 1) // 2
    draws = Bootstrap(photos, seed)
    share = measured.pixels.sum(0) / measured.pixels.sum()
    weighted = (measured.areas / np.maximum(share, 1e-6)).sum(-1)
    raw = measured.areas.sum(-1)
    sets = {
        "first answer": [0],
        **{f"alternative {place}": [place] for place in range(1, count + 1)},
        f"best of {count + 1}": range(count + 1),
        f"best of {count + 1}, controls": [0, *range(count + 1, shown)],
    }
    scores: dict[str, Metrics] = {}
    pixels = draws.sums(measured.pixels)
    for name, those in sets.items():
        by_raw, by_weight = _best(measured.areas, raw, those), _best(measured.areas, weighted, those)
        scores[name] = {
            "raw_auc": auc(pixels, draws.sums(by_raw)),
            "rebalanced_auc": rebalanced_auc(pixels, draws.sums(by_weight)),
            "ab_psnr": draws.means(measured.psnr[:, list(those)].max(1)),
        }
    first, controls = scores["first answer"], scores[f"best of {count + 1}, controls"]
    gains = {name: {key: scores[name][key] - first[key] for key in _COLUMNS} for name in list(sets)[1:]}
    best = scores[f"best of {count + 1}"]
    gains["best, above the controls' best"] = {key: best[key] - controls[key] for key in _COLUMNS}
    return Report(photos, count, measured.fewer, seed, scores, gains)


def _best(areas: NDArray[np.float64], by: NDArray[np.float64], those: Sequence[int]) -> NDArray[np.float64]:
    """(photos, 313): of each photo's pictures, the one that is largest `by`."""
    chosen = np.array(those)[by[:, list(those)].argmax(1)]
    found: NDArray[np.float64] = areas[np.arange(len(areas)), chosen]
    return found
