"""Kinds of failure, each by a definition that can be measured, so that they can be counted.

All are seen at half the size, where single pixels' noise is gone; chroma is the length of ab. The limits were set by eye, on answers of
the first weights to 72 photographs of ImageNet, and are the same for every net.

- desaturated: the truth is colorful (mean chroma of 10 and more), the answer's mean chroma is under half of the truth's.
- oversaturated: the answer's mean chroma is 15 and more, and over 1.6 times the truth's.
- spill: color crosses outlines. A pixel counts where the answer shows (within 8) the true color of a place next door, up to 10 of the
  photo's 256 pixels away, that was colored right (within 12), and where this is wrong here: over 12 from the true color and from all that
  are but duller. Over 5% of the pixels.
- blotches: color varies where the truth's does not. A place counts where the deviation of ab, over a window of a sixth of the side, is
  over 8 in the answer, and under 4 and under half of that in the truth. Over 10% of the places.
- confusion, of context: a large thing is confidently given another's color. A pixel counts where both chromas are over 15 and the hues
  over 60° apart. Over 10% of the pixels.

Gray can only be desaturated, and the truth has no failure.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from torch.nn import functional as F

from model.evaluate.color import Picture

KINDS = ("desaturated", "oversaturated", "spill", "blotches", "confusion")
_NEAR = 5  # pixels at half the size
_WINDOWS = 6  # a side


def found(truth: Picture, answer: Picture) -> dict[str, bool]:
    """Which of `KINDS` the answer shows."""
    seen = examine(truth, answer)
    return {
        "desaturated": seen.true_chroma >= 10 and seen.chroma < 0.5 * seen.true_chroma,
        "oversaturated": seen.chroma >= 15 and seen.chroma > 1.6 * seen.true_chroma,
        "spill": seen.spilt > 0.05,
        "blotches": seen.blotchy > 0.10,
        "confusion": seen.confused > 0.10,
    }


@dataclass(frozen=True)
class Examined:
    """Mean chromas, in ab units, and the shares of a picture that count for a kind of failure."""

    true_chroma: float
    chroma: float
    spilt: float
    blotchy: float
    confused: float


def examine(truth: Picture, answer: Picture) -> Examined:
    """Two pictures of one size, with sides of 24 and more."""
    true, ours = (F.avg_pool2d(picture.ab, 2) for picture in (truth, answer))
    masks = _spilt(true, ours), _blotchy(true, ours), _confused(true, ours)
    return Examined(
        float(_length(true).mean()),
        float(_length(ours).mean()),
        *(float(mask.float().mean()) for mask in masks),
    )


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
    varied, varies = _deviation(true), _deviation(ours)
    return (varies > 8) & (varied < 4) & (varied < 0.5 * varies)


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
