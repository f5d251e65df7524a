"""A net without its head, as methods and evaluations use it, and how a photo becomes its input."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from model import color

# Of ImageNet's photographs, in sRGB 0…1: the values that everybody uses.
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """Layers on top of one another, from a picture to features.

    A net is a subclass that sets the three values below, and each layer as a module under its name: the pool beneath it, if any, included.
    """

    layers: tuple[str, ...]
    """From bottom to top."""
    width: int
    """Channels of the last layer."""
    channels: int
    """Of the input: 3, or 1 for lightness. See `normalized`."""

    def taps(self, x_NCHW: Tensor) -> dict[str, Tensor]:
        """Each layer's (N, C_l, H_l, W_l), after its nonlinearity, from bottom to top; under autocast in its precision."""
        found = {}
        for name in self.layers:
            x_NCHW = self.get_submodule(name)(x_NCHW)
            found[name] = x_NCHW
        return found

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, width): the last layer averaged over positions."""
        # Not by `taps`, which would keep all layers in memory even where no gradient needs them.
        for name in self.layers:
            x_NCHW = self.get_submodule(name)(x_NCHW)
        return x_NCHW.mean((2, 3))


def autocast(device: torch.device) -> torch.autocast:
    """Around a net in training: bfloat16 where the device is made for it, float32 elsewhere. Float64 stays what it is."""
    return torch.autocast(device.type, torch.bfloat16, enabled=_has_bf16(device.type))


@cache
def _has_bf16(device: str) -> bool:
    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device == "cpu" and any(
        torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16")
    )


def initialize(net: nn.Module) -> None:
    """Initialize all convolutions so that gradients keep their variance from layer to layer (He et al. 2015, section 2.2, equation 14)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def normalized(rgb_N3HW: Tensor, channels: int = 3) -> Tensor:
    """sRGB photos, uint8 or float in 0…1, → (N, channels, H, W) float32 of about mean 0, deviation 1: the input of every backbone.

    Three channels are RGB, each less its mean and over its deviation; one is lightness as L*/50 − 1, from −1 to 1. Other counts raise
    ValueError.
    """
    rgb = rgb_N3HW.float() if rgb_N3HW.is_floating_point() else rgb_N3HW.float() / 255
    if channels == 1:
        return color.lightness_from_rgb(rgb)[:, None] / 50 - 1
    if channels != 3:
        raise ValueError(f"a backbone sees 3 channels (RGB) or 1 (lightness), not {channels}")
    mean, deviation = (torch.tensor(of, device=rgb.device)[:, None, None] for of in (MEAN, DEVIATION))
    # In place: for a batch, allocating memory takes as long as the arithmetic.
    return (rgb - mean).div_(deviation)
