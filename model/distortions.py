"""What can be done to photos, for a whole batch at once and to each photo by its own amount: the pixels of model/views.py, and no chance.

Photos are sRGB, (N, 3, H, W) float in 0…1, and so are answers, but for rounding; these are new tensors. Amounts are (N), on the photos'
device unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

JITTERS = ("brightness", "contrast", "saturation", "hue")
"""The columns of `jittered`'s amounts."""


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


def gray(rgb_N3HW: Tensor) -> Tensor:
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
