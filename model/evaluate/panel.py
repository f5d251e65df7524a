"""What each augmentation makes of one photo, to look at: Chen et al. 2020, figure 4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model.evaluate.figures import Cell, grid
from model.training import augment

PANEL = ("whole", "crop", "crop and flip", "gray", "jitter", "rotate", "cutout", "noise", "blur", "sobel")
"""The paper's, the photo as it is first; of `augment.AUGMENTATIONS`."""
_CAPTIONS = {"whole": "original", "gray": "color drop", "jitter": "color jitter"}
_ACROSS = 5


def cells(rgb_HW3: NDArray[np.uint8], side: int = 160, seed: int = 2) -> list[Cell]:
    """The middle square of a photo, of `side` pixels, after each of `PANEL`. What happens to a share of photos happens here to all;
    "crop and flip" shows the crop that "crop" shows, flipped. Colors change as in the paper; crops are a tenth to two fifths of the
    photo, and noise and blur as strong as they get, so that all can be seen."""
    height, width = rgb_HW3.shape[:2]
    short = min(height, width)
    top, left = (height - short) // 2, (width - short) // 2
    square = np.ascontiguousarray(rgb_HW3[top : top + short, left : left + short].transpose(2, 0, 1))
    strengths = augment.Strengths(side, area=(0.1, 0.4), jittered=1, grayed=1, blurred=1)
    strengths = replace(strengths, sigma=(strengths.sigma[1],) * 2, noise=(strengths.noise[1],) * 2)
    made: list[Cell] = []
    for step in PANEL:
        chance = torch.Generator().manual_seed(seed)
        rgb = torch.from_numpy(square)[None]
        if step == "crop and flip":
            rgb = augment.crop(rgb, strengths, chance, mirrored=1.0)
        else:
            steps = (step,) if step in augment.RESAMPLING else ("whole", step)
            rgb = augment.augmented(rgb, steps, strengths, chance)
        pixels = (rgb[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0)
        made.append((_CAPTIONS.get(step, step), pixels.contiguous().numpy()))
    return made


def panel(rgb_HW3: NDArray[np.uint8], side: int = 160, seed: int = 2) -> Image.Image:
    """Two rows of five."""
    made = cells(rgb_HW3, side, seed)
    return grid([made[at : at + _ACROSS] for at in range(0, len(made), _ACROSS)], side)
