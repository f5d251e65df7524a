"""The augmentations that SimCLR's views are made of, by name: Chen et al. 2020, figures 4 and 5 and appendix A.

https://arxiv.org/abs/2002.05709. Each photo of a batch gets amounts of its own, drawn for it alone from the generator that is given, on
the CPU, so that a run that is continued draws what it would have drawn; pixels stay on the device they are on.

Where the paper, the authors' code (https://github.com/google-research/simclr, data_util.py) and its PyTorch listing differ, or are silent:
- Crops are bicubic, as in the code, but smoothed where they reduce, as in torchvision; the code's leave aliases. Boxes are those of
  torchvision (ratios log-uniform, ten attempts); where none fits, the whole photo, as in the code.
- Brightness is multiplied, as in the code's "simclrv2" and in torchvision, or with `adds_brightness` added to, as in the paper's listing
  and the code's "simclrv1". Contrast and saturation are the PyTorch listing's: TensorFlow has each channel's mean for the one, and the
  largest channel for the other.
- Blur mirrors the photo at its edges; the code has black beyond them. The kernel is a tenth of the side, as there.
- Cutout's size and noise's deviation are ours: the paper names none. Cutout is DeVries & Taylor's (2017): half the side, anywhere the
  center lies in the photo, filled with the mean color. Sobel's filter is applied to each channel.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import torch
from torch import Tensor

from model import distortions
from model.errors import InputError
from model.nets.backbone import MEAN

_ATTEMPTS = 10  # at a box that lies in the photo
_ORDERS = tuple(itertools.permutations(distortions.JITTERS))


@dataclass(frozen=True)
class Strengths:
    """How much may happen to a photo, and to what share of photos. The defaults are the paper's for ImageNet."""

    side: int  # of a view, in pixels
    area: tuple[float, float] = (0.08, 1.0)  # of a crop, as a share of the photo
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # of a crop's width to its height
    color: float = 1.0  # s: hue by up to 0.2 s of the circle, the three others by up to 0.8 s
    adds_brightness: bool = False
    jittered: float = 0.8
    grayed: float = 0.2
    blurred: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)  # of the blur, in pixels
    cutout: float = 0.5  # of the side
    noise: tuple[float, float] = (0.02, 0.2)  # its deviation
    rotated: float = 1.0  # figure 4 and 5 do these to all photos
    noised: float = 1.0
    sobeled: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.area[0] <= self.area[1] <= 1:
            raise InputError(f"a crop's share of a photo is {self.area}, and must lie in 0…1")
        if not 0 <= self.color <= 2.5:
            raise InputError(
                f"a color strength of {self.color} is not in 0…2.5, where the hue has gone around"
            )


Step = Callable[[Tensor, Strengths, torch.Generator], Tensor]


def view(rgb_N3HW: Tensor, steps: Sequence[str], strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Photos, uint8 or float in 0…1, after these steps of `STEPS`: float32 in 0…1 but for rounding. The photos given stay as they are."""
    if not (steps and steps[0] in RESAMPLING):
        rgb_N3HW = rgb_N3HW.to(torch.float32, copy=True).div_(1 if rgb_N3HW.is_floating_point() else 255)
    for step in steps:
        rgb_N3HW = STEPS[step](rgb_N3HW, strengths, generator)
    return rgb_N3HW


def whole(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """All of the photo, resized to the view's side: nothing is drawn."""
    box = torch.tensor([0, 0, *rgb_N3HW.shape[2:]]).expand(len(rgb_N3HW), 4)
    return distortions.resampled(rgb_N3HW, box, torch.zeros(len(box), dtype=torch.bool), strengths.side)


def crop(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator, mirrored: float = 0.0) -> Tensor:
    """A random box of the photo, resized to the view's side."""
    height, width = rgb_N3HW.shape[2:]
    boxes_N4 = boxes(len(rgb_N3HW), height, width, strengths, generator)
    mirrored_N = torch.rand(len(rgb_N3HW), generator=generator) < mirrored
    return distortions.resampled(rgb_N3HW, boxes_N4, mirrored_N, strengths.side)


def boxes(count: int, height: int, width: int, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """(count, 4) int64 (top, left, height, width) of random boxes in photos of this size."""
    area, ratio = torch.rand(2, count, _ATTEMPTS, generator=generator)
    down, across = torch.rand(2, count, generator=generator)
    area = height * width * _between(strengths.area, area)
    ratio = _between((math.log(strengths.ratio[0]), math.log(strengths.ratio[1])), ratio).exp()
    heights, widths = (area / ratio).sqrt().round().long(), (area * ratio).sqrt().round().long()
    fits = (heights >= 1) & (widths >= 1) & (heights <= height) & (widths <= width)
    first = fits.byte().argmax(1, keepdim=True)
    h, w = (
        torch.where(fits.any(1), sizes.gather(1, first)[:, 0], longest)
        for sizes, longest in ((heights, height), (widths, width))
    )
    return torch.stack([(down * (height - h + 1)).long(), (across * (width - w + 1)).long(), h, w], 1)


def jitter(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Brightness, contrast, saturation and hue of most photos changed, in an order drawn for each photo."""
    count = len(rgb_N3HW)
    chosen = torch.rand(count, generator=generator) < strengths.jittered
    spread = 0.8 * strengths.color
    low, high = max(0.0, 1 - spread), 1 + spread
    brightness = (-spread, spread) if strengths.adds_brightness else (low, high)
    hue = 0.2 * strengths.color
    bounds = (brightness, (low, high), (low, high), (-hue, hue))
    draws = torch.rand(4, count, generator=generator)
    amounts_N4 = torch.stack([_between(*each) for each in zip(bounds, draws, strict=True)], 1)
    orders_N = torch.randint(len(_ORDERS), (count,), generator=generator)
    # Those of one order together, and one trip to the device for all.
    where = chosen.nonzero()[:, 0]
    where = where[orders_N[where].argsort()]
    groups = torch.bincount(orders_N[where], minlength=len(_ORDERS)).tolist()
    amounts_N4 = amounts_N4.to(rgb_N3HW.device)
    for order, group in zip(_ORDERS, torch.split(where.to(rgb_N3HW.device), groups), strict=True):
        change = partial(distortions.jittered, order=order, adds=strengths.adds_brightness)
        _change(rgb_N3HW, group, change, amounts_N4)
    return rgb_N3HW


def gray(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Some photos' colors dropped."""
    return _change(rgb_N3HW, _some(strengths.grayed, rgb_N3HW, generator), distortions.gray)


def blur(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Some photos blurred, by a Gaussian that reaches over a twentieth of the side."""
    where = _some(strengths.blurred, rgb_N3HW, generator)
    sigma_N = _between(strengths.sigma, torch.rand(len(rgb_N3HW), generator=generator))
    change = partial(distortions.blurred, reach=max(1, rgb_N3HW.shape[2] // 10 // 2))
    return _change(rgb_N3HW, where, change, sigma_N)


def rotate(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Photos, all or a share, turned by 90, 180 or 270 degrees. Raises ValueError where photos are not square."""
    height, width = rgb_N3HW.shape[2:]
    if height != width:
        raise InputError(f"photos are {width}×{height} pixels, and must be square to be rotated")
    quarters_N = torch.randint(1, 4, (len(rgb_N3HW),), generator=generator)
    quarters_N[_others(strengths.rotated, rgb_N3HW, generator)] = 0
    for quarters in (1, 2, 3):
        where = (quarters_N == quarters).nonzero()[:, 0]
        _change(rgb_N3HW, where, partial(torch.rot90, k=quarters, dims=(2, 3)))
    return rgb_N3HW


def cutout(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """A square of each photo covered."""
    size = torch.tensor(rgb_N3HW.shape[2:])
    centers_N2 = (torch.rand(len(rgb_N3HW), 2, generator=generator) * size).long()
    side = round(strengths.cutout * min(rgb_N3HW.shape[2:]))
    return _change(rgb_N3HW, _all(rgb_N3HW), partial(distortions.covered, side=side, color=MEAN), centers_N2)


def noise(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Gaussian noise in photos, all or a share, drawn where the photos are."""
    deviation_N = _between(strengths.noise, torch.rand(len(rgb_N3HW), generator=generator))
    seeds_N = torch.randint(2**62, (len(rgb_N3HW),), generator=generator)
    deviation_N[_others(strengths.noised, rgb_N3HW, generator)] = 0
    return distortions.noisy(rgb_N3HW, deviation_N.to(rgb_N3HW.device), seeds_N)


def sobel(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """The edges of photos, all or a share."""
    chosen = torch.ones(len(rgb_N3HW), dtype=torch.bool)
    chosen[_others(strengths.sobeled, rgb_N3HW, generator)] = False
    return _change(rgb_N3HW, chosen.nonzero()[:, 0], distortions.edges)


def color(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """The paper's color distortion: jitter, then gray (appendix A)."""
    return gray(jitter(rgb_N3HW, strengths, generator), strengths, generator)


STEPS: Mapping[str, Step] = MappingProxyType(
    {
        "whole": whole,
        "crop": crop,
        "crop and flip": partial(crop, mirrored=0.5),
        "gray": gray,
        "jitter": jitter,
        "color": color,
        "rotate": rotate,
        "cutout": cutout,
        "noise": noise,
        "blur": blur,
        "sobel": sobel,
    }
)
"""Figure 4's panel, in its order, and "color", of which figure 5 makes one. Those of `RESAMPLING` take uint8 or float and give new photos;
the others change the float32 photos that they are given, and give these."""
RESAMPLING = ("whole", "crop", "crop and flip")


def _change(rgb_N3HW: Tensor, where: Tensor, change: Callable[..., Tensor], *amounts_N: Tensor) -> Tensor:
    """Change the photos at these places, each by its own amounts."""
    device = rgb_N3HW.device
    amounts_N = tuple(amounts.to(device) for amounts in amounts_N)
    # On a CPU a few at a time: what is worked on stays in its cache, and memory is not asked for anew, which takes as long as the work.
    each = 4 if device.type == "cpu" else len(where)
    for part in torch.split(where.to(device), each) if len(where) else ():
        changed = change(rgb_N3HW.index_select(0, part), *(amounts[part] for amounts in amounts_N))
        rgb_N3HW.index_copy_(0, part, changed)
    return rgb_N3HW


def _some(share: float, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
    return (torch.rand(len(rgb_N3HW), generator=generator) < share).nonzero()[:, 0]


def _others(share: float, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
    """The places, on the CPU, of photos that are left as they are. Where all change nothing is drawn."""
    if share >= 1:
        return torch.empty(0, dtype=torch.long)
    return (torch.rand(len(rgb_N3HW), generator=generator) >= share).nonzero()[:, 0]


def _all(rgb_N3HW: Tensor) -> Tensor:
    return torch.arange(len(rgb_N3HW), device=rgb_N3HW.device)


def _between(bounds: tuple[float, float], draw: Tensor) -> Tensor:
    low, high = bounds
    return low + (high - low) * draw
