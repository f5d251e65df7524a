"""How good are the colors? The paper's measures (section 3), and the field's, over a folder of color photographs.

Protocol, fixed: short side to 256 pixels, bicubic, then the center 256×256; everything is measured on 8-bit sRGB, predictions as well as
the ground truth. The net sees the crop's lightness, through the Colorizer that serves.

- AuC: the share of pixels whose ab is within t of the ground truth, t = 0…150 in steps of 1, as area under that curve (trapezoids), in
  percent; raw, and rebalanced: each pixel weighs 1/p of the ground truth's bin, p from the photos evaluated, clipped at 1e-6. Pooled over
  all pixels.
- PSNR over RGB in dB and colorfulness (Hasler & Süsstrunk 2003, eq. as published, no absolute values), as means over photos. A photo's
  mean squared error counts as at least 1/12, that of rounding to 8 bits, so that an exactly gray photo does not make gray's PSNR infinite.
- SSIM with the settings of Wang et al. 2004 (a Gaussian window of sigma 1.5, K 0.01 and 0.03, population covariance), as the mean over
  R, G and B, and over photos. As the lightness is the ground truth's in every row, it is high even for gray.

Gray (the same lightness, no color) and the ground truth ("truth") are rows of every table, measured in the same way. No photo is left out.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from model import bins, color
from model.colorizer import Colorizer, ColorOptions
from model.errors import InputError
from model.image_io import Photo
from model.training import aging, data
from model.training.validation import area, auc, rebalanced_auc

SIDE = 256
_BATCH = 16
_ROUNDING = 1 / 12  # mean squared error of rounding to whole numbers

Colorized = tuple[NDArray[np.uint8], dict[str, NDArray[np.uint8]]]
"""Of one photo the ground truth, and the photo as each row colors it: (256, 256, 3) uint8 each."""

Item = TypeVar("Item")


class Picture:
    """A ground truth or a prediction, with what several metrics need of it, computed once."""

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        """(H, W, 3) uint8 sRGB."""
        self.pixels = pixels

    @cached_property
    def ab(self) -> Tensor:
        """(2, H, W), ab units."""
        return color.lab_from_rgb(_as_tensor(self.pixels))[0, 1:]

    @cached_property
    def bins(self) -> Tensor:
        """(H, W) int64: the bin nearest to each pixel."""
        return bins.nearest(self.ab[None])[0]

    @cached_property
    def colorfulness(self) -> float:
        return colorfulness(self.pixels)

    def error(self, truth: Picture) -> Tensor:
        """(H, W) distance from the ground truth, in ab units."""
        return torch.hypot(*(self.ab - truth.ab))  # ten times as fast as a norm along so short a dimension


@dataclass(frozen=True)
class Score:
    """What one way of coloring reaches. AuC in percent, PSNR in dB (58.9 is exact), SSIM at most 1."""

    raw_auc: float
    rebalanced_auc: float
    psnr: float
    ssim: float
    colorfulness: float


class Tally:
    """The metrics of one way of coloring, photo by photo.

    AuC is linear in two numbers a photo and bin: how many pixels the ground truth has there, and the area that they cover. So (313,) pairs
    are all that pooling over any choice of photos needs.
    """

    def __init__(self) -> None:
        self.pixels: list[NDArray[np.float32]] = []  # (313,) each: the ground truth's pixels by bin
        self.areas: list[NDArray[np.float32]] = []  # (313,) each: their areas, 0…150 a pixel, added up
        self.psnr: list[float] = []
        self.ssim: list[float] = []
        self.colorfulness: list[float] = []
        self.error: list[float] = []  # mean, ab units

    def add(self, truth: Picture, prediction: Picture) -> None:
        """Count one photo more."""
        error, place = prediction.error(truth), truth.bins.flatten()
        covered = area(error).flatten().double()
        self.pixels.append(torch.bincount(place, minlength=bins.COUNT).float().numpy())
        self.areas.append(torch.bincount(place, covered, minlength=bins.COUNT).float().numpy())
        self.error.append(float(error.mean()))
        mean_square = float(np.mean((truth.pixels.astype(np.float32) - prediction.pixels) ** 2))
        self.psnr.append(10 * math.log10(255**2 / max(mean_square, _ROUNDING)))
        self.ssim.append(ssim(truth.pixels, prediction.pixels))
        self.colorfulness.append(prediction.colorfulness)

    def score(self) -> Score:
        """Over all photos counted, of which there must be one at least."""
        pixels, areas = (np.array(by_photo, np.float64).sum(0) for by_photo in (self.pixels, self.areas))
        return Score(
            float(auc(pixels, areas)),
            float(rebalanced_auc(pixels, areas)),
            float(np.mean(self.psnr)),
            float(np.mean(self.ssim)),
            float(np.mean(self.colorfulness)),
        )


def ssim(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> float:
    """Of two (H, W, 3) uint8 pictures with sides of 11 and more; see the head of this file."""
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            truth,
            prediction,
            channel_axis=-1,
            data_range=255,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def colorfulness(rgb: NDArray[np.uint8]) -> float:
    """Hasler & Süsstrunk's M̂⁽³⁾ of an (H, W, 3) uint8 photo: 0 gray, 15 slightly, 33 moderately, 59 quite, 109 extremely colorful."""
    r, g, b = rgb.astype(float).transpose(2, 0, 1)
    red_green, yellow_blue = r - g, (r + g) / 2 - b
    return float(
        np.hypot(red_green.std(), yellow_blue.std()) + 0.3 * np.hypot(red_green.mean(), yellow_blue.mean())
    )


def rows(colorizers: Sequence[Colorizer], ages: Sequence[str] = ()) -> list[str]:
    """The names of what is compared: "gray", each net, "net · kind" where it saw a photo aged so, "truth".

    Raises InputError where two would have one name, or there is no such kind of age.
    """
    for kind in ages:
        if kind not in aging.AGES:
            raise InputError(f"photos do not age by {kind!r}: choose of {', '.join(aging.AGES)}, or all")
    names = ["gray"]
    for colorizer in colorizers:
        names += [colorizer.name, *(aged(colorizer.name, kind) for kind in ages)]
    names.append("truth")
    if len(set(names)) < len(names):
        raise InputError(f"each row needs a name of its own: {', '.join(names)}; evaluate such nets apart")
    return names


def aged(net: str, kind: str) -> str:
    """The name of a net's row on aged photos."""
    return f"{net} · {kind}"


def heading(row: str) -> str:
    """A row's name as tables and figures show it; in JSON, rows are called by their names."""
    return "ground truth" if row == "truth" else row


def colorized(
    colorizers: Sequence[Colorizer],
    photos: Sequence[Path],
    options: ColorOptions = ColorOptions(),
    ages: Sequence[str] = (),
) -> Iterator[Colorized]:
    """Each photo, colored by every row of `rows`.

    Of an aged photo the net sees the aged lightness, and its color is laid onto the photo as it was: rows differ by color alone. A photo
    ages alike in every evaluation: the seed comes from its name. Raises OSError for a photo that cannot be read, InputError as `rows` does.
    """
    names = rows(colorizers, ages)
    for start in range(0, len(photos), _BATCH):
        paths = photos[start : start + _BATCH]
        truths = [center_crop(data.read(path)) for path in paths]
        served = [Photo(truth, None, "PNG") for truth in truths]
        columns = [[gray(truth) for truth in truths]]
        for colorizer in colorizers:
            inputs = [colorizer.preprocess(photo) for photo in served]
            for seen in (inputs, *(_older(inputs, paths, kind) for kind in ages)):
                colors = zip(served, colorizer.infer(seen), strict=True)
                columns.append(
                    [colorizer.postprocess(photo, color, options).pixels for photo, color in colors]
                )
        columns.append(truths)
        for truth, *pictures in zip(truths, *columns, strict=True):
            yield truth, dict(zip(names, pictures, strict=True))


def _older(
    inputs: Sequence[NDArray[np.float32]], paths: Sequence[Path], kind: str
) -> list[NDArray[np.float32]]:
    """(1, h, w) lightness each, all of one size, aged."""
    seeds = torch.tensor([seed(path) for path in paths])
    return [*aging.AGES[kind](torch.from_numpy(np.stack(inputs)), seeds).numpy()]


def seed(path: Path) -> int:
    """By a photo's name and its folder's, so that what is drawn for it is the same in every evaluation."""
    return zlib.crc32(f"{path.parent.name}/{path.name}".encode())


def reduced(rgb: NDArray[np.uint8], short: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8, whole, with a shorter side of so many pixels at most."""
    height, width = rgb.shape[:2]
    scale = min(1.0, short / min(height, width))
    size = (round(width * scale), round(height * scale))
    return np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.LANCZOS))


def center_crop(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 → the protocol's (256, 256, 3) of it."""
    height, width = rgb.shape[:2]
    short = min(height, width)
    size = (max(SIDE, round(width * SIDE / short)), max(SIDE, round(height * SIDE / short)))
    resized = np.asarray(Image.fromarray(rgb).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - SIDE) // 2, (resized.shape[1] - SIDE) // 2
    return resized[top : top + SIDE, left : left + SIDE]


def lightness(rgb: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 sRGB → (H, W) L*, 0…100."""
    return color.lightness_from_rgb(_as_tensor(rgb))[0]


def from_lightness(lightness_HW: Tensor) -> NDArray[np.uint8]:
    """L*, 0…100 → (H, W, 3) uint8 sRGB without color."""
    coded = color.srgb_from_linear(color.cubed((lightness_HW + 16) / 116)).clamp(0, 1)
    return (coded * 255).round().byte()[..., None].repeat(1, 1, 3).numpy()


def gray(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo's lightness and no color, as 8-bit sRGB of the same shape."""
    return from_lightness(lightness(rgb))


def _as_tensor(rgb: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) uint8 → (1, 3, H, W), 0…1."""
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)[None].float() / 255


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """At most `count` of them, evenly chosen."""
    count = min(count, len(items))
    return [items[index * len(items) // count] for index in range(count)]
