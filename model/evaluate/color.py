"""How good are the colors? The paper's measures (section 3), and the field's, over a folder of color photographs.

Protocol, fixed: short side to 256 pixels, bicubic, then the center 256×256; everything is measured on 8-bit sRGB, what is answered as well
as the truth. The net sees the crop's lightness, through the Colorizer that serves.

- AuC: the share of pixels whose ab is within t of the truth, t = 0…150 in steps of 1, as area under that curve (trapezoids), in percent;
  raw, and rebalanced: each pixel weighs 1/p of the truth's bin, p from the photos evaluated, clipped at 1e-6. Pooled over all pixels.
- PSNR over RGB in dB and colorfulness (Hasler & Süsstrunk 2003, eq. as published, no absolute values), as means over photos. A photo's
  mean squared error counts as at least 1/12, that of rounding to 8 bits, so that an exactly gray photo does not make gray's PSNR infinite.

Gray (the same lightness, no color) and the truth stand beside, measured in the same way. No photo is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from model import bins, chroma, datasets, lab
from model.colorizer import Colorizer, ColorOptions
from model.photo import Photo

SIDE = 256
THRESHOLDS = 150
_BATCH = 16
_ROUNDING = 1 / 12  # mean squared error of rounding to whole numbers


@dataclass(frozen=True)
class Score:
    """One row of the table. AuC in percent, PSNR in dB (58.9 is exact)."""

    raw_auc: float
    rebalanced_auc: float
    psnr: float
    colorfulness: float


class Tally:
    """Adds up what one way of coloring does, photo by photo, to a `Score`."""

    def __init__(self) -> None:
        # pixels by truth's bin and rounded-up error
        self.errors = torch.zeros(bins.COUNT, THRESHOLDS + 2, dtype=torch.float64)
        self.psnr: list[float] = []
        self.colorfulness: list[float] = []

    def add(self, truth: NDArray[np.uint8], answer: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 each."""
        truth_ab, answer_ab = _ab(truth), _ab(answer)
        error = (answer_ab - truth_ab).norm(dim=1).ceil().clamp_max(THRESHOLDS + 1).long()
        cell = bins.nearest(truth_ab) * (THRESHOLDS + 2) + error
        self.errors += torch.bincount(cell.flatten(), minlength=self.errors.numel()).view_as(self.errors)
        mean_square = float(np.mean((truth.astype(float) - answer) ** 2))
        self.psnr.append(10 * math.log10(255**2 / max(mean_square, _ROUNDING)))
        self.colorfulness.append(colorfulness(answer))

    def score(self) -> Score:
        pixels = self.errors.sum(1)
        rarity = 1 / (pixels / pixels.sum()).clamp_min(1e-6)
        return Score(
            _area(self.errors.sum(0)),
            _area((self.errors * rarity[:, None]).sum(0)),
            float(np.mean(self.psnr)),
            float(np.mean(self.colorfulness)),
        )


def _area(errors: Tensor) -> float:
    """Pixels by rounded-up error (THRESHOLDS + 2) → percent of the area under their cumulative share at 0…THRESHOLDS."""
    share = errors.cumsum(0)[:-1] / errors.sum()
    return 100 * float(torch.trapezoid(share)) / THRESHOLDS


def colorfulness(rgb: NDArray[np.uint8]) -> float:
    """Hasler & Süsstrunk's M̂⁽³⁾ of an (H, W, 3) uint8 photo: 0 gray, 15 slightly, 33 moderately, 59 quite, 109 extremely colorful."""
    r, g, b = rgb.astype(float).transpose(2, 0, 1)
    red_green, yellow_blue = r - g, (r + g) / 2 - b
    return float(
        np.hypot(red_green.std(), yellow_blue.std()) + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    )


def evaluate(
    colorizers: Sequence[Colorizer], photos: Sequence[Path], options: ColorOptions = ColorOptions()
) -> dict[str, Score]:
    """Scores by name: "gray", each colorizer's, "truth".

    Raises OSError for a photo that cannot be read, ValueError where there is no photo, or two rows would have one name.
    """
    names = ["gray", *(colorizer.name for colorizer in colorizers), "truth"]
    if len(set(names)) < len(names):
        raise ValueError(f"each row needs a name of its own: {', '.join(names)}; evaluate such nets apart")
    if not photos:
        raise ValueError("there is no photograph to evaluate on")
    tallies = {name: Tally() for name in names}
    for truth, answers in answered(colorizers, photos, options):
        for name, answer in answers.items():
            tallies[name].add(truth, answer)
    return {name: tally.score() for name, tally in tallies.items()}


def answered(
    colorizers: Sequence[Colorizer], photos: Sequence[Path], options: ColorOptions = ColorOptions()
) -> Iterator[tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]]:
    """For every photo its truth, and by name what gray, each colorizer and the truth answer: (256, 256, 3) uint8 each."""
    for start in range(0, len(photos), _BATCH):
        truths = [central(datasets.read(path)) for path in photos[start : start + _BATCH]]
        colored = {
            colorizer.name: colorizer.colorize([Photo(truth, None, "PNG") for truth in truths], options)
            for colorizer in colorizers
        }
        for index, truth in enumerate(truths):
            answers = (
                {"gray": gray(truth)}
                | {name: done[index].pixels for name, done in colored.items()}
                | {"truth": truth}
            )
            yield truth, answers


def central(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The protocol's 256×256 of a photo."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    size = (max(SIDE, round(width * SIDE / short)), max(SIDE, round(height * SIDE / short)))
    resized = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - SIDE) // 2, (resized.shape[1] - SIDE) // 2
    return resized[top : top + SIDE, left : left + SIDE]


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo's lightness and no color, as 8-bit sRGB."""
    values = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255
    lightness = lab.lightness_from_rgb(values)[0]
    colorless = chroma.fit(lightness, torch.zeros(2, *lightness.shape))
    return (colorless * 255).round().byte().permute(1, 2, 0).numpy()


def table(scores: dict[str, Score]) -> str:
    """The scores in Markdown."""
    lines = ["| | raw AuC % | rebalanced AuC % | PSNR dB | colorfulness |", "|---|---|---|---|---|"]
    for name, score in scores.items():
        lines.append(
            f"| {name} | {score.raw_auc:.1f} | {score.rebalanced_auc:.1f} | {score.psnr:.1f} | {score.colorfulness:.1f} |"
        )
    return "\n".join(lines)


def as_json(scores: dict[str, Score]) -> dict[str, dict[str, float]]:
    """Plain values."""
    return {
        name: {key: round(value, 3) for key, value in asdict(score).items()} for name, score in scores.items()
    }


def contact_sheet(
    colorizers: Sequence[Colorizer],
    photos: Sequence[Path],
    count: int = 24,
    options: ColorOptions = ColorOptions(),
) -> Image.Image:
    """Evenly chosen photos, each as gray, every colorizer's answer and truth side by side; three photos a row."""
    shown = min(count, len(photos))
    chosen = [photos[index * len(photos) // shown] for index in range(shown)]
    strips = [np.hstack(list(answers.values())) for _, answers in answered(colorizers, chosen, options)]
    strips += [np.full_like(strips[0], 255)] * (-len(strips) % 3)
    gap = np.full((SIDE, 16, 3), 255, np.uint8)
    rows = [np.hstack([a, gap, b, gap, c]) for a, b, c in zip(*[iter(strips)] * 3, strict=True)]
    sheet = Image.fromarray(np.vstack(rows))
    return sheet.resize((sheet.width // 2, sheet.height // 2), Image.Resampling.LANCZOS)


def strip(colorizer: Colorizer, truth: NDArray[np.uint8], height: int = 300) -> Image.Image:
    """A photo whole, in its own shape: gray, colored, true, side by side. A gray photo has no truth to show, and stands in two panels."""
    [colored] = colorizer.colorize([Photo(truth, None, "PNG")])
    colorless = gray(truth)
    was_gray = int(np.abs(truth.astype(int) - colorless).max()) <= 2
    panels = [colorless, colored.pixels] if was_gray else [colorless, colored.pixels, truth]
    whole = Image.fromarray(np.hstack(panels))
    return whole.resize((round(whole.width * height / whole.height), height), Image.Resampling.LANCZOS)


def _ab(rgb: NDArray[np.uint8]) -> Tensor:
    values = torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255
    return lab.lab_from_rgb(values)[:, 1:]
