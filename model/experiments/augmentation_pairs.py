"""Which augmentations belong together? Chen et al. 2020 (SimCLR), figure 5: a net is trained by each pair of them, and evaluated. And
figure 4, what each augmentation makes of one photo, to look at.

https://arxiv.org/abs/2002.05709. One view is a random crop and no more; the other is that crop changed by one augmentation, on the
diagonal, or by two, one after the other. Other than there: training takes a few steps; the classes of the 20 nearest photos, not a linear
layer; and a pair is applied in one order, so that the matrix is symmetric by construction. `untrained` is the baseline that the figure
lacks: kNN of the untrained net.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from model.evaluate import knn
from model.evaluate.figures import Cell, grid
from model.evaluate.finetuning import FineTuning, fit
from model.evaluate.probes import Labeled, pooled
from model.methods import simclr
from model.methods.simclr import SimCLR
from model.nets.backbone import Backbone
from model.training import augment
from model.training.batches import whole

STEPS = ("crop", "cutout", "color", "sobel", "noise", "blur", "rotate")
"""Of `augment.AUGMENTATIONS`, in the figure's order."""


@dataclass(frozen=True)
class Options(FineTuning):
    """Of one cell. 200 steps of 96 photos are, with AlexNet on one core in bf16, some 50 seconds, and all 28 cells 23 minutes."""

    steps: int = 200
    batch: int = 96
    side: int = 48  # of views, in pixels

    @property
    def pairs(self) -> simclr.SimCLROptions:
        strengths = augment.Strengths(self.side, area=(0.15, 1.0), color=0.5)
        return replace(simclr.small(), strengths=strengths)


def matrix(
    make_backbone: Callable[[], Backbone],
    train: Labeled,
    test: Labeled,
    options: Options,
    done: Mapping[str, float] | None = None,
    keep: Callable[[Mapping[str, float]], None] = lambda done: None,
) -> list[list[float]]:
    """A row each of `STEPS`, by the other; last the row's mean. Every cell from the same start.

    `done`, by "first second", is not computed again; `keep` gets all that is, at once.
    """
    known = dict(done or {})
    for place, first in enumerate(STEPS):
        for second in STEPS[place:]:
            if f"{first} {second}" not in known:
                known[f"{first} {second}"] = cell(make_backbone(), first, second, train, test, options)
                keep(known)
    rows = [[known[f"{a} {b}" if f"{a} {b}" in known else f"{b} {a}"] for b in STEPS] for a in STEPS]
    return [[*row, float(np.mean(row))] for row in rows]


def cell(
    backbone: Backbone, first: str, second: str, train: Labeled, test: Labeled, options: Options
) -> float:
    """kNN accuracy, 0…1, after training by this pair. The backbone given is trained."""
    steps = (first,) if first == second else (first, second)
    method = SimCLR(backbone, simclr.asymmetric(options.pairs, *steps))
    method.net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)

    def loss(numbers: torch.Tensor) -> torch.Tensor:
        return method.loss(whole(torch.from_numpy(train.squares[numbers.numpy()])), generator)

    fit(method.net, len(train.labels), loss, options, generator)
    return _accuracy(backbone, train, test)


def untrained(make_backbone: Callable[[], Backbone], train: Labeled, test: Labeled) -> float:
    """The same accuracy, 0…1, of the net that every cell starts from."""
    return _accuracy(make_backbone(), train, test)


def _accuracy(backbone: Backbone, train: Labeled, test: Labeled) -> float:
    queries, known = pooled(backbone, test.squares), pooled(backbone, train.squares)
    found = knn.evaluate(queries, test.labels, known, train.labels)
    return float(found.right.mean())


# Figure 4


PANEL = ("whole", "crop", "crop and flip", "gray", "jitter", "rotate", "cutout", "noise", "blur", "sobel")
"""The paper's, the photo as it is first; of `augment.AUGMENTATIONS`."""
_CAPTIONS = {"whole": "original", "gray": "color drop", "jitter": "color jitter"}
_ACROSS = 5


def panel(rgb_HW3: NDArray[np.uint8], side: int = 160, seed: int = 2) -> Image.Image:
    """Two rows of five."""
    made = cells(rgb_HW3, side, seed)
    return grid([made[at : at + _ACROSS] for at in range(0, len(made), _ACROSS)], side)


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
