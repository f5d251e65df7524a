"""What a net sees of a photo, and what it is to answer: the same for every way of learning to color."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from model import lab
from model.training import augment
from model.training.augment import Print

STRIDE = 4  # a net's answer has a quarter of the photo's side


def view(rgb_N3HW: Tensor, seeds_N: Tensor, options: Print = Print()) -> tuple[Tensor, Tensor]:
    """(N, 3, H, W) photos, uint8 or float in 0…1, → (N, 1, H, W) lightness, developed a little differently, and (N, 2, H/4, W/4) colors.

    Some of the photos are seen as old prints, or on a page, whose colors are neutral. What is done to a photo follows from its own seed,
    int64 on the CPU, whatever else is in the batch.
    """
    floating = rgb_N3HW.is_floating_point()
    linear = lab.linear_from_srgb(rgb_N3HW.float()) if floating else lab.linear_from_bytes(rgb_N3HW)
    photo = augment.print_on_page(lab.lab_from_linear(linear), seeds_N, options.page)
    seen = augment.age(augment.exposure(photo[:, :1], seeds_N), seeds_N, options.age)
    return seen, F.avg_pool2d(photo[:, 1:], STRIDE)
