"""Batched augmentations, on the device the batch lives on."""

from __future__ import annotations

import torch
from torch import Tensor


def tone(lightness_N1HW: Tensor, generator: torch.Generator) -> Tensor:
    """Develop every other photo a little differently: its lightness (0…100) through a random gamma, contrast and brightness.

    Only the net's input changes, never the color it should answer with, so that exposure and paper do not decide a color.
    """
    count = len(lightness_N1HW)
    draw = torch.rand(4, count, 1, 1, 1, generator=generator).to(lightness_N1HW.device)
    gamma = torch.exp((draw[0] - 0.5) * 0.6)
    contrast = 1 + (draw[1] - 0.6) * 0.4
    brightness = (draw[2] - 0.5) * 12
    developed = (lightness_N1HW / 100).clamp(0, 1) ** gamma * 100
    developed = ((developed - 50) * contrast + 50 + brightness).clamp(0, 100)
    return torch.where(draw[3] < 0.5, developed, lightness_N1HW)
