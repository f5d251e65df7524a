"""Reference colors: what a person knows of a photo's colors, without saying where they are. A tram was green and cream.

A palette of a few colors becomes a distribution t over the net's bins: of each color a Gaussian, of gray one as well, and a part of the
net's usual colors u, since no palette names everything. At each place the net's logits are moved by a share of log(t/u), bounded above:
named colors become likelier where the net holds them possible, and others give way. The numbers are measured: docs/evaluation.md,
"Reference colors". All in numpy; Q bins, h×w positions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model.errors import InputError
from model.formats.raster import to_eight_bits
from model.upsample import XYZ_FROM_RGB

MOST: Final = 16
"""Colors of a palette."""
COLORS: Final = 8
"""Of a reference photo, at most."""
_SIGMA: Final = 12.0  # ab units
_GRAY: Final = 1.0  # how much of t, beside 1 a color, is gray
_USUAL: Final = 0.5  # and how much is what the net's colors are without a palette
_SHARE: Final = 0.8
_BOUND: Final = 2.0
_ONE_COLOR: Final = 20.0  # ab units: what counts as one color of a reference photo
_STEP: Final = 10.0  # ab units: its colors are counted on the grid of the bins
_REACH: Final = 16  # steps, beyond any color of sRGB
_LEAST: Final = 0.01  # of a reference photo, to be one of its colors
_SIDE: Final = 256  # pixels of the longer side at which a reference photo is looked at
HEX: Final = re.compile(r"#[0-9a-fA-F]{6}")
"""How a color is written: #rrggbb."""


def check(colors: Sequence[str]) -> None:
    """Raises InputError for what is no palette: more than `MOST` colors, or one that is not #rrggbb."""
    if len(colors) > MOST:
        raise InputError(f"the palette has {len(colors)} colors: {MOST} are the most")
    for color in colors:
        if not HEX.fullmatch(color):
            raise InputError(f"{color!r} is no color of a palette: write it as #rrggbb")


def ab_of(color: str) -> NDArray[np.float32]:
    """#rrggbb → (2,) CIELAB a and b."""
    return _ab(np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]))


def shift(
    colors: Sequence[str], centers_Q2: NDArray[np.float32], usual_Q: NDArray[np.float64]
) -> NDArray[np.float32]:
    """(Q,) to add to the logits of each place. `usual_Q`: the distribution of the net's colors without a palette."""
    named_K2 = np.stack([*map(ab_of, colors), np.zeros(2, np.float32)])
    parts_K = np.append(np.ones(len(colors)), _GRAY)
    squares_KQ = ((named_K2[:, None] - centers_Q2) ** 2).sum(-1)
    near_KQ = np.exp((squares_KQ.min(1, keepdims=True) - squares_KQ) / (2 * _SIGMA**2))
    wanted_Q = parts_K @ (near_KQ / near_KQ.sum(1, keepdims=True)) + _USUAL * np.maximum(usual_Q, 1e-9)
    wanted_Q /= parts_K.sum() + _USUAL
    odds_Q = np.log(wanted_Q / np.maximum(usual_Q, 1e-9))
    moved: NDArray[np.float32] = np.minimum(_SHARE * odds_Q, _BOUND).astype(np.float32)
    return moved


def palette_of(pixels: NDArray[Any], count: int = COLORS) -> list[tuple[str, float]]:
    """The main colors of a photo in color, (H, W) or (H, W, 3) sRGB of 8 or 16 bits: at most `count` as #rrggbb, and the share of each.

    The most frequent first, each the mean of what lies within 20 ab units of the fullest 10 × 10 units that are left. Gray is one of them
    where the photo has some. Fewer than `count` where what is left is below a hundredth.
    """
    image = Image.fromarray(to_eight_bits(pixels)).convert("RGB")
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    rgb_P3 = np.asarray(image).reshape(-1, 3)
    ab_P2 = _ab(rgb_P3)
    across_P, down_P = np.rint(ab_P2 / _STEP).astype(np.intp).T + _REACH
    cells_P = across_P * 2 * _REACH + down_P
    left_P = np.ones(len(ab_P2), np.bool_)
    found = []
    for _ in range(count):
        fullest = np.bincount(cells_P[left_P], minlength=1).argmax()
        peak = _STEP * (np.array(divmod(fullest, 2 * _REACH)) - _REACH)
        here_P = left_P & (np.hypot(*(ab_P2 - peak).T) <= _ONE_COLOR)
        if here_P.mean() < _LEAST:
            break
        red, green, blue = np.rint(rgb_P3[here_P].mean(0)).astype(int)
        found.append((f"#{red:02x}{green:02x}{blue:02x}", float(here_P.mean())))
        left_P &= ~here_P
    return sorted(found, key=lambda color: -color[1])


def _ab(rgb: NDArray[Any]) -> NDArray[np.float32]:
    """(…, 3) sRGB, 0…255 → (…, 2) CIELAB a and b."""
    code = rgb / 255
    linear = np.where(code > 0.04045, ((code + 0.055) / 1.055) ** 2.4, code / 12.92)
    xyz = linear @ (XYZ_FROM_RGB / XYZ_FROM_RGB.sum(1)[:, None]).T
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([500 * (x - y), 200 * (y - z)], -1).astype(np.float32)
