"""Low-resolution color onto a photo's own lightness at full resolution, band by band, so that 50 megapixels fit into little memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

from model import lab

_BAND = 1 << 20  # pixels worked on at once
_HALVINGS = 10  # of the interval that holds the largest chroma: to a thousandth


def raised(ab_2hw: Tensor, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """(2, h, w) ab → full resolution, bilinearly, as bands (first row, (2, rows, width)) from top to bottom.

    The same values as one `interpolate(…, align_corners=False)`: the width first, as its result is still low, then the rows of a band.
    """
    low = ab_2hw.shape[1]
    wide = F.interpolate(ab_2hw[None].float(), (low, width), mode="bilinear", align_corners=False)[0]
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        y = (torch.arange(top, min(top + rows, height), device=wide.device) + 0.5) * low / height - 0.5
        y = y.clamp(0, low - 1)
        above = y.floor().long()
        below = (above + 1).clamp_max(low - 1)
        share = (y - above)[:, None]
        yield top, torch.lerp(wide[:, above], wide[:, below], share)


def fit(lightness_HW: Tensor, ab_2HW: Tensor) -> Tensor:
    """Lightness 0…100 and ab → (3, H, W) sRGB in 0…1, with that lightness, and the nearest color of that hue which sRGB can show.

    Clipping channels would change how light a color is; here a color outside the gamut moves straight toward gray instead (constant L*
    and hue angle), just as far as it must.
    """
    photo = torch.cat([lightness_HW[None], ab_2HW])
    linear = lab.linear_from_lab(photo[None])[0]
    outside = ~_shown(linear)
    if outside.any():
        color = photo[:, outside]
        color[1:] *= _largest_share(color)
        linear[:, outside] = _linear(color)
    return lab.srgb_from_linear(linear).clamp(0, 1)


def _largest_share(color_3P: Tensor) -> Tensor:
    """(P,) the largest factor on ab, by halving, at which each (L*, a*, b*) is a color of sRGB; 0, which is gray, always is."""
    low = torch.zeros(color_3P.shape[1], device=color_3P.device)
    high = torch.ones_like(low)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        inside = _shown(_linear(torch.cat([color_3P[:1], color_3P[1:] * middle])))
        low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
    return low


def _linear(color_3P: Tensor) -> Tensor:
    return lab.linear_from_lab(color_3P[None, :, :, None])[0, :, :, 0]


def _shown(linear: Tensor) -> Tensor:
    """(3, …) linear RGB → (…) bool: whether sRGB has the color, give or take a third of an 8-bit step."""
    return ((linear > -1e-4) & (linear < 1 + 5e-4)).all(0)
