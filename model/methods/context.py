"""Learning from where things are: Doersch, Gupta & Efros, "Unsupervised Visual Representation Learning by Context Prediction", ICCV 2015.

https://arxiv.org/abs/1505.05192. The view cuts grids of patches out of photos, with gaps and jitter between them (section 3); the net says
of each pair of neighbors in which of eight directions the second lies of the first. A patch is encoded once, whatever the number of its
pairs: pairs are made by index, as in the authors' code (https://github.com/cdoersch/deepcontext, train.py).

What keeps the net from answering by low-level cues (section 3.1): a gap and jitter, so that no line goes on from patch to patch; against
chromatic aberration, which reveals a patch's place in the photo, two of three color channels are dropped, or green and magenta projected
to gray; and some patches are pixelated, as sharpness reveals it too.

Other than in the paper or the code:
- Under several processes all cut grids of one size, the first one's draw, and `most_patches` is of all their photos together: each
  process cuts the grids of its own photos that one process would have cut of them. Its loss counts by its pairs.
- With `accumulate` each part of a batch has a cap of its own, and parts weigh by their photos, not their pairs.
- Grids have as many rows as columns, and as many as fit; in the code they begin anywhere in a pitch, and some have a row less.
- All photos of a batch are square and of one size, drawn anew each time where the recipe draws it; in the code each has its own.
- Dropped channels become Gaussian noise, of 1/100 of the kept one's deviation, as in the paper; the code's is uniform, a gray level wide.
- Pixelation averages over the area that a pixel takes; the code's interpolates.
- Means and the RMS are taken of each patch, as in the code; its unit is 1, that of `normalized`, and not 50.
- The loss is a mean over pairs; the code's is a sum, at an lr of 1e-5. The optimizer is the configuration's: the paper says momentum
  .999, the code's template 0.
- The backbone is the caller's, with its own norms; its last layer is pooled to 3×3 cells, which is what pool5 has in the code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.methods import Method
from model.nets.backbone import Backbone, autocast, normalized
from model.training import distributed
from model.training.batches import Batch

DIRECTIONS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""Label k: by how many rows down and columns to the right the second patch of a pair lies of the first."""

Colors = Literal["keep", "drop", "project"]
_NOISE = 0.01  # of the kept channel's deviation
_CELLS = 3  # rows and columns of the backbone's last layer that fc6 sees


@dataclass(frozen=True)
class ContextOptions:
    """All that decides what the net is shown and what it is to answer; lengths in pixels."""

    patch: int
    gap: int
    jitter: int  # at most this much, either way, on each axis
    grids: int  # of each photo
    most_patches: int  # in a batch, over all processes: grids beyond are not cut; each photo gets its first before any gets its second
    pixels: (
        tuple[int, int] | None
    )  # photos are resized to so many, drawn between these; None: they are taken as they are
    colors: Colors
    pixelated: float  # the share of patches
    fewest: int  # pixels that a pixelated patch may be left with
    hidden: int  # units of fc6, fc7 and fc8

    def __post_init__(self) -> None:
        if self.colors not in get_args(Colors):
            raise InputError(f"colors is {self.colors!r}: choose one of {', '.join(get_args(Colors))}")
        if self.gap < 2 * self.jitter:
            raise InputError(f"a jitter of {self.jitter} lets patches touch across a gap of {self.gap}")
        if self.pixelated and not 1 <= self.fewest < self.patch**2:
            raise InputError(
                f"a patch of {self.patch}×{self.patch} cannot be reduced to {self.fewest} pixels"
            )

    def rows(self, side: int) -> int:
        """Rows, and columns, of a grid that fit into a photo of this side. Raises InputError where there is no pair."""
        rows = (side + self.gap) // (self.patch + self.gap)
        if rows < 2:
            raise InputError(
                f"a photo of {side} pixels holds no two patches of {self.patch} with a gap of {self.gap}"
            )
        if rows**2 > self.most_patches:
            raise InputError(
                f"a grid of {rows}×{rows} patches is more than a batch holds: {self.most_patches}"
            )
        return rows


def doersch2015() -> ContextOptions:
    """The paper's constants, where it gives them, and else those of the code. For photos of 400 pixels and more."""
    return ContextOptions(
        patch=96,
        gap=48,
        jitter=7,
        grids=4,
        most_patches=512,
        pixels=(150_000, 450_000),
        colors="drop",
        pixelated=0.33,
        fewest=100,
        hidden=4096,
    )


def small() -> ContextOptions:
    """For photos of 160 pixels: grids of 2×2, in which the four straight directions are twice as frequent as the oblique ones."""
    return ContextOptions(
        patch=48,
        gap=24,
        jitter=4,
        grids=2,
        most_patches=512,
        pixels=None,
        colors="drop",
        pixelated=0.33,
        fewest=100,
        hidden=1024,
    )


class Context(Method):
    """A backbone that learns where patches lie relative to each other."""

    net: ContextNet

    def __init__(self, backbone: Backbone, options: ContextOptions) -> None:
        self.net = ContextNet(backbone, options.hidden)
        self.options = options

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean cross-entropy over pairs, in nats: ln 8 = 2.08 for a net that guesses, 2.02 if it knows a 2×2 grid's directions apart.

        Of several processes the mean of their losses is the mean over all pairs, as DistributedDataParallel has it of their gradients.
        """
        logits_K8, labels_K = self.answers(batch.pixels, generator)
        loss = F.cross_entropy(logits_K8, labels_K)
        return loss * _weight(len(labels_K), loss) if distributed.place()[1] > 1 else loss

    def answers(self, rgb_N3HW: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Float32 logits (K, 8) and int64 labels (K) of the pairs cut out of photos: uint8, or float 0…1, all square and of one size."""
        patches_P3HW, rows = cut(rgb_N3HW, self.options, generator)
        seen = prepared(patches_P3HW, self.options, generator, self.net.backbone.channels)
        first, second, labels = (index.to(seen.device) for index in pairs(rows, len(patches_P3HW) // rows**2))
        with autocast(seen.device):
            logits: Tensor = self.net(seen.contiguous(memory_format=torch.channels_last), first, second)
        return logits.float(), labels


class ContextNet(nn.Module):
    """A backbone and the head over its last layer."""

    def __init__(self, backbone: Backbone, hidden: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, Head(backbone.width, hidden)

    def forward(self, patches_PCHW: Tensor, first_K: Tensor, second_K: Tensor) -> Tensor:
        """(K, 8) logits: patch number first_K[k] and its neighbor, number second_K[k]."""
        logits: Tensor = self.head(
            self.backbone.taps(patches_PCHW)[self.backbone.layers[-1]], first_K, second_K
        )
        return logits


class Head(nn.Module):
    """fc6 of each patch, and of the two of a pair side by side fc7, fc8 and fc9 (figure 3; norms without scale and shift).

    fc7's weights for the first patch and for the second are kept apart, and multiplied with each patch before they are added in pairs:
    the same sum, for as many products as there are patches, and a patch has up to 16 pairs.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc6 = nn.Linear(width * _CELLS**2, hidden, bias=False)
        self.norm6 = nn.BatchNorm1d(hidden, affine=False)
        self.fc7_first = nn.Linear(hidden, hidden, bias=False)
        self.fc7_second = nn.Linear(hidden, hidden, bias=False)
        self.norm7 = nn.BatchNorm1d(hidden, affine=False)
        self.fc8 = nn.Linear(hidden, hidden)
        self.fc9 = nn.Linear(hidden, len(DIRECTIONS))

    def forward(self, features_PCHW: Tensor, first_K: Tensor, second_K: Tensor) -> Tensor:
        pooled = F.adaptive_max_pool2d(features_PCHW, _CELLS).flatten(1)
        encoded = F.relu(self.norm6(self.fc6(pooled)))
        pair = self.fc7_first(encoded)[first_K] + self.fc7_second(encoded)[second_K]
        logits: Tensor = self.fc9(F.relu(self.fc8(F.relu(self.norm7(pair)))))
        return logits


def cut(rgb_N3HW: Tensor, options: ContextOptions, generator: torch.Generator) -> tuple[Tensor, int]:
    """(P, 3, patch, patch) float32 patches in 0…1, grid after grid, row after row; and how many rows, and columns, a grid has.

    Grid g is of photo g mod N. Photos are this process's, every `world`-th of the batch's, as `batches.Batches` deals them, and as many as
    any other's; all processes must call it. Raises InputError for photos that are not square, or too small for a pair, and for more
    processes than grids.
    """
    count, _, side, width = rgb_N3HW.shape
    if side != width:
        raise InputError(f"photos are {width}×{side} pixels, and must be square")
    photos = rgb_N3HW
    if options.pixels:
        least, most = options.pixels
        draw = torch.rand(1, generator=generator).to(rgb_N3HW.device)
        # Of several processes the first one's draw: with grids of several sizes they could not share one cap.
        side = round((least + (most - least) * float(distributed.gathered(draw)[0])) ** 0.5)
        photos = F.interpolate(_unit(photos), (side, side), mode="bilinear", antialias=True)
    rows = options.rows(side)
    grids = _own_grids(count, rows, options)
    corners = corners_of(grids, side, options, generator).flatten(0, 1).to(photos.device)
    photo = (torch.arange(grids, device=photos.device) % count).repeat_interleave(rows**2)
    within = torch.arange(options.patch, device=photos.device)
    y, x = (corners[:, None] + within[:, None]).unbind(-1)
    patches_PHW3 = photos[photo[:, None, None], :, y[:, :, None], x[:, None, :]]
    return _unit(patches_PHW3.permute(0, 3, 1, 2)), rows


def _own_grids(count: int, rows: int, options: ContextOptions) -> int:
    """How many grids this process cuts of its `count` photos, so that all processes together cut no more than the cap."""
    rank, world = distributed.place()
    grids = min(world * count * options.grids, options.most_patches // rows**2)
    if grids < world:
        raise InputError(
            f"{options.most_patches} patches are {grids} grids of {rows}×{rows}, for {world} processes"
        )
    # Those of grids 0, 1, 2… whose photo, g modulo the batch, this process has: every world-th.
    return len(range(rank, grids, world))


def _weight(pairs: int, like: Tensor) -> Tensor:
    """This process's pairs over the mean of all processes'."""
    counts = distributed.gathered(torch.tensor([float(pairs)], device=like.device))
    return pairs / counts.mean()


def corners_of(grids: int, side: int, options: ContextOptions, generator: torch.Generator) -> Tensor:
    """(grids, rows², 2): where patches begin, as (y, x) in a photo of this side: a grid anywhere in it, each patch jittered, within it."""
    pitch, rows = options.patch + options.gap, options.rows(side)
    slack = side + options.gap - rows * pitch
    start = torch.randint(slack + 1, (grids, 1, 2), generator=generator)
    cells = torch.cartesian_prod(torch.arange(rows), torch.arange(rows))
    reach = options.jitter
    jitter = torch.randint(-reach, reach + 1, (grids, rows**2, 2), generator=generator)
    return (start + cells * pitch + jitter).clamp(0, side - options.patch)


def pairs(rows: int, grids: int) -> tuple[Tensor, Tensor, Tensor]:
    """All neighbors in grids of rows×rows patches, numbered as `cut` gives them: first (K), second (K) and label (K), int64.

    Each two neighbors are two pairs, one either way; K = grids · 4 (rows − 1) (2 rows − 1).
    """
    cell = torch.arange(rows**2).view(rows, rows)
    found = []
    for label, (down, right) in enumerate(DIRECTIONS):
        second = cell[max(0, down) : rows + min(0, down), max(0, right) : rows + min(0, right)].flatten()
        first = second - down * rows - right
        found.append(torch.stack([first, second, torch.full_like(first, label)]))
    first, second, labels = torch.cat(found, 1)
    offset = torch.arange(grids)[:, None] * rows**2
    return (offset + first).flatten(), (offset + second).flatten(), labels.repeat(grids)


def prepared(
    patches_P3HW: Tensor, options: ContextOptions, generator: torch.Generator, channels: int = 3
) -> Tensor:
    """What the net sees of patches in 0…1: (P, channels, H, W) of mean 0 in each channel and RMS 1 in each patch.

    A net of one channel sees lightness, which has no colors to drop.
    """
    patches = pixelate(patches_P3HW, options.pixelated, options.fewest, generator)
    if options.colors == "project":
        patches = project(patches)
    seen = normalized(patches, channels)
    seen = seen - seen.mean((2, 3), keepdim=True)
    if options.colors == "drop" and channels > 1:
        seen = drop(seen, generator)
    # A flat patch stays flat: under a twentieth of a gray level there is nothing to be raised.
    return seen / seen.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)


def drop(x_P3HW: Tensor, generator: torch.Generator) -> Tensor:
    """Keep one channel of each patch, drawn for each apart, and put faint Gaussian noise about 0 into the other two (section 3.1)."""
    kept = torch.randint(x_P3HW.shape[1], (len(x_P3HW), 1, 1, 1), generator=generator).to(x_P3HW.device)
    keeps = kept == torch.arange(x_P3HW.shape[1], device=x_P3HW.device)[:, None, None]
    # The noise is drawn where it is needed: for a batch of the paper's patches it is 14 million numbers.
    seed = int(torch.randint(2**62, (), generator=generator))
    there = torch.Generator(x_P3HW.device).manual_seed(seed)
    noise = torch.randn(x_P3HW.shape, generator=there, device=x_P3HW.device)
    deviation = (x_P3HW * keeps).sum(1, keepdim=True).std((2, 3), keepdim=True)
    return torch.where(keeps, x_P3HW, noise * (deviation * _NOISE))


def project(rgb_P3HW: Tensor) -> Tensor:
    """Take the green–magenta direction, a = (−1, 2, −1), out of colors: B = I − aᵀa / (a aᵀ) (section 3.1).

    Red and blue are left as they differ: it counters lenses that part green from both, not those that part red from blue.
    """
    green = rgb_P3HW.new_tensor([-1, 2, -1]) / math.sqrt(6)
    return rgb_P3HW - torch.einsum("pchw,c->phw", rgb_P3HW, green)[:, None] * green[:, None, None]


def pixelate(x_PCHW: Tensor, share: float, fewest: int, generator: torch.Generator) -> Tensor:
    """Reduce a share of the patches to √U(fewest, (side − 1)²) pixels a side, and raise them again, bilinearly both ways."""
    count, side = len(x_PCHW), x_PCHW.shape[-1]
    draw = torch.rand(2, count, generator=generator)
    chosen = (draw[0] < share).nonzero()[:, 0]
    if not len(chosen):
        return x_PCHW
    left = (fewest + draw[1, chosen] * ((side - 1) ** 2 - fewest)).sqrt().long()
    # There and back is one linear map of a column's pixels, and of a row's: a matrix product in place of a resize for each size.
    maps = _there_and_back(side, math.isqrt(fewest))[left - math.isqrt(fewest)].to(x_PCHW.device)[:, None]
    chosen = chosen.to(x_PCHW.device)
    pixelated = x_PCHW.clone()
    pixelated[chosen] = maps @ x_PCHW[chosen] @ maps.mT
    return pixelated


@lru_cache(maxsize=8)
def _there_and_back(side: int, fewest: int) -> Tensor:
    """(side − fewest, side, side): what reducing a line of `side` pixels to fewest, fewest + 1, … side − 1 and raising it does to it."""
    line = torch.eye(side)[None, None]
    small = (
        F.interpolate(line, (left, side), mode="bilinear", antialias=True) for left in range(fewest, side)
    )
    return torch.cat([F.interpolate(reduced, (side, side), mode="bilinear")[0] for reduced in small])


def _unit(rgb: Tensor) -> Tensor:
    return rgb if rgb.is_floating_point() else rgb.float() / 255
