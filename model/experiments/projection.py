"""The projection probe: what does the backbone hold that SimCLR's projection discards? Chen et al. 2020, section 4.2 and table 3: a small
net is trained to predict which transformation a view has had, from the backbone's pooled features, h, and from their projection, g(h),
which the loss saw.

https://arxiv.org/abs/2002.05709. The transformations, of views by crop and color, and the paper's accuracy from h and from g(h) in percent:
was the color dropped (99.3, 97.4); by which quarter turn (67.6, 25.6); is there noise (99.5, 59.6); are these Sobel's edges (96.6, 56.3).
Chance is the share of the most frequent class: 80, 25, 50 and 50.

Other than there, or where the paper is silent:
- Turns, noise and edges were among the views in the paper's pretraining, as they are in `simclr.projection_probe`, by which the
  lecture trains a run for this table alone. Any net can be measured, but a transformation that its views never had is one that its loss
  did not discard: `in_views` says which they had, and both go beside the numbers.
- In the paper both have 2048 numbers, of our heads' 128 the projection has fewer than the backbone.
- The small net has one hidden layer of 256 units, over numbers brought to mean 0 and deviation 1; 300 steps of 256 views, Adam.
  Each photo gives two views to train on and one to test on; features of each are computed once. Chance is that of the test.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.finetuning import FineTuning, fit
from model.evaluate.probes import Correct, Split, batches
from model.methods import simclr
from model.methods.simclr import SimCLRNet
from model.nets.backbone import autocast, normalized
from model.training import augment
from model.training.building import Trained

TRANSFORMATIONS: Mapping[str, float] = MappingProxyType(
    {"gray": 0.2, "rotate": 0.75, "noise": 0.5, "sobel": 0.5}
)
"""The share of views that have each; "rotate" leaves a quarter upright."""
_TURNS = 4


@dataclass(frozen=True)
class Options(FineTuning):
    """How the small net is made and trained; and the views."""

    steps: int = 300
    batch: int = 256
    hidden: int = 256
    looks: int = 2  # views of each photo to train on
    strengths: augment.Strengths = field(default_factory=lambda: augment.Strengths(side=96, color=0.5))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.looks < 1:
            raise InputError(
                f"the projection probe is trained on 1 view of each photo at least, not {self.looks}"
            )


@dataclass(frozen=True, eq=False)
class Probed:
    """Which views' transformation was predicted correctly from h and from g(h); and how often the most frequent class alone is right."""

    h: Correct
    g: Correct
    chance: float


def measure(run: Trained, seen: Split) -> dict[str, dict[str, Any]]:
    """By transformation: accuracy from h and from g, chance, and whether the run's views had it. InputError for a run of another method."""
    among = views_of(run)
    assert isinstance(run.net, SimCLRNet)
    found = probe(run.net, seen.train.squares, seen.test.squares, Options())
    return {
        kind: {
            "h": of.h.accuracy.value,
            "g": of.g.accuracy.value,
            "chance": of.chance,
            "in_views": among[kind],
        }
        for kind, of in found.items()
    }


def views_of(run: Trained) -> dict[str, bool]:
    """`in_views` of a run. InputError for a run of another method."""
    options = run.config.options
    if not isinstance(options, simclr.SimCLROptions):
        raise InputError(f"only simclr has a projection; this run is of {run.config.method}")
    return in_views(options)


def probe(
    net: SimCLRNet,
    train: NDArray[np.uint8],
    test: NDArray[np.uint8],
    options: Options,
    seed: int = 0,
) -> dict[str, Probed]:
    """By transformation. Photos are (N, 3, S, S) uint8. The net given stays as it is."""
    net = deepcopy(net).eval()
    found = {}
    for kind in TRANSFORMATIONS:
        generator = torch.Generator().manual_seed(seed)
        train_h, train_g, labels = _features(net, train, kind, options.looks, options, generator)
        test_h, test_g, truth = _features(net, test, kind, 1, options, generator)
        h, g = (
            Correct((predictions(known, labels, unknown, options, seed) == truth).numpy())
            for known, unknown in ((train_h, test_h), (train_g, test_g))
        )
        found[kind] = Probed(h, g, float(truth.bincount().max()) / len(truth))
    return found


def in_views(options: simclr.SimCLROptions) -> dict[str, bool]:
    """By transformation: could a photo's two views differ by it, in a run of these options?"""
    drawn = set(options.first + options.second)
    strengths = options.strengths
    return {
        "gray": ("color" in drawn or "gray" in drawn) and strengths.grayed > 0,
        "rotate": "rotate" in drawn and strengths.rotated > 0,
        "noise": "noise" in drawn and strengths.noised > 0,
        "sobel": "sobel" in drawn and strengths.sobeled > 0,
    }


def transformed(
    rgb_N3HW: Tensor, kind: str, strengths: augment.Strengths, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(N, 3, side, side) float32 views, some of them transformed, and (N,) the labels: 0 for no, 1 for yes, or the quarter turns."""
    # Where the probe is for dropped color, none is dropped otherwise.
    color = "jitter" if kind == "gray" else "color"
    seen = augment.augmented(rgb_N3HW, ("crop and flip", color), strengths, generator)
    if kind == "rotate":
        labels_N = torch.randint(_TURNS, (len(seen),), generator=generator)
        turned = [rgb.rot90(turns, (1, 2)) for rgb, turns in zip(seen, labels_N.tolist(), strict=True)]
        return torch.stack(turned), labels_N
    yes = torch.rand(len(seen), generator=generator) < TRANSFORMATIONS[kind]
    where = yes.nonzero()[:, 0].to(seen.device)
    if len(where):
        seen[where] = augment.augmented(seen[where], (kind,), _certain(strengths), generator)
    return seen, yes.long()


def _certain(strengths: augment.Strengths) -> augment.Strengths:
    """All that are chosen for a transformation get it."""
    return replace(strengths, grayed=1.0, noised=1.0, sobeled=1.0)


def predictions(train_MD: Tensor, labels_M: Tensor, test_ND: Tensor, options: Options, seed: int) -> Tensor:
    """(N,) classes of the test, by a net with a hidden layer."""
    generator = torch.Generator().manual_seed(seed)
    mean, deviation = train_MD.mean(0), train_MD.std(0)
    # Numbers that never change would be divided by 0.
    scale = torch.where(deviation > 1e-6, 1 / deviation, 0.0)
    train, test = ((of - mean) * scale for of in (train_MD, test_ND))
    classes = int(labels_M.max()) + 1
    hidden, out = nn.Linear(train.shape[1], options.hidden), nn.Linear(options.hidden, classes)
    nn.init.normal_(hidden.weight, std=(2 / train.shape[1]) ** 0.5, generator=generator)
    for weights in (hidden.bias, out.weight, out.bias):
        nn.init.zeros_(weights)
    mlp = nn.Sequential(hidden, nn.ReLU(), out)

    def loss(numbers: Tensor) -> Tensor:
        return F.cross_entropy(mlp(train[numbers]), labels_M[numbers])

    fit(mlp, len(train), loss, options, generator)
    with torch.no_grad():
        found: Tensor = mlp(test).argmax(1)
    return found


@torch.no_grad()
def _features(
    net: SimCLRNet,
    squares: NDArray[np.uint8],
    kind: str,
    looks: int,
    options: Options,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """(looks · N, width) h, (looks · N, out) g(h), float32 on the CPU, and the labels."""
    device = next(net.parameters()).device
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(looks):
        for rgb in batches(squares):
            seen, labels = transformed(rgb.to(device), kind, options.strengths, generator)
            x = normalized(seen, net.backbone.channels).contiguous(memory_format=torch.channels_last)
            with autocast(device):
                h = net.backbone(x)
                g = net.head(h)
            found.append((h.float().cpu(), g.float().cpu(), labels))
    h, g, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return h, g, labels
