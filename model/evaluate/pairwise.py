"""Which augmentations belong together? Chen et al. 2020 (SimCLR), figure 5: a net is taught from each pair of them, and asked what it
learnt.

https://arxiv.org/abs/2002.05709. One view is a random crop and no more; the other is that crop changed by one augmentation, on the
diagonal, or by two, one after the other. Other than there: a lesson of a few steps; the classes of the 20 nearest photos, not a linear
layer; and a pair is taught in one order, so that the matrix is symmetric by construction. `untrained` is the baseline that the figure
lacks: what the same neighbors tell of a net that learned nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from model.evaluate import neighbors
from model.evaluate.features import Labeled, pooled
from model.evaluate.tuning import Lesson, teach
from model.methods import simclr
from model.methods.simclr import SimCLR
from model.nets.backbone import Backbone
from model.training import augment
from model.training.batches import whole

STEPS = ("crop", "cutout", "color", "sobel", "noise", "blur", "rotate")
"""Of `augment.AUGMENTATIONS`, in the figure's order."""


@dataclass(frozen=True)
class Options(Lesson):
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
    taught: Labeled,
    judged: Labeled,
    options: Options,
    done: Mapping[str, float] | None = None,
    keep: Callable[[Mapping[str, float]], None] = lambda done: None,
) -> list[list[float]]:
    """A row each of `STEPS`, by the other; last the row's mean. Every cell from the same start.

    `done`, by "first second", is not worked out again; `keep` gets all that is, at once.
    """
    known = dict(done or {})
    for place, first in enumerate(STEPS):
        for second in STEPS[place:]:
            if f"{first} {second}" not in known:
                known[f"{first} {second}"] = cell(make_backbone(), first, second, taught, judged, options)
                keep(known)
    rows = [[known[f"{a} {b}" if f"{a} {b}" in known else f"{b} {a}"] for b in STEPS] for a in STEPS]
    return [[*row, float(np.mean(row))] for row in rows]


def cell(
    backbone: Backbone, first: str, second: str, taught: Labeled, judged: Labeled, options: Options
) -> float:
    """How often the nearest photos' class is the true one, 0…1, once the backbone was taught by this pair. The backbone given learns."""
    steps = (first,) if first == second else (first, second)
    method = SimCLR(backbone, simclr.asymmetric(options.pairs, *steps))
    method.net.train().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    generator = torch.Generator().manual_seed(0)

    def loss(numbers: torch.Tensor) -> torch.Tensor:
        return method.loss(whole(torch.from_numpy(taught.squares[numbers.numpy()])), generator)

    teach(method.net, len(taught.labels), loss, options, generator)
    return _accuracy(backbone, taught, judged)


def untrained(make_backbone: Callable[[], Backbone], taught: Labeled, judged: Labeled) -> float:
    """The same accuracy, 0…1, of the net that every cell starts from."""
    return _accuracy(make_backbone(), taught, judged)


def _accuracy(backbone: Backbone, taught: Labeled, judged: Labeled) -> float:
    asked, known = pooled(backbone, judged.squares), pooled(backbone, taught.squares)
    found = neighbors.judge(asked, judged.labels, known, taught.labels, neighbors.plain())
    return float(found.right.mean())
