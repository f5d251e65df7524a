"""SimCLR's augmentations by name, and the random crops of all methods: Chen et al. 2020, figures 4 and 5 and appendix A.

https://arxiv.org/abs/2002.05709. Each photo of a batch gets amounts of its own, drawn for it alone from the generator that is given, on
the CPU, so that a run that is continued draws what it would have drawn; pixels stay on the device they are on. The first part draws the
amounts; the second changes pixels by them, and draws nothing.

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
from torch.nn import functional as F

from model.errors import InputError
from model.nets.backbone import MEAN

_ATTEMPTS = 10  # at a box that lies in the photo
JITTERS = ("brightness", "contrast", "saturation", "hue")
"""The columns of `jittered`'s amounts."""
_ORDERS = tuple(itertools.permutations(JITTERS))


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
        for name in ("jittered", "grayed", "blurred", "rotated", "noised", "sobeled"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, and must lie in 0…1")
        if not 0 <= self.color <= 2.5:
            raise InputError(
                f"a color strength of {self.color} is not in 0…2.5, where the hue has gone around"
            )


Augmentation = Callable[[Tensor, Strengths, torch.Generator], Tensor]


def augmented(
    rgb_N3HW: Tensor, names: Sequence[str], strengths: Strengths, generator: torch.Generator
) -> Tensor:
    """Photos, uint8 or float in 0…1, after these of `AUGMENTATIONS`: float32 in 0…1 but for rounding. The photos given stay as they are."""
    if not (names and names[0] in RESAMPLING):
        rgb_N3HW = rgb_N3HW.to(torch.float32, copy=True).div_(1 if rgb_N3HW.is_floating_point() else 255)
    for name in names:
        rgb_N3HW = AUGMENTATIONS[name](rgb_N3HW, strengths, generator)
    return rgb_N3HW


def whole(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """All of the photo, resized to the view's side: nothing is drawn."""
    box = torch.tensor([0, 0, *rgb_N3HW.shape[2:]]).expand(len(rgb_N3HW), 4)
    return resampled(rgb_N3HW, box, torch.zeros(len(box), dtype=torch.bool), strengths.side)


def crop(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator, mirrored: float = 0.0) -> Tensor:
    """A random box of the photo, resized to the view's side."""
    height, width = rgb_N3HW.shape[2:]
    boxes_N4 = boxes(len(rgb_N3HW), height, width, strengths, generator)
    mirrored_N = torch.rand(len(rgb_N3HW), generator=generator) < mirrored
    return resampled(rgb_N3HW, boxes_N4, mirrored_N, strengths.side)


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
        change = partial(jittered, order=order, adds=strengths.adds_brightness)
        _change(rgb_N3HW, group, change, amounts_N4)
    return rgb_N3HW


def gray(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Some photos' colors dropped."""
    return _change(rgb_N3HW, _some(strengths.grayed, rgb_N3HW, generator), grayed)


def blur(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Some photos blurred, by a Gaussian that reaches over a twentieth of the side."""
    where = _some(strengths.blurred, rgb_N3HW, generator)
    sigma_N = _between(strengths.sigma, torch.rand(len(rgb_N3HW), generator=generator))
    change = partial(blurred, reach=max(1, rgb_N3HW.shape[2] // 10 // 2))
    return _change(rgb_N3HW, where, change, sigma_N)


def rotate(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Photos, all or a share, turned by 90, 180 or 270 degrees. Raises InputError where photos are not square."""
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
    return _change(rgb_N3HW, _all(rgb_N3HW), partial(covered, side=side, color=MEAN), centers_N2)


def noise(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """Gaussian noise in photos, all or a share, drawn where the photos are."""
    deviation_N = _between(strengths.noise, torch.rand(len(rgb_N3HW), generator=generator))
    seeds_N = torch.randint(2**62, (len(rgb_N3HW),), generator=generator)
    deviation_N[_others(strengths.noised, rgb_N3HW, generator)] = 0
    return noisy(rgb_N3HW, deviation_N.to(rgb_N3HW.device), seeds_N)


def sobel(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """The edges of photos, all or a share."""
    chosen = torch.ones(len(rgb_N3HW), dtype=torch.bool)
    chosen[_others(strengths.sobeled, rgb_N3HW, generator)] = False
    return _change(rgb_N3HW, chosen.nonzero()[:, 0], edges)


def color(rgb_N3HW: Tensor, strengths: Strengths, generator: torch.Generator) -> Tensor:
    """The paper's color distortion: jitter, then gray (appendix A)."""
    return gray(jitter(rgb_N3HW, strengths, generator), strengths, generator)


AUGMENTATIONS: Mapping[str, Augmentation] = MappingProxyType(
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
    # On a CPU a few at a time: what is worked on stays in its cache, and no memory is allocated anew, which takes as long as the work.
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


# What the amounts do to pixels: a whole batch at once, each photo by its own amount. Photos are sRGB, (N, 3, H, W) float in 0…1, and so are
# answers, but for rounding; these are new tensors. Amounts are (N), on the photos' device unless said otherwise.


def resampled(
    rgb_N3HW: Tensor, boxes_N4: Tensor, mirrored_N: Tensor, side: int, as_bytes: bool = False
) -> Tensor:
    """(N, 3, side, side): a box of each photo, uint8 or float, resized, some of them mirrored left to right.

    Floats in 0…1, or with `as_bytes` uint8.

    Bicubic (Keys, a = −1/2), smoothed where it reduces: Pillow's BICUBIC, PyTorch's with antialias, of the box cut out. Boxes are int64
    (top, left, height, width) in pixels; they and `mirrored_N` lie on the CPU, wherever the photos do. Bytes on a CPU stay bytes until
    they are resized, rounded as Pillow rounds them.
    """
    if rgb_N3HW.dtype == torch.uint8 and rgb_N3HW.device.type == "cpu":
        views = _resampled_bytes(rgb_N3HW, boxes_N4, mirrored_N, side)
        return views if as_bytes else views.float().div_(255)
    down, rows = _resize(boxes_N4[:, 0], boxes_N4[:, 2], side)
    across, columns = _resize(boxes_N4[:, 1], boxes_N4[:, 3], side)
    across, columns = (
        torch.where(mirrored_N[:, None, None], part.flip(1), part) for part in (across, columns)
    )
    if not rgb_N3HW.is_floating_point():
        down = down / 255
    device = rgb_N3HW.device
    views = torch.empty(len(rgb_N3HW), 3, side, side, device=device)
    # A CPU takes photo by photo: all of one stays in its cache, and what lies outside the box need not be multiplied.
    each = 1 if device.type == "cpu" else len(rgb_N3HW)
    tops, lefts, heights, widths = boxes_N4.T.tolist()
    bottoms, rights = (list(map(sum, zip(*span, strict=True))) for span in ((tops, heights), (lefts, widths)))
    for start in range(0, len(rgb_N3HW), each):
        part = slice(start, start + each)
        top, left, bottom, right = min(tops[part]), min(lefts[part]), max(bottoms[part]), max(rights[part])
        vertical = _matrix(down[part].to(device), rows[part].to(device) - top, bottom - top)
        horizontal = _matrix(across[part].to(device), columns[part].to(device) - left, right - left)
        pixels = rgb_N3HW[part, :, top:bottom, left:right].to(
            torch.float32, memory_format=torch.contiguous_format
        )
        wide = pixels.reshape(len(pixels), -1, right - left) @ horizontal.mT
        torch.matmul(vertical[:, None], wide.view(len(pixels), 3, bottom - top, side), out=views[part])
        views[part].clamp_(0, 1)
    return views.mul_(255).round_().byte() if as_bytes else views


def _resampled_bytes(rgb_N3HW: Tensor, boxes_N4: Tensor, mirrored_N: Tensor, side: int) -> Tensor:
    """By PyTorch's own resizing, which on a CPU takes half as long for bytes as matrices take for floats."""
    views = torch.empty(len(rgb_N3HW), 3, side, side, dtype=torch.uint8)
    for view, photo, box, mirrored in zip(
        views, rgb_N3HW, boxes_N4.tolist(), mirrored_N.tolist(), strict=True
    ):
        top, left, height, width = box
        cut = photo[None, :, top : top + height, left : left + width]
        resized = F.interpolate(cut, (side, side), mode="bicubic", antialias=True)
        view.copy_((resized.flip(3) if mirrored else resized)[0])
    return views


def _resize(start_N: Tensor, length_N: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """(N, side, taps) weights, and the pixels that they are for, of resizing each photo's span of a line of pixels to `side`."""
    scale = (length_N / side)[:, None]
    spread = scale.clamp_min(1)[..., None]
    middle = start_N[:, None] + (torch.arange(side) + 0.5) * scale
    reach = math.ceil(2 * float(spread.max()))
    places = middle[..., None].floor().long() + torch.arange(-reach, reach + 1)
    distance = ((places + 0.5 - middle[..., None]) / spread).abs()
    near = (1.5 * distance - 2.5) * distance**2 + 1
    far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
    weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    first, last = start_N[:, None, None], (start_N + length_N - 1)[:, None, None]
    weights = weights * ((places >= first) & (places <= last))
    return weights / weights.sum(2, keepdim=True), torch.minimum(torch.maximum(places, first), last)


def _matrix(weights_NST: Tensor, places_NST: Tensor, length: int) -> Tensor:
    count, side, _ = weights_NST.shape
    return weights_NST.new_zeros(count, side, length).scatter_add_(2, places_NST, weights_NST)


def jittered(rgb_N3HW: Tensor, amounts_N4: Tensor, order: Sequence[str], adds: bool = False) -> Tensor:
    """Brightness, contrast, saturation and hue changed by the columns of `amounts_N4`, one after the other in this order.

    Brightness is multiplied by the factor, or with `adds` the amount is added to it. Contrast draws pixels to the photo's mean gray,
    saturation to their own gray, or away: 0 leaves only the gray, 1 all as it is. Hue is turned in the HSV cone, by −1/2…1/2 of the
    circle, each pixel's largest and smallest channel staying as large. After each, what is over 1 or under 0 is cut off.
    """
    for kind in order:
        amount = amounts_N4[:, JITTERS.index(kind), None, None, None]
        if kind == "hue":
            rgb_N3HW = _turned(rgb_N3HW, amount)
        elif kind == "brightness":
            rgb_N3HW = (rgb_N3HW + amount if adds else rgb_N3HW * amount).clamp_(0, 1)
        elif kind == "contrast":
            mean = _gray(rgb_N3HW.mean((2, 3), keepdim=True))
            rgb_N3HW = (rgb_N3HW * amount).add_(mean * (1 - amount)).clamp_(0, 1)
        else:
            gray = _gray(rgb_N3HW).mul_(1 - amount)
            rgb_N3HW = (rgb_N3HW * amount).add_(gray).clamp_(0, 1)
    return rgb_N3HW


def _turned(rgb_N3HW: Tensor, turn_N111: Tensor) -> Tensor:
    """The hue turned, without the HSV cone's six cases, which take most of the time of a view if each pixel's is looked up.

    With channels stretched to reach from 0 to 1, and u = green − blue, the distance of the hue from red, in sixths of the circle, is
    3 (1 − red) + |u| (2 red − 1): wherever red is neither 0 nor 1, |u| is 1. The sign of u says on which side. And back: a channel is
    1 as far as a sixth from its own hue, and 0 from two sixths on.
    """
    red, green, blue = (rgb_N3HW[:, channel, None] for channel in range(3))
    most, least = (
        torch.maximum(torch.maximum(red, green), blue),
        torch.minimum(torch.minimum(red, green), blue),
    )
    chroma = most - least
    stretch = chroma.clamp_min(1e-12).reciprocal_()
    red, u = (red - least).mul_(stretch), (green - blue).mul_(stretch)
    hue = torch.copysign((1 - red).mul_(0.5), u).addcmul_(u, red.sub_(0.5), value=1 / 3).add_(turn_N111 + 2)
    from_red = torch.tensor([0, 2 / 3, 1 / 3], device=hue.device)[:, None, None]
    stretched = (hue + from_red).frac_().sub_(0.5).abs_().mul_(6).sub_(1).clamp_(0, 1)
    return stretched.mul_(chroma).add_(least)


def grayed(rgb_N3HW: Tensor) -> Tensor:
    """Three equal channels: 0.299 R + 0.587 G + 0.114 B."""
    return _gray(rgb_N3HW).expand(-1, 3, -1, -1)


def _gray(rgb_N3HW: Tensor) -> Tensor:
    red, green, blue = (rgb_N3HW[:, channel, None] for channel in range(3))
    return (red * 0.299).add_(green, alpha=0.587).add_(blue, alpha=0.114)


def blurred(rgb_N3HW: Tensor, sigma_N: Tensor, reach: int) -> Tensor:
    """A Gaussian of each photo's sigma, in pixels, cut off beyond `reach` pixels; photos go on as their mirror image at the edges.

    ValueError for a reach that is no smaller than the photos: their mirror image ends there."""
    count, _, height, width = rgb_N3HW.shape
    if reach >= min(height, width):
        raise ValueError(f"a blur cannot reach {reach} pixels where photos are {width}×{height}")
    offsets = torch.arange(-reach, reach + 1, device=rgb_N3HW.device)
    taps_NT = torch.softmax(-offsets.square() / (2 * sigma_N[:, None] ** 2), 1)
    # The tail of a small sigma ends in numbers so small that a CPU takes three times as long over all of it.
    taps_NT = F.threshold(taps_NT, 1e-12, 0.0)
    # As matrices, most of them zeros: a convolution for each photo and channel, which does a tenth of the work, takes nearly twice as long.
    down, across = (
        _matrix(
            taps_NT[:, None].expand(-1, length, -1), _mirrored(length, offsets).expand(count, -1, -1), length
        )
        for length in (height, width)
    )
    wide = (rgb_N3HW.reshape(count, 3 * height, width) @ across.mT).view(count, 3, height, width)
    return down[:, None] @ wide


def _mirrored(length: int, offsets_T: Tensor) -> Tensor:
    """(length, T): each place of a line and its neighbors; those beyond an end, which is not repeated, as far within it."""
    last = length - 1
    places = torch.arange(length, device=offsets_T.device)[:, None] + offsets_T
    return last - (last - places.abs()).abs()


def covered(rgb_N3HW: Tensor, centers_N2: Tensor, side: int, color: Sequence[float]) -> Tensor:
    """A square of this side, about each photo's center (y, x), int64, in one color; as much of it as lies in the photo."""
    height, width = rgb_N3HW.shape[2:]
    first = (centers_N2 - side // 2)[:, :, None]
    down, across = (
        torch.arange(length, device=rgb_N3HW.device) - first[:, axis]
        for axis, length in ((0, height), (1, width))
    )
    inside = ((down >= 0) & (down < side))[:, None, :, None] & ((across >= 0) & (across < side))[
        :, None, None
    ]
    return torch.where(inside, torch.tensor(color, device=rgb_N3HW.device)[:, None, None], rgb_N3HW)


def noisy(rgb_N3HW: Tensor, deviation_N: Tensor, seeds_N: Tensor) -> Tensor:
    """Gaussian noise of each photo's deviation added to every value; each photo's own follows from its seed, int64 on the CPU."""
    noise = torch.empty(rgb_N3HW.shape, device=rgb_N3HW.device)
    for photo, seed in zip(noise, seeds_N.tolist(), strict=True):
        photo.normal_(generator=torch.Generator(noise.device).manual_seed(seed))
    return noise.mul_(deviation_N[:, None, None, None]).add_(rgb_N3HW).clamp_(0, 1)


def edges(rgb_N3HW: Tensor) -> Tensor:
    """How steep each channel is, by Sobel's filter: 1 is a step from 0 to 1, straight up or across. Edge pixels go on outward."""
    padded = F.pad(rgb_N3HW, (1,) * 4, mode="replicate")
    across, down = padded[..., 2:] - padded[..., :-2], padded[..., 2:, :] - padded[..., :-2, :]
    across = across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]
    down = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]
    return torch.hypot(across, down).div_(4).clamp_(0, 1)
