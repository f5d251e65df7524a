"""What a backbone that learns no more answers to photos, and how often what is read from it is right."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.errors import InputError
from model.evaluate.intervals import Bootstrap, Interval, interval
from model.nets.backbone import Backbone, normalized

BATCH = 64
BF16 = True  # as backbones learn; what is read off is float32 again


@dataclass(frozen=True, eq=False)
class Labeled:
    """Square photos, (N, 3, S, S) uint8, and the class of each, (N,) from 0. ValueError for none, or not as many."""

    squares: NDArray[np.uint8]
    labels: Tensor

    def __post_init__(self) -> None:
        if not 0 < len(self.squares) == len(self.labels):
            raise InputError(f"{len(self.squares)} photos and {len(self.labels)} labels")


@dataclass(frozen=True, eq=False)
class Judged:
    """What was answered rightly: (N,), of the photos in order, so that answers compare photo by photo."""

    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> Interval:
        """0…1, with its 95% interval by bootstrap over the photos."""
        return cast(Interval, interval(Bootstrap(len(self.right)).means(self.right)))


@contextmanager
def frozen(backbone: Backbone) -> Iterator[None]:
    """Norms go by what they have seen so far, and nothing is recorded for gradients; afterwards all is as it was."""
    learning = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was in learning.items():
            module.training = was


def taps(backbone: Backbone, rgb_N3HW: Tensor) -> dict[str, Tensor]:
    """Each layer's float32 (N, C_l, H_l, W_l) of photos, uint8 or 0…1, on the backbone's device, computed as `BF16` says."""
    x, precision = _shown(backbone, rgb_N3HW)
    with precision:
        found = backbone.taps(x)
    return {layer: x_NCHW.float() for layer, x_NCHW in found.items()}


def pooled(backbone: Backbone, squares: NDArray[np.uint8]) -> Tensor:
    """(N, width) float32 on the CPU, of all photos in order: the last layer averaged over positions."""
    found = []
    with frozen(backbone):
        for rgb in batches(squares):
            x, precision = _shown(backbone, rgb)
            with precision:
                found.append(backbone(x).float().cpu())
    return torch.cat(found)


def batches(squares: NDArray[np.uint8], size: int = BATCH) -> Iterator[Tensor]:
    """(n, 3, S, S) uint8, in order; the last may be smaller."""
    for start in range(0, len(squares), size):
        yield torch.from_numpy(np.array(squares[start : start + size]))


def _shown(backbone: Backbone, rgb_N3HW: Tensor) -> tuple[Tensor, torch.autocast]:
    device = next(backbone.parameters()).device
    x = normalized(rgb_N3HW.to(device), backbone.channels).contiguous(memory_format=torch.channels_last)
    return x, torch.autocast(device.type, torch.bfloat16, enabled=BF16)
