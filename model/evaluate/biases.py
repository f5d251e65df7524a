"""Which colors are preferred, against the truth: how much of the pictures has which hue, and the mean color."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from model.evaluate.color import Picture

_NEUTRAL = 8.0  # ab units: under this chroma a pixel has no hue worth the name
# Eighths of a turn about 0°, 45° … of the ab plane. Skin and wood are orange, as is sRGB's red (40°); a clear sky is blue (250°).
_HUES = ("pink", "orange", "yellow", "green", "teal", "azure", "blue", "purple")
COLUMNS = ("neutral", *_HUES, "a", "b")


def of(picture: Picture) -> NDArray[np.float64]:
    """A number for each of `COLUMNS`: percent of the pixels that are neutral, and nearest to each eighth of a turn; the mean a and b."""
    a, b = picture.ab
    sector = (torch.atan2(b, a) * (len(_HUES) / (2 * torch.pi))).round().long() % len(_HUES)
    place = torch.where(torch.hypot(a, b) < _NEUTRAL, 0, 1 + sector)
    share = torch.bincount(place.flatten(), minlength=1 + len(_HUES)).double() / place.numel()
    means = torch.stack([a.mean(), b.mean()]).double()
    return torch.cat([100 * share, means]).numpy()
