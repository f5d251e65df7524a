"""What a net that colors is held to beside the distribution of colors: to show what looks right, and varies no more than the photo.

Cross-entropy asks each position by itself. Here the colors that are shown, the annealed mean of the answer, are compared:

- `perceptual`: features of ImageNet's EfficientNet-Lite0 over RGB, at strides 2, 4 and 8, of the colored picture and of the photo, each
  position's scaled to length 1 (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
  https://arxiv.org/abs/1801.03924, without its learned weights). It is not the net that judges in `evaluate`.
- `smoothness`: what ab varies more than the photo's, between places `_DISTANCES` apart; less where lightness varies too.

The weights of both are gradients at the logits of .4 and .8 of the cross-entropy's, measured once (LOG.md, 2026-12-01).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import bins, color
from model.nets.backbone import autocast
from model.nets.lite import Backbone, load_backbone
from model.nets.plan import LITE_DEVIATION, LITE_MEAN

_TEMPERATURE, _TAKEN_BACK = 0.5, 0.2  # as the shipped weights are decoded
_STRIDE = 4  # of the net's answer
_BLOCKS, _TAPS = 5, (0, 2, 4)
_DISTANCES = (1, 4)  # positions of the answer
_EDGE = 6.0  # L*: across such a step varying counts a third


class Realism(nn.Module):
    """The perceptual loss and the smoothness of what a net's logits show."""

    def __init__(self, weights: Tensor, imagenet: Mapping[str, Tensor]) -> None:
        """`weights`: (313,) class weights that the net learns by. `imagenet`: as `nets.lite.load_backbone` takes them."""
        super().__init__()
        self.register_buffer("taken_back", bins.taken_back(weights, _TAKEN_BACK)[:, None, None])
        backbone = Backbone(channels=3)
        load_backbone(backbone, imagenet)
        self.stem, self.blocks = backbone.stem, backbone.blocks[:_BLOCKS]
        self.eval().requires_grad_(False)

    def forward(self, logits_NQhw: Tensor, lightness_N1HW: Tensor, ab_N2hw: Tensor) -> tuple[Tensor, Tensor]:
        """Both losses, each a mean over photos and places. The colors are the photo's, at the answer's resolution."""
        shown = bins.annealed_mean(logits_NQhw.float() + cast(Tensor, self.taken_back), _TEMPERATURE)
        with torch.no_grad():
            expected = self._features(lightness_N1HW, ab_N2hw)
        found = self._features(lightness_N1HW, shown)
        distances = [(a - b).square().sum(1).mean() for a, b in zip(found, expected, strict=True)]
        return torch.stack(distances).sum(), smoothness(shown, ab_N2hw, F.avg_pool2d(lightness_N1HW, _STRIDE))

    def train(self, mode: bool = True) -> Realism:
        return super().train(False)

    def _features(self, lightness_N1HW: Tensor, ab_N2hw: Tensor) -> list[Tensor]:
        ab = F.interpolate(ab_N2hw, scale_factor=_STRIDE, mode="bilinear")
        rgb = color.rgb_from_lab(torch.cat([lightness_N1HW, ab], 1))
        features = []
        with autocast(rgb.device):
            x = ((rgb - LITE_MEAN) / LITE_DEVIATION).contiguous(memory_format=torch.channels_last)
            x = self.stem(x)
            for index, block in enumerate(self.blocks):
                x = block(x)
                if index in _TAPS:
                    features.append(F.normalize(x.float(), dim=1))
        return features


def smoothness(shown_N2hw: Tensor, ab_N2hw: Tensor, lightness_N1hw: Tensor) -> Tensor:
    """How much more the colors shown vary than the photo's, in ab units, within regions: a sum over distances and both directions."""
    total = shown_N2hw.new_zeros(())
    for dim in (2, 3):
        for distance in _DISTANCES:
            shown, true, lightness = (_steps(x, dim, distance) for x in (shown_N2hw, ab_N2hw, lightness_N1hw))
            within = torch.exp(-lightness[:, 0].abs() / _EDGE)
            total = total + ((_length(shown) - _length(true)).clamp_min(0) * within).mean()
    return total


def _steps(x: Tensor, dim: int, distance: int) -> Tensor:
    length = x.shape[dim] - distance
    return x.narrow(dim, distance, length) - x.narrow(dim, 0, length)


def _length(step_N2hw: Tensor) -> Tensor:
    return (step_N2hw.square().sum(1) + 0.01).sqrt()  # which has a gradient at 0 too
