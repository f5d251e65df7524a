"""Color of low resolution at full resolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from model import upsample


@pytest.mark.parametrize(("height", "width"), [(64, 64), (100, 37), (7, 500), (3000, 900)])
def test_bands_add_up_to_one_bilinear_interpolation(height: int, width: int) -> None:
    low = torch.randn(2, 16, 24, generator=torch.Generator().manual_seed(0)) * 40
    whole = F.interpolate(low[None], (height, width), mode="bilinear", align_corners=False)[0]
    rows = 0
    for top, band in upsample.bilinear(low, height, width):
        assert top == rows
        torch.testing.assert_close(band, whole[:, top : top + band.shape[1]], atol=1e-3, rtol=0)
        rows += band.shape[1]
    assert rows == height


def test_a_large_photo_is_worked_on_in_bands_of_bounded_size() -> None:
    bands = upsample.bilinear(torch.zeros(2, 8, 8), 5000, 4000)
    assert max(band.shape[1] * band.shape[2] for _, band in bands) <= 1 << 20
