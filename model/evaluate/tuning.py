"""A lesson of a fixed number of steps, for whatever an evaluation has to teach: a copy of a backbone with a head, or a head alone.

Adam with decoupled decay (Loshchilov & Hutter 2019), which norms and biases are spared; the rate rises over the first steps and falls by
half a cosine to 0. A lesson is as long for ten photos as for ten thousand: few are seen again and again, each as often as any other.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.errors import InputError
from model.nets.backbone import Backbone
from model.training.optim import cosine


@dataclass(frozen=True)
class Lesson:
    """How much is taught, and how fast."""

    steps: int = 200
    batch: int = 32
    rate: float = 1e-3
    decay: float = 1e-4
    warmup: float = 0.1  # share of the steps over which the rate rises

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise InputError(f"{self.steps} steps of {self.batch} photos are no lesson: norms want 2")


def copied(backbone: Backbone, frozen: int = 0) -> Backbone:
    """A copy that learns, but for this many layers from the bottom, norms included. ValueError for more layers than there are."""
    if not 0 <= frozen <= len(backbone.layers):
        raise InputError(f"a backbone of {len(backbone.layers)} layers cannot keep {frozen} as they are")
    copy = deepcopy(backbone).train().requires_grad_(True)
    for layer in backbone.layers[:frozen]:
        copy.get_submodule(layer).eval().requires_grad_(False)
    return copy


def teach(
    net: nn.Module, photos: int, loss: Callable[[Tensor], Tensor], lesson: Lesson, generator: torch.Generator
) -> None:
    """Lower the loss of batches, given as the (batch,) numbers of their photos. What learns, and how norms count, is as in `net`."""
    learning = [weights for weights in net.parameters() if weights.requires_grad]
    groups = [
        {"params": [weights for weights in learning if weights.ndim > 1], "weight_decay": lesson.decay},
        {"params": [weights for weights in learning if weights.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lesson.rate, fused=True)
    warmup = round(lesson.warmup * lesson.steps)
    for step, numbers in enumerate(order(photos, lesson, generator)):
        for group in optimizer.param_groups:
            group["lr"] = lesson.rate * cosine(step, lesson.steps, warmup)
        optimizer.zero_grad()
        loss(numbers).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def order(photos: int, lesson: Lesson, generator: torch.Generator) -> Tensor:
    """(steps, batch) numbers of photos: all are seen before one is seen again."""
    wanted = lesson.steps * lesson.batch
    rounds = [torch.randperm(photos, generator=generator) for _ in range(-(-wanted // photos))]
    return torch.cat(rounds)[:wanted].view(lesson.steps, lesson.batch)
