"""What does each layer know? Linear probes: one linear layer on each tap of a frozen backbone. And what every evaluation of
backbones shares: labeled photographs, frozen features, accuracy.

The protocol of Zhang, Isola & Efros 2016 (figure 4 of Colorful Image Colorization; richzhang/colorization, caffe branch,
feature_learning_tests/linear/train_val.prototxt): each layer's map is resized to as many positions as make about 9,600 numbers of it
(10×10 of AlexNet's 96 channels, 6×6 of 256, 5×5 of 384), each channel is brought to mean 0 and deviation 1 by a batch norm without affine,
and a linear layer tells the classes apart; biases learn twice as fast and have no weight decay. All probes see the same batches, side by
side, in one pass over the photos; none knows of the others. AlexNet's three pools have probes of their own. Goyal et al. 2019 (Scaling and
Benchmarking Self-Supervised Visual Representation Learning, appendix; facebookresearch/fair_self_supervision_benchmark) average over
overlapping windows instead, do without probes on pools, and probe ResNets too.

`small`, `zhang2016` and `goyal2019` are in `PROTOCOLS`, by which commands choose.

Other than there:
- As many positions as give 9,600 numbers *at most*, for any net: of ResNets' 64 channels 12×12, 128 8×8, 512 4×4, 1024 3×3, 2048 2×2. And
  never more than the layer has: what small photos leave of a map is not blown up.
- "bilinear" samples between the four nearest positions, corners not aligned; which way Zhang's Caffe layer has it is not written down.
- "windows" are Goyal's for AlexNet, by one rule that gives all five of them on maps of 55, 27 and 13 positions (see `window`); ours, of
  56, 28 and 14, are larger by a position or two. Those of its ResNets follow the same rule here. "adaptive" averages nearly equal cells
  that hardly overlap.
- Our pool5 is rounded up, 7×7 of 224 pixels, and resized to the paper's 6×6. `small` has no probe on pools.
- Weights begin at zero: the loss is convex, and a run is the same each time.
- Zhang's learning rate and length are not in that file. `zhang2016` has Goyal's: 0.01, a tenth after each 2/7 of 28 epochs, momentum 0.9
  (Nesterov), weight decay 5e-4.

Where photos are shown whole, each layer's numbers are worked out once and kept in 16 bits, if `memory` has room: then the backbone rests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from math import isqrt
from types import MappingProxyType
from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.evaluate.intervals import Bootstrap, Interval, Samples, interval
from model.nets.backbone import Backbone, autocast, normalized
from model.training import building
from model.training.cache import Cache

BATCH = 64


# Photographs and their labels


@dataclass(frozen=True, eq=False)
class Labeled:
    """Square photos, (N, 3, S, S) uint8, and the class of each, (N,) from 0. InputError for none, or not as many."""

    squares: NDArray[np.uint8]
    labels: Tensor

    def __post_init__(self) -> None:
        if not 0 < len(self.squares) == len(self.labels):
            raise InputError(f"{len(self.squares)} photos and {len(self.labels)} labels")


@dataclass(frozen=True, eq=False)
class Split:
    """Photos to train on, photos to test on, and the classes' names."""

    train: Labeled
    test: Labeled
    names: tuple[str, ...]

    def some(self, train: int, test: int) -> Split:
        """At most so many of each, evenly over the classes."""
        few, fewer = (
            subset(of, min(count, len(of.labels)), seed=0)
            for of, count in ((self.train, train), (self.test, test))
        )
        return Split(few, fewer, self.names)


def split(train: Cache, test: Cache) -> Split:
    """InputError where the two do not have the same classes."""
    labels, names = train.labels()
    truth, others = test.labels()
    if names != others:
        raise InputError(
            f"photos to train on and to test on have other classes: {', '.join(sorted(set(names) ^ set(others)))}"
        )
    return Split(Labeled(train.squares, labels), Labeled(test.squares, truth), names)


def balanced(labels_N: Tensor, count: int, seed: int) -> Tensor:
    """(count,) numbers of photos, drawn by seed, as many of each class to within one, unless a class has no more; of two counts, the first
    of the larger's are the smaller's. InputError for more photos than there are."""
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
    """See `balanced`."""
    numbers = balanced(labeled.labels, count, seed)
    return Labeled(labeled.squares[numbers.numpy()], labeled.labels[numbers.to(labeled.labels.device)])


@dataclass(frozen=True, eq=False)
class Correct:
    """Which photos were classified correctly: (N,) in their order, so that nets compare photo by photo."""

    right: NDArray[np.bool_]

    @property
    def accuracy(self) -> Interval:
        """0…1, with its 95% interval by bootstrap over the photos."""
        return cast(Interval, interval(Bootstrap(len(self.right)).means(self.right)))


# Frozen features


def untrained(net: str, seed: int = 0, channels: int = 3) -> Backbone:
    """A backbone without training, drawn by seed: the control of every evaluation. One that learned from lightness, as colorization's does,
    is compared with one of 1 channel: colors alone tell some classes apart."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return building.backbone_of(net, channels).eval()


@contextmanager
def frozen(backbone: Backbone) -> Iterator[None]:
    """Norms in eval mode, no gradients; afterwards all is as it was."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def taps(backbone: Backbone, rgb_N3HW: Tensor) -> dict[str, Tensor]:
    """Each layer's float32 (N, C_l, H_l, W_l) of photos, uint8 or 0…1, on the backbone's device, under `autocast` as in training."""
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
    return x, autocast(device)


# Probes


@dataclass(frozen=True)
class Protocol:
    """How probes are made and trained."""

    photo: int = 128  # pixels: the side of the photos' squares that it is made for
    numbers: int = 9600  # of a layer, at most
    resize: Literal["bilinear", "adaptive", "windows"] = "bilinear"
    pools: bool = False  # of AlexNet probe pool1, pool2 and pool5 too
    crop: int | None = None
    """Pixels: from anywhere, each time elsewhere; the middle in the test; None the whole photo."""
    mirror: bool = True  # half of them, each time others
    epochs: int = 28
    batch: int = 256
    lr: float = 0.01
    drops: tuple[float, ...] = (2 / 7, 4 / 7, 6 / 7)  # shares of the epochs after which it falls to a tenth
    momentum: float = 0.9
    weight_decay: float = 5e-4
    memory: float = 4e9  # bytes

    def lr_at(self, epoch: int) -> float:
        return self.lr * 0.1 ** sum(epoch >= round(drop * self.epochs) for drop in self.drops)


def small() -> Protocol:
    """For photos of 128 pixels, shown whole: each layer's numbers are worked out once."""
    return Protocol()


def zhang2016() -> Protocol:
    """For photos of 256 pixels. See the head of this file."""
    return Protocol(photo=256, crop=227, batch=64, pools=True)


def goyal2019() -> Protocol:
    """For photos of 256 pixels: 140,000 iterations of 256 over ImageNet are 28 epochs."""
    return Protocol(photo=256, resize="windows", crop=224)


PROTOCOLS: Mapping[str, Callable[[], Protocol]] = MappingProxyType(
    {"small": small, "zhang2016": zhang2016, "goyal2019": goyal2019}
)
_POOLS = {"conv1": "pool1", "conv2": "pool2", "conv5": "pool5"}
"""AlexNet's: each a maximum over 3×3 positions in steps of 2, rounded up, as in model/nets/alexnet.py."""


def protocol(name: str) -> Protocol:
    """By its name in `PROTOCOLS`. InputError for a name that does not exist."""
    if name not in PROTOCOLS:
        raise InputError(f"no protocol is called {name!r}: choose one of {', '.join(PROTOCOLS)}")
    return PROTOCOLS[name]()


@dataclass(frozen=True, eq=False)
class Probe(Correct):
    """Of one layer: from how many positions, and numbers in all, it classified."""

    positions: int
    numbers: int


class Head(nn.Module):
    """Of one layer: a norm, and a linear layer that begins at zero."""

    def __init__(self, x_NCHW: Tensor, classes: int) -> None:
        super().__init__()
        _, channels, height, width = x_NCHW.shape
        self.positions = height * width
        # In the test by the mean of all batches, as Caffe: a running one would still hold some of 0 and 1 after few steps.
        self.norm = nn.BatchNorm2d(channels, momentum=None, affine=False)
        self.linear = nn.Linear(channels * height * width, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.norm(x_NCHW).flatten(1))
        return logits


Rights = Mapping[str, NDArray[np.bool_]]
"""By layer: (seeds, N) which photographs each seed's probe classified correctly."""


def by_layer(
    make_backbone: Callable[[int], Backbone], seen: Split, seeds: Sequence[int], protocol: Protocol
) -> Rights:
    """From bottom to top, of each layer, and pool if the protocol has them. A seed orders the photos that probes learn from, and goes to
    `make_backbone`, which of a trained net gives always the same, and of an untrained one a draw for each."""
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for seed in seeds:
        for layer, one in probe(make_backbone(seed), seen.train, seen.test, protocol, seed).items():
            found.setdefault(layer, []).append(one.right)
    return {layer: np.stack(right) for layer, right in found.items()}


def best(found: Rights) -> str:
    """The layer with the highest mean accuracy. It is chosen by the judged photographs themselves, which flatters a net, but every net
    alike, the untrained one too; its interval does not know of the choice."""
    return max(found, key=lambda layer: float(found[layer].mean()))


def samples(found: Rights, seed: int = 1) -> Samples:
    """(1 + RESAMPLES,) of the best layer's accuracy, 0…1, the mean over seeds. Drawn anew are the photographs, for every net alike, so
    that the difference of two is paired, and the seeds, by `seed`, for each net by itself; those of few seeds vary too little."""
    right_SN = found[best(found)]
    count, photos = right_SN.shape
    of_seeds = Bootstrap(count, seed).times / count
    drawn: Samples = (Bootstrap(photos).means(right_SN.T) * of_seeds).sum(1)
    return drawn


def above(trained: Rights, control: Rights) -> Samples:
    """By how much the best layer of one net is better than that of another: see `samples`."""
    difference: Samples = samples(trained) - samples(control, seed=2)
    return difference


def probe(
    backbone: Backbone, train: Labeled, test: Labeled, protocol: Protocol, seed: int = 0
) -> dict[str, Probe]:
    """A probe a layer, from bottom to top, trained and tested."""
    return evaluate(backbone, fit(backbone, train, protocol, seed), test, protocol)


def fit(backbone: Backbone, train: Labeled, protocol: Protocol, seed: int = 0) -> dict[str, Head]:
    """A head a layer, for the classes from 0 to the highest label. InputError for crops larger than photos."""
    generator = torch.Generator().manual_seed(seed)
    view = partial(_seen, backbone, protocol)
    with frozen(backbone):
        example = view(_middle(next(batches(train.squares, 1)), protocol.crop))
        device = next(iter(example.values())).device
        labels = train.labels.to(device)
        heads = {layer: Head(x, int(labels.max()) + 1).to(device) for layer, x in example.items()}
        groups = [
            {
                "params": [head.linear.weight for head in heads.values()],
                "weight_decay": protocol.weight_decay,
            },
            {"params": [head.linear.bias for head in heads.values()], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.SGD(groups, protocol.lr, protocol.momentum, nesterov=True)
        features = _features(view, train.squares, protocol, example, generator)
        whole = max(len(labels) // protocol.batch, 1) * protocol.batch
        for epoch in range(protocol.epochs):
            for group, factor in zip(optimizer.param_groups, (1, 2), strict=True):
                group["lr"] = factor * protocol.lr_at(epoch)
            order = torch.randperm(len(labels), generator=generator)[:whole]
            for numbers in torch.split(order, protocol.batch):
                seen = features(numbers)
                with torch.enable_grad():
                    # Together: no probe's weights have a part in another's loss.
                    losses = [F.cross_entropy(heads[layer](x), labels[numbers]) for layer, x in seen.items()]
                    optimizer.zero_grad()
                    torch.autograd.backward(losses)
                optimizer.step()
    return heads


def evaluate(
    backbone: Backbone, heads: Mapping[str, Head], test: Labeled, protocol: Protocol
) -> dict[str, Probe]:
    """What each head classifies correctly."""
    view = partial(_seen, backbone, protocol)
    right: dict[str, list[Tensor]] = {layer: [] for layer in heads}
    with frozen(backbone):
        for rgb, labels in zip(batches(test.squares), torch.split(test.labels.cpu(), BATCH), strict=True):
            for layer, x in view(_middle(rgb, protocol.crop)).items():
                right[layer].append(heads[layer].eval()(x).argmax(1).cpu() == labels)
    return {
        layer: Probe(torch.cat(right[layer]).numpy(), head.positions, head.linear.in_features)
        for layer, head in heads.items()
    }


def _seen(backbone: Backbone, protocol: Protocol, rgb_N3HW: Tensor) -> dict[str, Tensor]:
    """Each layer's (n, C_l, h_l, w_l) numbers, float32, on the backbone's device."""
    found = taps(backbone, rgb_N3HW)
    if protocol.pools and _POOLS.keys() <= found.keys():
        found = _with_pools(found)
    return {layer: _resized(x_NCHW, protocol) for layer, x_NCHW in found.items()}


def _with_pools(found: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each pool after the layer that it reduces."""
    both: dict[str, Tensor] = {}
    for layer, x_NCHW in found.items():
        both[layer] = x_NCHW
        if layer in _POOLS:
            both[_POOLS[layer]] = F.max_pool2d(x_NCHW, 3, 2, ceil_mode=True)
    return both


def _resized(x_NCHW: Tensor, protocol: Protocol) -> Tensor:
    _, channels, height, width = x_NCHW.shape
    size = positions(channels, height, width, protocol.numbers)
    match protocol.resize:
        case "adaptive":
            return F.adaptive_avg_pool2d(x_NCHW, size)
        case "windows":
            (tall, down), (wide, across) = window(height, size[0]), window(width, size[1])
            return F.avg_pool2d(x_NCHW, (tall, wide), (down, across))
        case "bilinear":
            return F.interpolate(x_NCHW, size, mode="bilinear", align_corners=False)


def positions(channels: int, height: int, width: int, numbers: int = 9600) -> tuple[int, int]:
    """Of a layer, (rows, columns) to which it is resized."""
    side = max(isqrt(numbers // channels), 1)
    return min(side, height), min(side, width)


def window(size: int, count: int) -> tuple[int, int]:
    """(width, step) of `count` windows that cover `size` positions: as wide as three steps at least, where there is room.

    On AlexNet's maps (55 positions to 10, 27 to 6, 13 to 5 and to 6) these are the windows of Goyal et al.: 19 in steps of 4, 12 of 3,
    9 of 1 and 8 of 1.
    """
    step = max(1, size // (count + 2))
    return size - step * (count - 1), step


def _features(
    view: Callable[[Tensor], dict[str, Tensor]],
    squares: NDArray[np.uint8],
    protocol: Protocol,
    example: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Callable[[Tensor], dict[str, Tensor]]:
    """What gives each layer's numbers of the photos of these numbers: from memory, or by another look at them."""
    sides = 2 if protocol.mirror else 1

    def look(numbers: Tensor) -> dict[str, Tensor]:
        rgb = torch.from_numpy(squares[numbers.numpy()])
        mirrored = torch.randint(sides, (len(numbers),), generator=generator).bool()
        rgb = _crops(rgb, protocol.crop, generator)
        return view(torch.where(mirrored[:, None, None, None], rgb.flip(3), rgb))

    wanted = 2 * sides * len(squares) * sum(x.numel() for x in example.values())
    if protocol.crop is not None or wanted > protocol.memory:
        return look

    kept = {
        layer: torch.empty(sides, len(squares), *x.shape[1:], dtype=torch.float16)
        for layer, x in example.items()
    }
    for number, rgb in enumerate(batches(squares)):
        for side in range(sides):
            for layer, x in view(rgb.flip(3) if side else rgb).items():
                kept[layer][side, number * BATCH :][: len(rgb)] = x
    for layer, x in kept.items():
        if not x.isfinite().all():
            raise InputError(
                f"{layer} has numbers that 16 bits do not hold: a memory of 0 works them out each time"
            )

    def remember(numbers: Tensor) -> dict[str, Tensor]:
        side = torch.randint(sides, (len(numbers),), generator=generator)
        return {layer: x[side, numbers].to(example[layer].device).float() for layer, x in kept.items()}

    return remember


def _crops(rgb_N3SS: Tensor, side: int | None, generator: torch.Generator) -> Tensor:
    """Each photo's own square, from anywhere."""
    if side is None:
        return rgb_N3SS
    spare = _spare(rgb_N3SS, side)
    corners = torch.randint(spare + 1, (len(rgb_N3SS), 2), generator=generator).tolist()
    return torch.stack(
        [rgb[:, y : y + side, x : x + side] for rgb, (y, x) in zip(rgb_N3SS, corners, strict=True)]
    )


def _middle(rgb_N3SS: Tensor, side: int | None) -> Tensor:
    if side is None:
        return rgb_N3SS
    corner = _spare(rgb_N3SS, side) // 2
    return rgb_N3SS[:, :, corner : corner + side, corner : corner + side]


def _spare(rgb_N3SS: Tensor, side: int) -> int:
    if side > rgb_N3SS.shape[-1]:
        raise InputError(f"photos of {rgb_N3SS.shape[-1]} pixels have no crops of {side}")
    return rgb_N3SS.shape[-1] - side
