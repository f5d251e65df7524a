"""Raising color to full resolution and fitting it into the gamut."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from model import chroma, lab


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 37), (7, 500), (3000, 900)])
def test_bands_add_up_to_one_bilinear_interpolation(height: int, width: int) -> None:
    low = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0)) * 40
    whole = F.interpolate(low[None], (height, width), mode="bilinear", align_corners=False)[0]
    rows = 0
    for top, band in chroma.raised(low, height, width):
        assert top == rows
        torch.testing.assert_close(band, whole[:, top : top + band.shape[1]], atol=1e-3, rtol=0)
        rows += band.shape[1]
    assert rows == height


def test_a_large_photo_is_worked_on_in_bands_of_bounded_size() -> None:
    bands = chroma.raised(torch.zeros(2, 8, 8), 5000, 4000)
    assert max(band.shape[1] * band.shape[2] for _, band in bands) <= 1 << 20


def test_colors_inside_the_gamut_are_left_alone() -> None:
    rgb = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    photo = lab.lab_from_rgb(rgb)[0]
    torch.testing.assert_close(chroma.fit(photo[0], photo[1:]), rgb[0], atol=2e-3, rtol=0)


def test_colors_outside_keep_lightness_and_hue_and_lose_no_more_chroma_than_they_must() -> None:
    generator = torch.Generator().manual_seed(2)
    lightness = torch.rand(50, 50, generator=generator) * 100
    ab = (torch.rand(2, 50, 50, generator=generator) - 0.5) * 300
    fitted = chroma.fit(lightness, ab)
    assert fitted.min() >= 0
    assert fitted.max() <= 1
    after = lab.lab_from_rgb(fitted[None])[0]
    assert (after[0] - lightness).abs().mean() < 0.05
    assert (after[0] - lightness).abs().max() < 1
    strong = after[1:].norm(dim=0) > 5
    turn = torch.atan2(after[2], after[1]) - torch.atan2(ab[1], ab[0])
    turn = torch.remainder(turn + torch.pi, 2 * torch.pi) - torch.pi
    assert turn[strong].abs().max() < 0.1
    shrunk = strong & (after[1:].norm(dim=0) < ab.norm(dim=0) - 1)
    a_little_more = lab.rgb_from_lab(torch.cat([after[:1], after[1:] * 1.06])[None])[0]
    outside = ((a_little_more < 0) | (a_little_more > 1)).any(0)
    assert outside[shrunk].float().mean() > 0.99


def test_eight_bits_are_the_nearest_to_what_fits() -> None:
    generator = torch.Generator().manual_seed(3)
    lightness = torch.rand(200, 300, generator=generator) * 100
    ab = (torch.rand(2, 200, 300, generator=generator) - 0.5) * 200
    fitted = chroma.fit(lightness, ab) * 255
    coded = chroma.fit_bytes(lightness, ab)
    assert coded.dtype == torch.uint8
    assert (coded - fitted).abs().max() < 0.53, "half a step is rounding"
