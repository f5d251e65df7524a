"""What does h know that g(h) forgot? Chen et al. 2020 (SimCLR), section 4.2 and table 3: which change was made to a view, as a small net
can tell from the backbone's pooled features, h, and from their projection, g(h), which the loss saw.

https://arxiv.org/abs/2002.05709. The questions, over views by crop and color, and their paper's answers from h and from g(h) in percent:
was the color dropped (99.3, 97.4); by which quarter turn (67.6, 25.6); is there noise (99.5, 59.6); are these Sobel's edges (96.6, 56.3).
Chance is the share of the most frequent answer: 80, 25, 50 and 50.

Other than there, or where the paper is silent:
- Turns, noise and edges were among the views in the paper's pretraining, as they are in `simclr.projection_probe`, by which the
  lecture trains a run for this table alone. A net is asked whatever its views were, but a change that it never saw is one that it was
  not taught to forget: `in_views` says which were, and both go beside the numbers.
- In the paper both have 2048 numbers, of our heads' 128 the projection has fewer than the backbone.
- The net that answers has one hidden layer of 256 units, over numbers brought to mean 0 and deviation 1; 300 steps of 256 views, Adam.
  Each photo gives two views to learn from and one to be judged by; features of each are worked out once. Chance is that of the judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.features import Judged, batches
from model.evaluate.tuning import Lesson, teach
from model.methods import simclr
from model.methods.simclr import SimCLRNet
from model.nets.backbone import normalized
from model.training import augment

QUESTIONS: Mapping[str, float] = MappingProxyType({"gray": 0.2, "rotate": 0.75, "noise": 0.5, "sobel": 0.5})
"""To what share of views each is done; "rotate" leaves a quarter upright."""
_TURNS = 4


@dataclass(frozen=True)
class Options(Lesson):
    """How the net that answers is made and taught; and the views."""

    steps: int = 300
    batch: int = 256
    hidden: int = 256
    looks: int = 2  # views of each photo to learn from
    strengths: augment.Strengths = field(default_factory=lambda: augment.Strengths(side=96, color=0.5))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.looks < 1:
            raise InputError(f"{self.looks} views of a photo teach nothing")


@dataclass(frozen=True, eq=False)
class Remembered:
    """What could be told of one change from h and from g(h), view by view; and how often the most frequent answer alone is right."""

    h: Judged
    g: Judged
    chance: float


def forgotten(
    net: SimCLRNet,
    taught: NDArray[np.uint8],
    judged: NDArray[np.uint8],
    options: Options,
    seed: int = 0,
) -> dict[str, Remembered]:
    """By question. Photos are (N, 3, S, S) uint8. The net given stays as it is."""
    net = deepcopy(net).eval()
    found = {}
    for question in QUESTIONS:
        generator = torch.Generator().manual_seed(seed)
        known_h, known_g, labels = _looked(net, taught, question, options.looks, options, generator)
        asked_h, asked_g, truth = _looked(net, judged, question, 1, options, generator)
        h, g = (
            Judged((answers(known, labels, asked, options, seed) == truth).numpy())
            for known, asked in ((known_h, asked_h), (known_g, asked_g))
        )
        found[question] = Remembered(h, g, float(truth.bincount().max()) / len(truth))
    return found


def in_views(options: simclr.SimCLROptions) -> dict[str, bool]:
    """By question: did this change make one of a photo's two views differ from the other, in the run that had these options?"""
    drawn = set(options.first + options.second)
    strengths = options.strengths
    return {
        "gray": ("color" in drawn or "gray" in drawn) and strengths.grayed > 0,
        "rotate": "rotate" in drawn and strengths.rotated > 0,
        "noise": "noise" in drawn and strengths.noised > 0,
        "sobel": "sobel" in drawn and strengths.sobeled > 0,
    }


def changed(
    rgb_N3HW: Tensor, question: str, strengths: augment.Strengths, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(N, 3, side, side) float32 views, some of them changed, and (N,) the answers: 0 for no, 1 for yes, or the quarter turns."""
    # Who is asked for dropped color sees none dropped else.
    color = "jitter" if question == "gray" else "color"
    seen = augment.augmented(rgb_N3HW, ("crop and flip", color), strengths, generator)
    if question == "rotate":
        answers_N = torch.randint(_TURNS, (len(seen),), generator=generator)
        turned = [rgb.rot90(turns, (1, 2)) for rgb, turns in zip(seen, answers_N.tolist(), strict=True)]
        return torch.stack(turned), answers_N
    yes = torch.rand(len(seen), generator=generator) < QUESTIONS[question]
    where = yes.nonzero()[:, 0].to(seen.device)
    if len(where):
        seen[where] = augment.augmented(seen[where], (question,), _certain(strengths), generator)
    return seen, yes.long()


def _certain(strengths: augment.Strengths) -> augment.Strengths:
    """What is asked for is done to all that are chosen for it."""
    return replace(strengths, grayed=1.0, noised=1.0, sobeled=1.0)


def answers(known_MD: Tensor, labels_M: Tensor, asked_ND: Tensor, options: Options, seed: int) -> Tensor:
    """(N,) what a net with a hidden layer, taught by the known, says of those asked for."""
    generator = torch.Generator().manual_seed(seed)
    mean, deviation = known_MD.mean(0), known_MD.std(0)
    # Numbers that never change say nothing, and would be divided by 0.
    scale = torch.where(deviation > 1e-6, 1 / deviation, 0.0)
    known, asked = ((of - mean) * scale for of in (known_MD, asked_ND))
    classes = int(labels_M.max()) + 1
    hidden, out = nn.Linear(known.shape[1], options.hidden), nn.Linear(options.hidden, classes)
    nn.init.normal_(hidden.weight, std=(2 / known.shape[1]) ** 0.5, generator=generator)
    for weights in (hidden.bias, out.weight, out.bias):
        nn.init.zeros_(weights)
    mlp = nn.Sequential(hidden, nn.ReLU(), out)

    def loss(numbers: Tensor) -> Tensor:
        return F.cross_entropy(mlp(known[numbers]), labels_M[numbers])

    teach(mlp, len(known), loss, options, generator)
    with torch.no_grad():
        said: Tensor = mlp(asked).argmax(1)
    return said


@torch.no_grad()
def _looked(
    net: SimCLRNet,
    squares: NDArray[np.uint8],
    question: str,
    looks: int,
    options: Options,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """(looks · N, width) h, (looks · N, out) g(h), float32 on the CPU, and the answers."""
    device = next(net.parameters()).device
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(looks):
        for rgb in batches(squares):
            seen, labels = changed(rgb.to(device), question, options.strengths, generator)
            x = normalized(seen, net.backbone.channels).contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16):
                h = net.backbone(x)
                g = net.head(h)
            found.append((h.float().cpu(), g.float().cpu(), labels))
    h, g, labels = (torch.cat(parts) for parts in zip(*found, strict=True))
    return h, g, labels
