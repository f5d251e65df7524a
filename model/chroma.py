"""Low-resolution color onto a photo's own lightness at full resolution, band by band, so that 50 megapixels fit into little memory."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from model import lab

_BAND = 1 << 17  # pixels worked on at once: few enough for a cache, and enough for few steps
_HALVINGS = 10  # of the interval that holds the largest chroma: to a thousandth
_ENTRIES = 1 << 16


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
    linear = _fitted(lightness_HW.flatten(), ab_2HW.flatten(1))
    return lab.srgb_from_linear(linear).clamp(0, 1).view(3, *lightness_HW.shape)


def fit_bytes(lightness_HW: Tensor, ab_2HW: Tensor) -> Tensor:
    """As `fit`, in 8 bits: (3, H, W) uint8 on the CPU. The transfer curve is looked up: at most a fortieth of a step beside rounding it."""
    linear = _fitted(lightness_HW.flatten(), ab_2HW.flatten(1))
    place = linear.mul_(_ENTRIES - 1).add_(0.5).clamp_(0, _ENTRIES - 1).to(torch.int32)
    return _bytes_of_linear().index_select(0, place.flatten()).view(3, *lightness_HW.shape)


def _fitted(lightness_P: Tensor, ab_2P: Tensor) -> Tensor:
    """(3, P) linear RGB, within sRGB give or take a third of an 8-bit step."""
    y = (lightness_P + 16) / 116
    slopes_2P = ab_2P * torch.tensor([[1 / 500], [-1 / 200]], device=ab_2P.device)  # of x and z beside y
    of_xyz = lab.rgb_from_xyz(ab_2P.device)
    from_y = of_xyz[:, 1:2] * lab.cubed(y)
    of_xz = of_xyz[:, ::2]
    linear = torch.addmm(from_y, of_xz, lab.cubed(y + slopes_2P))
    outside = (~_shown(linear)).nonzero().squeeze(1)
    if len(outside):
        few = (from_y.index_select(1, outside), of_xz, y[outside], slopes_2P.index_select(1, outside))
        linear[:, outside] = _drawn_in(*few)
    return linear


def _drawn_in(from_y_3P: Tensor, of_xz: Tensor, y_P: Tensor, slopes_2P: Tensor) -> Tensor:
    """(3, P) linear RGB of these colors with the largest share of their ab that sRGB can show, by halving. Gray, of share 0, always is."""
    low, step = torch.zeros_like(y_P), 0.5
    for _ in range(_HALVINGS):
        inside = _shown(torch.addmm(from_y_3P, of_xz, lab.cubed(y_P + slopes_2P * (low + step))))
        low += inside * step
        step /= 2
    return torch.addmm(from_y_3P, of_xz, lab.cubed(y_P + slopes_2P * low))


def _shown(linear_3P: Tensor) -> Tensor:
    """(P,) bool: whether sRGB has the color, give or take a third of an 8-bit step."""
    return (linear_3P.amin(0) > -1e-4) & (linear_3P.amax(0) < 1 + 5e-4)


@cache
def _bytes_of_linear() -> Tensor:
    """(65536,) uint8: the sRGB step of each linear value 0…1."""
    srgb = lab.srgb_from_linear(torch.linspace(0, 1, _ENTRIES, dtype=torch.float64))
    return (srgb * 255).round().byte()
