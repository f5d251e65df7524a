"""What goes wrong: kinds of failure, which hues are preferred, and which photos to look at.

Failures are defined so that they can be measured and counted. All are seen at half the size, where single pixels' noise is gone; chroma is
the length of ab. The limits were set by eye, on predictions of the first weights for 72 photographs of ImageNet, and are the same for
every net.

- desaturated: the ground truth is colorful (mean chroma of 10 and more), the prediction's mean chroma is under half of that.
- oversaturated: the prediction's mean chroma is 15 and more, and over 1.6 times the ground truth's.
- spill: color crosses outlines. A pixel counts where the prediction shows (within 8) the true color of a place next door, up to 10 of the
  photo's 256 pixels away, that was colored right (within 12), and where this is wrong here: over 12 from the true color and from all that
  are but duller. Over 5% of the pixels.
- blotches: color varies where the ground truth's does not. A place counts where the deviation of ab, over a window of a sixth of the side,
  is over 8 in the prediction, and under 4 and under half of that in the ground truth. Over 10% of the places.
- confusion, of context: a large object is confidently given another's color. A pixel counts where both chromas are over 15 and the hues
  over 60° apart. Over 10% of the pixels.

Gray can only be desaturated, and the ground truth has no failure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from model.evaluate.color import Picture, evenly

KINDS = ("desaturated", "oversaturated", "spill", "blotches", "confusion")
_NEAR = 5  # pixels at half the size
_WINDOWS = 6  # a side

NEUTRAL = 8.0  # ab units: under this chroma a pixel's hue is not to be seen
# Eighths of a turn about 0°, 45° … of the ab plane. Skin and wood are orange, as is sRGB's red (40°); a clear sky is blue (250°).
_HUES = ("pink", "orange", "yellow", "green", "teal", "azure", "blue", "purple")
HUE_COLUMNS = ("neutral", *_HUES, "a", "b")


def detect(truth: Picture, prediction: Picture) -> dict[str, bool]:
    """Which of `KINDS` the prediction shows. Two pictures of one size, with sides of 24 and more."""
    true, ours = (F.avg_pool2d(picture.ab, 2) for picture in (truth, prediction))
    true_chroma, chroma = float(_length(true).mean()), float(_length(ours).mean())
    masks = _spilt(true, ours), _blotchy(true, ours), _confused(true, ours)
    spilt, blotchy, confused = (float(mask.float().mean()) for mask in masks)
    return {
        "desaturated": true_chroma >= 10 and chroma < 0.5 * true_chroma,
        "oversaturated": chroma >= 15 and chroma > 1.6 * true_chroma,
        "spill": spilt > 0.05,
        "blotches": blotchy > 0.10,
        "confusion": confused > 0.10,
    }


def _spilt(true: Tensor, ours: Tensor) -> Tensor:
    duller = true * ((ours * true).sum(0) / true.square().sum(0).clamp_min(1e-6)).clamp(0, 1)
    wrong = _length(ours - duller) > 12
    right = _length(ours - true) < 12
    height, width = wrong.shape
    true_around, right_around = (
        F.pad(each[None], (_NEAR,) * 4, mode="replicate")[0] for each in (true, right[None].float())
    )
    next_door = torch.zeros_like(wrong)
    for down, across in product((-_NEAR, -(_NEAR // 2), 0, _NEAR // 2, _NEAR), repeat=2):
        rows = slice(_NEAR + down, _NEAR + down + height)
        columns = slice(_NEAR + across, _NEAR + across + width)
        same = _length(ours - true_around[:, rows, columns]) < 8
        next_door |= same & (right_around[0, rows, columns] > 0)
    return wrong & next_door


def _blotchy(true: Tensor, ours: Tensor) -> Tensor:
    in_truth, in_ours = _deviation(true), _deviation(ours)
    return (in_ours > 8) & (in_truth < 4) & (in_truth < 0.5 * in_ours)


def _deviation(ab: Tensor) -> Tensor:
    """Of ab over square windows, at every fourth pixel."""
    window = min(ab.shape[-2:]) // _WINDOWS
    mean = F.avg_pool2d(ab, window, 4)
    square = F.avg_pool2d(ab.square().sum(0, keepdim=True), window, 4)[0]
    return (square - mean.square().sum(0)).clamp_min(0).sqrt()


def _confused(true: Tensor, ours: Tensor) -> Tensor:
    true_chroma, chroma = _length(true), _length(ours)
    alike = (true * ours).sum(0) / (true_chroma * chroma).clamp_min(1e-6)  # the cosine of the hues' angle
    return (true_chroma > 15) & (chroma > 15) & (alike < 0.5)


def _length(ab: Tensor) -> Tensor:
    """(2, H, W) → (H, W), ab units."""
    return torch.hypot(*ab)


def hue_shares(picture: Picture) -> NDArray[np.float64]:
    """A number for each of `HUE_COLUMNS`: percent of the pixels that are neutral, nearest to each eighth of a turn; mean a and b."""
    a, b = picture.ab
    sector = (torch.atan2(b, a) * (len(_HUES) / (2 * torch.pi))).round().long() % len(_HUES)
    place = torch.where(torch.hypot(a, b) < NEUTRAL, 0, 1 + sector)
    share = torch.bincount(place.flatten(), minlength=1 + len(_HUES)).double() / place.numel()
    means = torch.stack([a.mean(), b.mean()]).double()
    return torch.cat([100 * share, means]).numpy()


@dataclass(frozen=True)
class Case:
    """A photo to look at, by its number, and its caption."""

    photo: int
    caption: str


def sample(photos: int, count: int) -> list[Case]:
    """At most `count` of this many photos, evenly chosen, numbered."""
    return [Case(photo, str(number)) for number, photo in enumerate(evenly(range(photos), count), 1)]


def extremes(
    gray_error: Sequence[float], error: Sequence[float], photos: Sequence[Path], count: int
) -> tuple[list[Case], list[Case]]:
    """The (best, worst) photos, by how much nearer to the ground truth a net is than gray; errors are mean ab units, one a photo."""
    gain = np.array(gray_error) - np.array(error)
    cases = [
        Case(int(photo), f"{gain[photo]:+.1f}  {photos[photo].parent.name}/{photos[photo].name}")
        for photo in np.argsort(-gain, kind="stable")
    ]
    return cases[:count], cases[::-1][:count]


def examples(failures: Sequence[Sequence[bool]], each: int) -> list[Case]:
    """At most `each` photos of every kind of failure, evenly chosen. `failures`: for each photo, in the order of `KINDS`."""
    shown = np.array(failures)
    return [
        Case(int(photo), kind)
        for place, kind in enumerate(KINDS)
        for photo in evenly(np.flatnonzero(shown[:, place]).tolist(), each)
    ]
