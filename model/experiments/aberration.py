"""Chromatic aberration: put into photographs, how much it gives away, and a figure of it.

A lens bends red, green and blue a little differently, and so draws them at slightly different sizes about the photo's center. A net that
is to tell how patches lie to each other can read each one's place off its colored fringes, and need not look at what is in it (Doersch,
Gupta & Efros 2015, section 3.1). `measure` tells how much can be read so, by a probe that sees no more than how each channel goes with each
other at shifts of up to a pixel: nothing of what is in the picture, but all of the fringes. `shortcut` measures what each countermeasure of
model/methods/context.py leaves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from model.evaluate.figures import Cell, grid
from model.methods import context

Target = Literal["place", "direction"]
"""Of the probe: which cell of its grid a patch is in; or the method's own, how two neighbors lie."""

LENSES: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"none": (1.0, 1.0), "green apart": (1.008, 1.008), "red from blue": (1.008, 0.992)}
)
"""Factors of red and of blue: what an achromatic lens leaves, which is the case the paper names, and what a simple one does. They are
strong, 0.6 pixels along each axis in the corners of 160, as photographs that small have lost most of the fringes of their own."""

TREATMENTS: Mapping[context.Colors, str] = MappingProxyType(
    {"keep": "colors kept", "drop": "one color kept", "project": "projected"}
)
"""Of a patch's colors, as figures and tables call them."""

_TAPS = 6  # pixels on either side: few enough that edges ring little, enough that sharpness does not go with the place
_RIDGE = 0.03  # of the number of patches


@dataclass(frozen=True)
class Probed:
    """How often the probe is right in the test; `error` is one standard error over its photos."""

    accuracy: float
    error: float
    chance: float  # of the most frequent class alone


def shortcut(
    rgb_N3HW: Tensor, options: context.ContextOptions, seed: int = 0
) -> dict[tuple[str, context.Colors, Target], Probed]:
    """By lens, by treatment of colors, by target: what `measure` finds in photos of 3 and more, all square and of one size."""
    found: dict[tuple[str, context.Colors, Target], Probed] = {}
    for lens, (red, blue) in LENSES.items():
        photos = aberrate(rgb_N3HW, red, blue)
        for colors in get_args(context.Colors):
            probed = measure(photos, replace(options, colors=colors), torch.Generator().manual_seed(seed))
            found |= {(lens, colors, target): of for target, of in probed.items()}
    return found


def measure(
    rgb_N3HW: Tensor, options: context.ContextOptions, generator: torch.Generator
) -> dict[Target, Probed]:
    """By target: a linear probe, trained on patches of the first half of the photos as `prepared` shows them, tested on the second's.

    None are pixelated.
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


def _probe(features_KD: Tensor, labels_K: Tensor, photo_K: Tensor, photos: int) -> Probed:
    train = photo_K < photos // 2
    predicted = _ridge(features_KD[train], labels_K[train], features_KD[~train])
    truth, of = labels_K[~train], photo_K[~train]
    right = (predicted == truth).double()
    by_photo = torch.stack([right[of == photo].mean() for photo in range(photos // 2, photos)])
    error = by_photo.std() / len(by_photo) ** 0.5
    return Probed(float(right.mean()), float(error), float(truth.bincount().max() / len(truth)))


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


def _ridge(train_KD: Tensor, labels_K: Tensor, test_MD: Tensor) -> Tensor:
    """(M) predictions of a linear probe that is fitted to labels by ridge regression, one output a label."""
    mean, deviation = train_KD.double().mean(0), train_KD.double().std(0).clamp_min(1e-9)
    # Nearly flat patches have features far out, by which the fit should not go.
    known, unknown = (((x.double() - mean) / deviation).clamp(-4, 4) for x in (train_KD, test_MD))
    wanted = F.one_hot(labels_K).double()
    ridge = torch.eye(known.shape[1], dtype=known.dtype, device=known.device) * (_RIDGE * len(known))
    weights = torch.linalg.solve(known.mT @ known + ridge, known.mT @ (wanted - wanted.mean(0)))
    outputs: Tensor = unknown @ weights + wanted.mean(0)
    return outputs.argmax(1)


# Fringes to look at

_PARTED = (1.03, 0.97)  # red and blue: three times what a bad lens does, so that it is seen
_SIDE, _PATCH = 240, 48
_CORNER = (24, 150)  # row and column of the patch: near an edge, where fringes are wide


def figure(rgb_HW3: NDArray[np.uint8]) -> Image.Image:
    """The cells, in a grid."""
    return grid(cells(rgb_HW3), 160)


def cells(rgb_HW3: NDArray[np.uint8]) -> list[list[Cell]]:
    """A row without fringes and a row with: the photo's middle square, a patch of it, and that patch as `context.prepared` shows it."""
    short = min(rgb_HW3.shape[:2])
    top, left = ((side - short) // 2 for side in rgb_HW3.shape[:2])
    square = Image.fromarray(rgb_HW3[top : top + short, left : left + short]).resize((_SIDE, _SIDE))
    clean = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255
    rows = []
    for caption, photo in (("as it is", clean), ("red and blue scaled", aberrate(clean, *_PARTED))):
        y, x = _CORNER
        patch = photo[:, :, y : y + _PATCH, x : x + _PATCH]
        row: list[Cell] = [(caption, _pixels(photo)), ("a patch", _pixels(patch))]
        for colors in get_args(context.Colors):
            options = replace(context.small(), colors=colors, pixelated=0.0)
            seen = context.prepared(patch, options, torch.Generator().manual_seed(1))
            row.append((TREATMENTS[colors], _pixels(seen / 8 + 0.5)))
        rows.append(row)
    return rows


def _pixels(rgb_13HW: torch.Tensor) -> NDArray[np.uint8]:
    return (rgb_13HW[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
