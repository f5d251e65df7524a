"""What is a backbone worth as a start? A copy of it with a linear head is taught from labels, all of it or its upper layers, and judged.

Fine-tuning as in Chen et al. 2020 (SimCLR, appendix B.5 and B.8): a linear layer over the mean of the last layer, random crops, mirrored
half of the time; photos are judged whole. Of photos that hold several things, VOC2007's, each class is asked for apart, and 11-point
average precision says how well. Label-efficiency curves as in Newell & Deng 2020, who teach as long for few labels as for many.

Other than there:
- Adam as in Newell & Deng, not momentum; the head begins without a preference, over features brought to mean 0 and deviation 1, so that
  short lessons do not spend themselves on finding their scale. Norms keep the mean of what they saw last, as in training.
- SimCLR crops as in pretraining, from 8% of a photo on; ours take a quarter at least.
- A budget for one core: 200 steps of 32 photos of 96 pixels, and 1,000 judged, are with AlexNet in bf16 some 23 seconds, and a curve of
  five counts and three seeds six minutes. Newell & Deng's lessons are of 4,000 steps and more, until nothing more is learned. Shorter ones
  flatter any start: AlexNet from scratch is right of 35% after 50 steps with 900 labels, of 49% after 200. A curve says what a start is
  worth to those who have as little time as it had; for their question set `steps` higher.
- Labels are drawn evenly over classes, whatever the classes' shares, and what is drawn for fewer is part of what is drawn for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.features import Judged, Labeled, batches
from model.evaluate.intervals import Interval, interval
from model.evaluate.precision import DIFFICULT, PRESENT, average_precision, mean_average_precision
from model.evaluate.tuning import Lesson, copied, teach
from model.evaluate.utility import Curve
from model.nets.backbone import Backbone, normalized
from model.training import augment


@dataclass(frozen=True)
class Options(Lesson):
    """How a backbone goes on learning. `steps` are the same for any number of labels."""

    rate: float = 3e-4
    side: int = 96  # of what the net sees, in pixels
    area: tuple[float, float] = (0.25, 1.0)  # of a crop, as a share of the photo
    frozen: int = 0  # layers, from the bottom, that stay as they are

    @property
    def strengths(self) -> augment.Strengths:
        return augment.Strengths(self.side, area=self.area)


@dataclass(frozen=True, eq=False)
class Tagged:
    """Square photos, (N, 3, S, S) uint8, and what each holds, (N, classes) of PRESENT, DIFFICULT, ABSENT. ValueError for none, or not as
    many."""

    squares: NDArray[np.uint8]
    truth: NDArray[np.int8]

    def __post_init__(self) -> None:
        if not 0 < len(self.squares) == len(self.truth):
            raise InputError(f"{len(self.squares)} photos and tags of {len(self.truth)}")


@dataclass(frozen=True, eq=False)
class Ranked:
    """How sure the net is of each class, (N, classes), of the photos in order; and what they hold."""

    scores: NDArray[np.float32]
    truth: NDArray[np.int8]

    @property
    def precision(self) -> Interval | None:
        """Mean 11-point average precision, 0…1, with its 95% interval by bootstrap over the photos; None where no class is present."""
        return interval(mean_average_precision(self.scores, self.truth))

    def by_class(self) -> list[float]:
        """NaN for a class that is not present."""
        pairs = zip(self.scores.T, self.truth.T, strict=True)
        return [float(average_precision(scores, truth)[0]) for scores, truth in pairs]


def classify(backbone: Backbone, taught: Labeled, judged: Labeled, options: Options, seed: int = 0) -> Judged:
    """One class a photo, by cross-entropy. The backbone given stays as it is."""
    labels = taught.labels.to(_device(backbone))
    classes = int(max(taught.labels.max(), judged.labels.max())) + 1

    def loss(logits_NC: Tensor, numbers: Tensor) -> Tensor:
        return F.cross_entropy(logits_NC, labels[numbers])

    logits_NC = _tuned(backbone, taught.squares, judged.squares, classes, loss, options, seed)
    return Judged((logits_NC.argmax(1) == judged.labels.cpu()).numpy())


def tag(backbone: Backbone, taught: Tagged, judged: Tagged, options: Options, seed: int = 0) -> Ranked:
    """Any number of classes a photo, by binary cross-entropy; what is difficult to see is not taught. The backbone given stays as it is."""
    truth_NC = torch.from_numpy(taught.truth).to(_device(backbone))

    def loss(logits_NC: Tensor, numbers: Tensor) -> Tensor:
        return tagging_loss(logits_NC, truth_NC[numbers])

    classes = taught.truth.shape[1]
    logits_NC = _tuned(backbone, taught.squares, judged.squares, classes, loss, options, seed)
    return Ranked(logits_NC.numpy(), judged.truth)


def tagging_loss(logits_NC: Tensor, truth_NC: Tensor) -> Tensor:
    """Mean binary cross-entropy, in nats, over classes and photos, without those marked DIFFICULT; 0 where all are."""
    counted = (truth_NC != DIFFICULT).float()
    wanted = (truth_NC == PRESENT).float()
    total = F.binary_cross_entropy_with_logits(logits_NC, wanted, counted, reduction="sum")
    return total / counted.sum().clamp_min(1)


# Few labels


def chosen(labels_N: Tensor, count: int, seed: int) -> Tensor:
    """(count,) numbers of photos, drawn by seed, as many of each class to within one, unless a class has no more; of two counts, the first
    of the larger's are the smaller's. ValueError for more photos than there are."""
    if not 0 < count <= len(labels_N):
        raise InputError(f"{count} labels of {len(labels_N)} photos")
    labels = labels_N.cpu()
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    rank = torch.empty_like(shuffled)  # of a photo in its class
    for kind in range(int(labels.max()) + 1):
        own = shuffled[labels[shuffled] == kind]
        rank[own] = torch.arange(len(own))
    # The first of each class, then the second of each: within a round in the order of the shuffle, so that no class comes first.
    return shuffled[rank[shuffled].argsort(stable=True)][:count]


def subset(labeled: Labeled, count: int, seed: int) -> Labeled:
    """See `chosen`."""
    numbers = chosen(labeled.labels, count, seed)
    return Labeled(labeled.squares[numbers.numpy()], labeled.labels[numbers.to(labeled.labels.device)])


def efficiency(
    make_backbone: Callable[[int], Backbone],
    taught: Labeled,
    judged: Labeled,
    counts: Sequence[int],
    seeds: Sequence[int],
    options: Options,
    done: dict[tuple[int, int], float] | None = None,
    keep: Callable[[int, int, float], None] = lambda count, seed, accuracy: None,
) -> Curve:
    """Accuracy by how many labels are given, a row each seed: it draws the labels, and orders them, and goes to `make_backbone`, which of a
    pretrained net gives always the same.

    What `done` has by (count, seed) is not worked out again; what is worked out goes into it, and to `keep`, at once. Seed by seed, so that
    whoever stops has whole curves. ValueError where counts are more than there are photos.
    """
    done = {} if done is None else done
    if max(counts) > len(taught.labels):
        raise InputError(f"{max(counts)} labels of {len(taught.labels)} photos")
    for count, seed in _missing(counts, seeds, done):
        right = classify(make_backbone(seed), subset(taught, count, seed), judged, options, seed).right
        done[count, seed] = float(right.mean())
        keep(count, seed, done[count, seed])
    return Curve.of({count: [done[count, seed] for seed in seeds] for count in counts})


def _missing(
    counts: Sequence[int], seeds: Sequence[int], done: dict[tuple[int, int], float]
) -> Iterator[tuple[int, int]]:
    return ((count, seed) for seed in seeds for count in sorted(counts) if (count, seed) not in done)


# A backbone and its head


def _tuned(
    backbone: Backbone,
    taught: NDArray[np.uint8],
    judged: NDArray[np.uint8],
    classes: int,
    loss: Callable[[Tensor, Tensor], Tensor],
    options: Options,
    seed: int,
) -> Tensor:
    """(N, classes) float32 on the CPU: what a copy of the backbone, taught, says of the judged."""
    generator = torch.Generator().manual_seed(seed)
    device = _device(backbone)
    head = nn.Linear(backbone.width, classes)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    norm = nn.BatchNorm1d(backbone.width, affine=False)
    net = nn.Sequential(copied(backbone, options.frozen), norm.to(device), head.to(device))
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def said(rgb_N3SS: Tensor, step: str) -> Tensor:
        seen = augment.augmented(rgb_N3SS.to(device), (step,), options.strengths, generator)
        x = normalized(seen, backbone.channels).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device.type, torch.bfloat16):
            return cast(Tensor, net(x)).float()

    def batch_loss(numbers: Tensor) -> Tensor:
        return loss(said(torch.from_numpy(taught[numbers.numpy()]), "crop and flip"), numbers.to(device))

    teach(net, len(taught), batch_loss, options, generator)
    net.eval()
    with torch.no_grad():
        return torch.cat([said(rgb, "whole").cpu() for rgb in batches(judged)])


def _device(backbone: Backbone) -> torch.device:
    return next(backbone.parameters()).device
