"""What a net sees of a photo, and what it is to answer: the same for every way of learning to color."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from model import augment, lab

STRIDE = 4  # a net's answer has a quarter of the photo's side


def view(rgb_N3HW: Tensor, generator: torch.Generator, age: float = 0.0) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) photos, uint8 or float in 0…1, → (N, 1, H, W) lightness, developed a little differently, and (N, 2, H/4, W/4) colors.

    A share `age` of the photos is seen as an old print would show them.
    """
    rgb = rgb_N3HW if rgb_N3HW.is_floating_point() else rgb_N3HW.float() / 255
    photo = lab.lab_from_rgb(rgb)
    seen = augment.age(augment.tone(photo[:, :1], generator), generator, age)
    return seen, F.avg_pool2d(photo[:, 1:], STRIDE)
