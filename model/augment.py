"""Batched augmentations, on the device the batch lives on: exposure, and what age does to a photograph.

Only the net's input changes, never the color it should answer with. All chance comes from a generator on the CPU, so that a run that
is continued draws what it would have drawn.

The kinds of age follow an old picture from camera to drawer: the lens, the emulsion and its chemistry, the printing press, damage. Sizes
are shares of a photo's shorter side, as crops come in several sizes. The kinds are those that the restoration of old photographs is
trained on (Wan et al., "Bringing Old Photos Back to Life", CVPR 2020: blur, noise, scratches), with fading, contrast and print added.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor

Age = Callable[[Tensor, torch.Generator], Tensor]

_MOST_KINDS = 3  # on one photo


def tone(lightness_N1HW: Tensor, generator: torch.Generator) -> Tensor:
    """Develop every other photo a little differently: its lightness (0…100) through a random gamma, contrast and brightness.

    Exposure and paper should not decide a color.
    """
    count = len(lightness_N1HW)
    draw = torch.rand(4, count, 1, 1, 1, generator=generator).to(lightness_N1HW.device)
    gamma = torch.exp((draw[0] - 0.5) * 0.6)
    contrast = 1 + (draw[1] - 0.6) * 0.4
    brightness = (draw[2] - 0.5) * 12
    developed = (lightness_N1HW / 100).clamp(0, 1) ** gamma * 100
    developed = ((developed - 50) * contrast + 50 + brightness).clamp(0, 100)
    return torch.where(draw[3] < 0.5, developed, lightness_N1HW)


def age(lightness_N1HW: Tensor, generator: torch.Generator, share: float) -> Tensor:
    """Let each photo (lightness 0…100) age with a chance of `share`, by one to three of `AGES`; the others stay exactly as they are."""
    count = len(lightness_N1HW)
    aging = torch.rand(count, generator=generator) < share
    kinds = torch.randint(1, _MOST_KINDS + 1, (count, 1), generator=generator)
    ranks = torch.rand(count, len(AGES), generator=generator).argsort(1)
    aged = lightness_N1HW.clone()
    for chosen, kind in zip((aging[:, None] & (ranks < kinds)).unbind(1), AGES.values(), strict=True):
        if chosen.any():
            where = chosen.nonzero()[:, 0].to(aged.device)
            aged[where] = kind(aged[where], generator)
    return aged


def _photo_by_photo(kind: Age) -> Age:
    """Make of a way that one photo ages, (1, 1, H, W), one for a batch, (N, 1, H, W), in which each ages differently, within 0…100."""

    @wraps(kind)
    def batched(lightness_N1HW: Tensor, generator: torch.Generator) -> Tensor:
        return torch.cat([kind(photo, generator) for photo in lightness_N1HW[:, None]]).clamp_(0, 100)

    return batched


@_photo_by_photo
def blur(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """A soft lens or a missed focus, as a Gaussian; of one photo in four, a camera or a sitter that moved, along a line."""
    side = min(lightness.shape[-2:])
    if _draw(generator, 0, 1) < 0.75:
        return _soften(lightness, side * _draw(generator, 0.003, 0.012))
    length, angle = max(2.0, side * _draw(generator, 0.012, 0.035)), _draw(generator, 0, math.pi)
    reach = math.ceil(length / 2)
    padded = F.pad(lightness, (reach,) * 4, mode="replicate")
    height, width = lightness.shape[-2:]
    steps = math.ceil(length) + 1
    moved = torch.zeros_like(lightness)
    for step in range(steps):
        along = (step / (steps - 1) - 0.5) * length
        top, left = reach + round(along * math.sin(angle)), reach + round(along * math.cos(angle))
        moved += padded[..., top : top + height, left : left + width]
    return moved / steps


@_photo_by_photo
def contrast(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """A paper too hard, or too flat: the S-shaped characteristic curve of an emulsion (Hurter and Driffield, 1890), or a stretch of it."""
    pivot = _draw(generator, 0.35, 0.65)
    if _draw(generator, 0, 1) < 0.5:
        slope = _draw(generator, 3.5, 8)
        low, high = _sigmoid(-slope * pivot), _sigmoid(slope * (1 - pivot))
        return (torch.sigmoid((lightness / 100 - pivot) * slope) - low) * (100 / (high - low))
    return pivot * 100 + (lightness - pivot * 100) * _draw(generator, 0.45, 0.85)


@_photo_by_photo
def grain(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """The clumps of silver that a picture is made of: blurred noise, strongest in the middle tones, where clumps and gaps are as many."""
    side = min(lightness.shape[-2:])
    noise = _noise(lightness, side * _draw(generator, 0.002, 0.006), generator)
    midtones = 0.3 + 2.8 * (lightness / 100) * (1 - lightness / 100)
    return lightness + noise * midtones * _draw(generator, 1.5, 7)


@_photo_by_photo
def fading(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """Silver that oxidized and paper that stained: blacks lifted, whites dulled; of every other photo, here more than there."""
    black, white = _draw(generator, 5, 40), _draw(generator, 70, 98)
    faded = black + lightness * ((white - black) / 100)
    if _draw(generator, 0, 1) < 0.5:
        return faded
    coarse = torch.rand(1, 1, 4, 4, generator=generator).to(lightness.device)
    field = F.interpolate(coarse, lightness.shape[-2:], mode="bicubic", align_corners=True)
    return torch.lerp(lightness, faded, (1.6 * field - 0.1).clamp(0, 1))


@_photo_by_photo
def halftone(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """Printed dots: lightness against a rotated screen of round dots, as sharp as their pitch allows, over the picture it came from."""
    side = min(lightness.shape[-2:])
    pitch, angle = _draw(generator, 2.5, max(4, side / 40)), _draw(generator, 0, math.pi / 2)
    x, y = _places(lightness)
    turn = 2 * math.pi / pitch
    across = torch.cos(turn * (math.cos(angle) * x + math.sin(angle) * y) + _draw(generator, 0, 6.3))
    down = torch.cos(turn * (math.cos(angle) * y - math.sin(angle) * x) + _draw(generator, 0, 6.3))
    dots = torch.sigmoid((lightness / 50 - 1 + (across + down) / 2) * pitch * 0.8)
    return torch.lerp(lightness, dots * 100, _draw(generator, 0.1, 0.5))


@_photo_by_photo
def scratches(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """Damage: scratches, bright or dark, most of them near the vertical, as film runs; dust; on one photo in four, a fold."""
    height, width = lightness.shape[-2:]
    side = min(height, width)
    damaged = _dust(lightness, generator)
    for _ in range(int(_draw(generator, 1, 7))):
        wild = _draw(generator, 0, 1) < 0.2
        tilt = _draw(generator, 0, math.pi) if wild else _draw(generator, -0.1, 0.1)
        distance, along = _from_line(lightness, tilt, generator)
        thin = max(0.35, side * _draw(generator, 0.001, 0.004))
        ink = (thin + 0.5 - distance.abs()).clamp(0, 1) * (along.abs() < side * _draw(generator, 0.1, 0.9))
        color = _draw(generator, 75, 100) if _draw(generator, 0, 1) < 0.7 else _draw(generator, 0, 20)
        damaged = damaged.lerp(torch.full_like(damaged, color), ink * _draw(generator, 0.3, 0.95))
    if _draw(generator, 0, 1) < 0.25:
        distance, _ = _from_line(lightness, _draw(generator, 0, math.pi), generator)
        creased = distance / max(1.0, side * _draw(generator, 0.003, 0.007))
        ridge = torch.exp(-creased.square()) - 0.6 * torch.exp(-(creased - 2).square() / 2)
        damaged = damaged + ridge * _draw(generator, 10, 45)
    return damaged


AGES: Mapping[str, Age] = MappingProxyType(
    {
        "blur": blur,
        "contrast": contrast,
        "grain": grain,
        "fading": fading,
        "halftone": halftone,
        "scratches": scratches,
    }
)
"""Each kind of age by its name, in the order in which they befall a picture. Each takes and gives (N, 1, H, W) lightness in 0…100, with
sides of 32 and more, and draws each photo's strength apart."""


def _dust(lightness: Tensor, generator: torch.Generator) -> Tensor:
    """Specks, three in four bright: what lay on a negative kept light from the paper."""
    height, width = lightness.shape[-2:]
    cell = max(1.0, min(height, width) * _draw(generator, 0.006, 0.012))
    small = (1, 1, max(1, round(height / cell)), max(1, round(width / cell)))
    chance = torch.rand(small, generator=generator)
    density = _draw(generator, 0.0005, 0.004)
    specks = (chance < density * 0.75).float() - (chance > 1 - density * 0.25).float()
    specks *= torch.rand(small, generator=generator)
    speckled = F.interpolate(specks.to(lightness.device), lightness.shape[-2:], mode="bilinear")
    return lightness + speckled * _draw(generator, 40, 100)


def _from_line(lightness: Tensor, tilt: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Each pixel's distance from a line through a random point, `tilt` radians off the vertical, and its place along it; in pixels."""
    x, y = _places(lightness)
    x = x - _draw(generator, 0, x.shape[-1])
    y = y - _draw(generator, 0, y.shape[-2])
    return math.cos(tilt) * x + math.sin(tilt) * y, math.cos(tilt) * y - math.sin(tilt) * x


def _places(lightness: Tensor) -> tuple[Tensor, Tensor]:
    """Pixel coordinates: x as (W), y as (H, 1)."""
    height, width = lightness.shape[-2:]
    return torch.arange(width, device=lightness.device), torch.arange(height, device=lightness.device)[
        :, None
    ]


def _noise(like: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise of mean 0 and deviation 1, blurred by `sigma` pixels."""
    noise = _soften(torch.randn(like.shape, generator=generator).to(like.device), sigma)
    return noise / noise.std()


def _soften(photo_11HW: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur of `sigma` pixels, in two passes; the edge's pixels go on beyond it."""
    reach = max(1, math.ceil(2.5 * sigma))
    places = torch.arange(-reach, reach + 1, device=photo_11HW.device)
    weights = torch.softmax(-places.square() / (2 * sigma**2), 0)
    padded = F.pad(photo_11HW, (reach,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, weights[None, None, None]), weights[None, None, :, None])


def _draw(generator: torch.Generator, low: float, high: float) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator))


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))
