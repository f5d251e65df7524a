"""sRGB ↔ CIE L*a*b* (D65, 2° observer), batched, differentiable, on any device. Pictures go back into sRGB by `model.upsample`.

Lightness L* runs 0…100; a* and b* of the sRGB gamut lie within −87…99 and −108…95. The constants are those of IEC 61966-2-1 and
CIE 15, at the precision scikit-image uses, so that the two agree to float32 rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_RGB_FROM_XYZ = torch.linalg.inv(torch.tensor(_XYZ_FROM_RGB, dtype=torch.float64)).float()
_WHITE = (0.95047, 1.0, 1.08883)
_EPSILON = 0.008856  # where the cube root gives way to a line, in units of the white's
_KAPPA = 7.787
_OFFSET = 16.0 / 116.0


def linear_from_srgb(rgb: Tensor) -> Tensor:
    """Undo the sRGB transfer curve; any shape, values 0…1 in and out."""
    return torch.where(rgb > 0.04045, ((rgb.clamp_min(0.04045) + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def linear_from_bytes(rgb: Tensor) -> Tensor:
    """The same for uint8 sRGB of any shape → float32, 0…1: equal to `linear_from_srgb(rgb / 255)`, from a table of its 256 values."""
    table = linear_from_srgb(torch.arange(256, device=rgb.device) / 255)
    return table.index_select(0, rgb.flatten().int()).view(rgb.shape)


def srgb_from_linear(linear: Tensor) -> Tensor:
    """Apply the sRGB transfer curve; any shape, 0…1; out-of-gamut values pass through it unclipped, negative ones on its straight part."""
    return torch.where(
        linear > 0.0031308, 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055, linear * 12.92
    )


def lab_from_rgb(rgb_N3HW: Tensor) -> Tensor:
    """(N, 3, H, W) sRGB in 0…1 → (N, 3, H, W) L*, a*, b*, float32."""
    return lab_from_linear(linear_from_srgb(rgb_N3HW.float()))


def lab_from_linear(linear_N3HW: Tensor) -> Tensor:
    """(N, 3, H, W) linear-light RGB in 0…1 → (N, 3, H, W) L*, a*, b*, float32."""
    matrix = (
        torch.tensor(_XYZ_FROM_RGB, device=linear_N3HW.device)
        / torch.tensor(_WHITE, device=linear_N3HW.device)[:, None]
    )
    xyz = torch.einsum("ij,njhw->nihw", matrix, linear_N3HW)
    x, y, z = _curve(xyz).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def rgb_from_lab(lab_N3HW: Tensor) -> Tensor:
    """(N, 3, H, W) L*, a*, b* → (N, 3, H, W) sRGB, 0…1; what lies outside of the gamut is clipped, channel by channel."""
    lightness, a, b = lab_N3HW.unbind(1)
    y = (lightness + 16) / 116
    white = torch.tensor(_WHITE, device=lab_N3HW.device)[:, None, None]
    xyz = cubed(torch.stack([y + a / 500, y, y - b / 200], 1)) * white
    return srgb_from_linear(torch.einsum("ij,njhw->nihw", _RGB_FROM_XYZ.to(xyz.device), xyz).clamp(0, 1))


def lightness_from_rgb(rgb_N3HW: Tensor) -> Tensor:
    """(N, 3, H, W) sRGB in 0…1 → (N, H, W) L*, 0…100: the first channel of `lab_from_rgb` for a third of the work."""
    return lightness_from_linear(linear_from_srgb(rgb_N3HW.float()))


def lightness_from_linear(linear_N3HW: Tensor) -> Tensor:
    """(N, 3, H, W) linear-light RGB in 0…1 → (N, H, W) L*, 0…100."""
    weights = torch.tensor(_XYZ_FROM_RGB[1], device=linear_N3HW.device)
    return 116 * _curve(torch.einsum("j,njhw->nhw", weights, linear_N3HW)) - 16


def _curve(ratio: Tensor) -> Tensor:
    """CIE 15's cube root with its straight foot."""
    return torch.where(ratio > _EPSILON, ratio.clamp_min(_EPSILON) ** (1 / 3), _KAPPA * ratio + _OFFSET)


def cubed(f: Tensor) -> Tensor:
    """CIE 15's cube and the line below it, its tangent: the inverse of the curve from XYZ to Lab."""
    # To choose between the two by `where` takes ten times as long.
    bent = f.clamp_min(_EPSILON ** (1 / 3))
    return bent * bent * bent + (f - bent) / _KAPPA
