"""Colored fringes to look at: a photo as a lens would part its colors, and what a net that predicts context is shown of a corner of it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model.aberration import aberrate
from model.evaluate.figures import Cell, grid
from model.methods import context

_PARTED = (1.03, 0.97)  # red and blue: three times what a bad lens does, so that it is seen
_SIDE, _PATCH = 240, 48
_CORNER = (24, 150)  # row and column of the patch: near an edge, where fringes are wide
_CAPTIONS = {"keep": "colors kept", "drop": "one color kept", "project": "projected"}


def cells(rgb_HW3: NDArray[np.uint8]) -> list[list[Cell]]:
    """A row without fringes and a row with: the photo's middle square, a patch of it, and that patch as `context.prepared` shows it."""
    short = min(rgb_HW3.shape[:2])
    top, left = ((side - short) // 2 for side in rgb_HW3.shape[:2])
    square = Image.fromarray(rgb_HW3[top : top + short, left : left + short]).resize((_SIDE, _SIDE))
    clean = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255
    rows = []
    for said, photo in (("as it is", clean), ("red and blue scaled", aberrate(clean, *_PARTED))):
        y, x = _CORNER
        patch = photo[:, :, y : y + _PATCH, x : x + _PATCH]
        row: list[Cell] = [(said, _pixels(photo)), ("a patch", _pixels(patch))]
        for colors in get_args(context.Colors):
            options = replace(context.small(), colors=colors, pixelated=0.0)
            seen = context.prepared(patch, options, torch.Generator().manual_seed(1))
            row.append((_CAPTIONS[colors], _pixels(seen / 8 + 0.5)))
        rows.append(row)
    return rows


def figure(rgb_HW3: NDArray[np.uint8]) -> Image.Image:
    """The cells, in a grid."""
    return grid(cells(rgb_HW3), 160)


def _pixels(rgb_13HW: torch.Tensor) -> NDArray[np.uint8]:
    return (rgb_13HW[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
