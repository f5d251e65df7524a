"""Fine-tuning for a fixed number of steps: a copy of a backbone with a head, or a head alone.

Adam with decoupled weight decay (Loshchilov & Hutter 2019), of which norms and biases are spared; the learning rate rises over the first
steps and falls by half a cosine to 0. It takes as many steps for ten photos as for ten thousand: few are seen again and again, each as
often as any other.

Classes of photos as in Chen et al. 2020 (SimCLR, appendix B.5 and B.8): a linear layer over the mean of the last layer, random crops,
mirrored half of the time; in the test photos are seen whole. Other than there:
- Adam as in Newell & Deng 2020, not momentum; the head begins at zero, over features brought to mean 0 and deviation 1, so that few steps
  are not spent on finding their scale. Norms keep the mean of what they saw last, as in training.
- SimCLR crops as in pretraining, from 8% of a photo on; ours take a quarter at least.
- A budget for one core: 200 steps of 32 photos of 96 pixels, and 1,000 tested, are with AlexNet in bf16 some 23 seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.probes import Correct, Labeled, batches
from model.nets.backbone import Backbone, autocast, normalized
from model.training import augment
from model.training.optim import cosine


@dataclass(frozen=True)
class FineTuning:
    """How long, and how fast."""

    steps: int = 200
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 1e-4
    warmup: float = 0.1  # share of the steps over which the learning rate rises

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 2:
            raise InputError(
                f"fine-tuning takes 1 step and 2 photos at least, not {self.steps} steps of {self.batch} photos"
            )


@dataclass(frozen=True)
class Options(FineTuning):
    """How a backbone is fine-tuned to classes. `steps` are the same for any number of labels."""

    lr: float = 3e-4
    side: int = 96  # of what the net sees, in pixels
    area: tuple[float, float] = (0.25, 1.0)  # of a crop, as a share of the photo
    frozen: int = 0  # layers, from the bottom, that stay as they are

    @property
    def strengths(self) -> augment.Strengths:
        return augment.Strengths(self.side, area=self.area)


def classify(backbone: Backbone, train: Labeled, test: Labeled, options: Options, seed: int = 0) -> Correct:
    """One class a photo, by cross-entropy. The backbone given stays as it is."""
    labels = train.labels.to(next(backbone.parameters()).device)
    classes = int(max(train.labels.max(), test.labels.max())) + 1

    def loss(logits_NC: Tensor, numbers: Tensor) -> Tensor:
        return F.cross_entropy(logits_NC, labels[numbers])

    logits_NC = predict(backbone, train.squares, test.squares, classes, loss, options, seed)
    return Correct((logits_NC.argmax(1) == test.labels.cpu()).numpy())


def predict(
    backbone: Backbone,
    train: NDArray[np.uint8],
    test: NDArray[np.uint8],
    classes: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    options: Options,
    seed: int,
) -> Tensor:
    """(N, classes) logits for the test, float32 on the CPU, of a copy of the backbone; `loss` is given logits and numbers of photos."""
    generator = torch.Generator().manual_seed(seed)
    device = next(backbone.parameters()).device
    head = nn.Linear(backbone.width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    norm = nn.BatchNorm1d(backbone.width, affine=False)
    net = nn.Sequential(copied(backbone, options.frozen), norm.to(device), head.to(device))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def logits(rgb_N3SS: Tensor, step: str) -> Tensor:
        seen = augment.augmented(rgb_N3SS.to(device), (step,), options.strengths, generator)
        x = normalized(seen, backbone.channels).contiguous(memory_format=torch.channels_last)
        with autocast(device):
            return cast(Tensor, net(x)).float()

    def batch_loss(numbers: Tensor) -> Tensor:
        return loss(logits(torch.from_numpy(train[numbers.numpy()]), "crop and flip"), numbers.to(device))

    fit(net, len(train), batch_loss, options, generator)
    net.eval()
    with torch.no_grad():
        return torch.cat([logits(rgb, "whole").cpu() for rgb in batches(test)])


def copied(backbone: Backbone, frozen: int = 0) -> Backbone:
    """A trainable copy, but for this many layers from the bottom, norms included. InputError for more layers than there are."""
    if not 0 <= frozen <= len(backbone.layers):
        raise InputError(f"a backbone of {len(backbone.layers)} layers cannot keep {frozen} as they are")
    copy = deepcopy(backbone).train().requires_grad_(True)
    for layer in backbone.layers[:frozen]:
        copy.get_submodule(layer).eval().requires_grad_(False)
    return copy


def fit(
    net: nn.Module,
    photos: int,
    loss: Callable[[Tensor], Tensor],
    options: FineTuning,
    generator: torch.Generator,
) -> None:
    """Lower the loss of batches, given as the (batch,) numbers of their photos. Frozen weights and norms in eval mode stay as they are."""
    trained = [weights for weights in net.parameters() if weights.requires_grad]
    groups = [
        {
            "params": [weights for weights in trained if weights.ndim > 1],
            "weight_decay": options.weight_decay,
        },
        {"params": [weights for weights in trained if weights.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], options.lr, fused=True)
    warmup = round(options.warmup * options.steps)
    for step, numbers in enumerate(order(photos, options, generator)):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * cosine(step, options.steps, warmup)
        optimizer.zero_grad()
        loss(numbers).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def order(photos: int, options: FineTuning, generator: torch.Generator) -> Tensor:
    """(steps, batch) numbers of photos: all are seen before one is seen again."""
    wanted = options.steps * options.batch
    rounds = [torch.randperm(photos, generator=generator) for _ in range(-(-wanted // photos))]
    return torch.cat(rounds)[:wanted].view(options.steps, options.batch)
