"""Low-resolution ab → full resolution, band by band, so that a photo of 50 megapixels needs little memory."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

_BAND = 1 << 17  # pixels of one band: few enough for a processor's cache, and enough that there are few bands


def bilinear(ab_2hw: Tensor, height: int, width: int) -> Iterator[tuple[int, Tensor]]:
    """(2, h, w) ab → bands (first row, (2, rows, width)) of the full resolution, from top to bottom.

    The values are those of one `interpolate(…, mode="bilinear", align_corners=False)`. The width is interpolated first and for all bands
    at once, since its result has few rows.
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
