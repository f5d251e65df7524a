"""Eccv16: the network of Zhang, Isola & Efros, Colorful Image Colorization (ECCV 2016), release 2.

https://arxiv.org/abs/1603.08511. The names of the layers are those of the published PyTorch weights, so that
these load by name and nothing is left over; see `model.checkpoint.load_release`.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from model import bins
from model.nets.plan import ECCV16_BLOCKS, ECCV16_WIDTH

STRIDE = 8  # both sides of the input must be multiples of it
AB_SCALE = 110.0  # the release's unit of ab


class Eccv16(nn.Module):
    """(N, 1, H, W) lightness in 0…100, sides multiples of 8 → (N, 313, H/4, W/4) float32 logits over bins.

    32,236,011 parameters, of which 626 are fixed: `model_out`, the release's decoding of probabilities into
    ab. It says which bin each logit stands for, and `forward` has no use for it. One 256×256 photo takes 83.5
    GFLOP in convolutions, two a multiplication (published: 83.6 in all). Other sides raise ValueError.
    """

    def __init__(self) -> None:
        super().__init__()
        channels = 1
        for place, (width, convs, stride, dilation) in enumerate(ECCV16_BLOCKS, 1):
            self.add_module(f"model{place}", _block(channels, width, convs, stride, dilation))
            channels = width
        self.model8 = nn.Sequential(
            nn.ConvTranspose2d(channels, ECCV16_WIDTH, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(ECCV16_WIDTH, ECCV16_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(ECCV16_WIDTH, ECCV16_WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(ECCV16_WIDTH, bins.COUNT, 1),
        )
        self.model_out = nn.Conv2d(bins.COUNT, 2, 1, bias=False)
        _initialize(self)

    @property
    def head(self) -> nn.Conv2d:
        """The last layer: features to logits."""
        return cast(nn.Conv2d, self.model8[-1])

    def forward(self, lightness_N1HW: Tensor) -> Tensor:
        height, width = lightness_N1HW.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"both sides must be multiples of {STRIDE}, not {height}×{width}")
        x = (lightness_N1HW - 50) / 100
        for place in range(1, len(ECCV16_BLOCKS) + 1):
            x = self.get_submodule(f"model{place}")(x)
        return cast(Tensor, self.model8(x)).float()


def _block(channels_in: int, channels: int, convs: int, stride: int, dilation: int) -> nn.Sequential:
    """3×3 convolutions, each with its ReLU, the last of them strided, and a norm after the last ReLU."""
    layers: list[nn.Module] = []
    for index in range(convs):
        step = stride if index == convs - 1 else 1
        layers += [nn.Conv2d(channels_in, channels, 3, step, padding=dilation, dilation=dilation), nn.ReLU()]
        channels_in = channels
    return nn.Sequential(*layers, nn.BatchNorm2d(channels))


@torch.no_grad()
def _initialize(net: Eccv16) -> None:
    """He et al. 2015: features keep their variance from layer to layer. The logits start near even odds."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
            taps = math.prod(module.kernel_size)
            if isinstance(module, nn.ConvTranspose2d):
                taps //= math.prod(module.stride)  # an output pixel meets no more of the kernel than this
            nn.init.normal_(module.weight, std=math.sqrt(2 / (module.in_channels * taps)))
            nn.init.zeros_(module.bias)
    nn.init.normal_(net.head.weight, std=0.01)
    net.model_out.weight.copy_(bins.centers().T[:, :, None, None] / AB_SCALE).requires_grad_(False)
