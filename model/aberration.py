"""Chromatic aberration: put into photographs, and how much it gives away.

A lens bends red, green and blue a little differently, and so draws them at slightly different sizes about the photo's center. A net that
is to tell how patches lie to each other can read each one's place off its colored fringes, and need not look at what is in it (Doersch,
Gupta & Efros 2015, section 3.1). `told` measures how much can be read so, by a probe that sees no more than how each channel goes with each
other at shifts of up to a pixel: nothing of what is in the picture, but all of the fringes. `shortcut` asks it what each countermeasure of
model/methods/context.py leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from model.methods import context

Question = Literal["place", "direction"]

LENSES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"none": (1.0, 1.0), "green apart": (1.008, 1.008), "red from blue": (1.008, 0.992)}
)
"""Factors of red and of blue: what an achromatic lens leaves, which is the case the paper names, and what a simple one does. They are
strong, 0.6 pixels along each axis in the corners of 160, as photographs that small have lost most of the fringes of their own."""

_TAPS = 6  # pixels on either side: few enough that edges ring little, enough that sharpness does not go with the place
_RIDGE = 0.03  # of the number of patches


@dataclass(frozen=True)
class Told:
    """How often the probe is right about photos that it was not taught by; `error` is one standard error over these."""

    accuracy: float
    error: float
    chance: float  # of who always says what is most frequent


def aberrate(rgb_N3HW: Tensor, red: float | Tensor, blue: float | Tensor) -> Tensor:
    """Photos, uint8 or float 0…1, with red and blue scaled about the center by these factors, or by one (N) of each photo; float 0…1.

    Green stays as it is, and so does a channel whose factor is 1. Where a channel shrinks, its edge goes on outward.
    """
    rgb = rgb_N3HW if rgb_N3HW.is_floating_point() else rgb_N3HW.float() / 255
    height, width = rgb.shape[2:]

    def scaled(channel: int, factor: float | Tensor) -> Tensor:
        factors = torch.as_tensor(factor, dtype=rgb.dtype, device=rgb.device).expand(len(rgb))
        down, across = _scaling(height, factors), _scaling(width, factors)
        return (down @ rgb[:, channel] @ across.mT).clamp(0, 1)

    return torch.stack([scaled(0, red), rgb[:, 1], scaled(2, blue)], 1)


def _scaling(side: int, factors_N: Tensor) -> Tensor:
    """(N, side, side): the matrices that scale a line of pixels about its middle, by a Lanczos kernel.

    A kernel as short as the bicubic one blurs as much as it moves by half a pixel: sharpness would tell a patch's place.
    """
    places = torch.arange(side, dtype=factors_N.dtype, device=factors_N.device)
    middle = (side - 1) / 2
    source = (places - middle) / factors_N[:, None] + middle
    taps = source.floor()[..., None] + torch.arange(1 - _TAPS, _TAPS + 1, device=factors_N.device)
    distance = taps - source[..., None]
    weights = torch.sinc(distance) * torch.sinc(distance / _TAPS)
    matrix = source.new_zeros(len(factors_N), side, side)
    matrix.scatter_add_(2, taps.long().clamp(0, side - 1), weights)
    return matrix / matrix.sum(2, keepdim=True)


def shortcut(
    rgb_N3HW: Tensor, options: context.ContextOptions, seed: int = 0
) -> dict[tuple[str, context.Colors, Question], Told]:
    """By lens, by treatment of colors, by question: what `told` finds in photos of 3 and more, all square and of one size."""
    found: dict[tuple[str, context.Colors, Question], Told] = {}
    for lens, (red, blue) in LENSES.items():
        photos = aberrate(rgb_N3HW, red, blue)
        for colors in get_args(context.Colors):
            answers = told(photos, replace(options, colors=colors), torch.Generator().manual_seed(seed))
            found |= {(lens, colors, question): answer for question, answer in answers.items()}
    return found


def told(
    rgb_N3HW: Tensor, options: context.ContextOptions, generator: torch.Generator
) -> dict[Question, Told]:
    """How well a linear probe, taught by the first half of the photos, answers about the patches of the second, as `prepared` shows them.

    "place": which cell of its grid a patch is in; "direction": the method's own question about two neighbors. None are pixelated.
    """
    count = len(rgb_N3HW)
    sharp = replace(options, pixelated=0.0, most_patches=options.grids * count * options.most_patches)
    patches, rows = context.cut(rgb_N3HW, sharp, generator)
    features = fringes(context.prepared(patches, sharp, generator))
    number = torch.arange(len(patches), device=patches.device)
    photo, cell = number // rows**2 % count, number % rows**2
    first, second, labels = (index.to(patches.device) for index in context.pairs(rows, options.grids * count))
    neighbors = torch.cat([features[first], features[second]], 1)
    return {
        "place": _probe(features, cell, photo, count),
        "direction": _probe(neighbors, labels, photo[first], count),
    }


def _probe(features_KD: Tensor, labels_K: Tensor, photo_K: Tensor, photos: int) -> Told:
    taught = photo_K < photos // 2
    answers = _ridge(features_KD[taught], labels_K[taught], features_KD[~taught])
    asked, of = labels_K[~taught], photo_K[~taught]
    right = (answers == asked).double()
    by_photo = torch.stack([right[of == photo].mean() for photo in range(photos // 2, photos)])
    error = by_photo.std() / len(by_photo) ** 0.5
    return Told(float(right.mean()), float(error), float(asked.bincount().max() / len(asked)))


def fringes(x_P3HW: Tensor) -> Tensor:
    """(P, 81): the mean product of each channel with each, shifted by −1, 0 or 1 rows and columns, in units of the patch's gradients.

    For small shifts between channels these are linear in them, so that a linear probe can read them.
    """
    inner = x_P3HW[:, :, 1:-1, 1:-1].flatten(2)
    height, width = x_P3HW.shape[2] - 2, x_P3HW.shape[3] - 2
    products = [
        inner @ x_P3HW[:, :, y : y + height, x : x + width].flatten(2).mT for y in range(3) for x in range(3)
    ]
    energy = x_P3HW.diff(dim=2).square().sum((1, 2, 3)) + x_P3HW.diff(dim=3).square().sum((1, 2, 3))
    return torch.stack(products, 1).flatten(1) / energy.clamp_min(1e-6)[:, None]


def _ridge(taught_KD: Tensor, labels_K: Tensor, asked_MD: Tensor) -> Tensor:
    """(M) answers of a linear probe that was fitted to labels by ridge regression, one output a label."""
    mean, deviation = taught_KD.double().mean(0), taught_KD.double().std(0).clamp_min(1e-9)
    # Nearly flat patches have features far out, by which the fit should not go.
    known, asked = (((x.double() - mean) / deviation).clamp(-4, 4) for x in (taught_KD, asked_MD))
    wanted = F.one_hot(labels_K).double()
    ridge = torch.eye(known.shape[1], dtype=known.dtype, device=known.device) * (_RIDGE * len(known))
    weights = torch.linalg.solve(known.mT @ known + ridge, known.mT @ (wanted - wanted.mean(0)))
    answers: Tensor = asked @ weights + wanted.mean(0)
    return answers.argmax(1)
