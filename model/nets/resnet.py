"""ResNet-18 and ResNet-50: He, Zhang, Ren & Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.

https://arxiv.org/abs/1512.03385, table 1. Other than in the paper, and as most have it since:
- A block of three convolutions strides in the 3×3, not in the first 1×1 ("version 1.5", as torchvision, whose counts and costs are ours).
- The last norm of a block begins at zero, so that a block begins as its shortcut (Goyal et al. 2017, section 5.1).
- A stem for small pictures: one 3×3 convolution, no stride, no pool (Chen et al. 2020, appendix B.9).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, cast

from torch import Tensor, nn

from model.nets.backbone import Backbone, initialize

# Blocks of each stage; and of a block each convolution's kernel, channels over those of the stage, and whether it takes the stride
_DEPTHS = {
    18: ((2, 2, 2, 2), ((3, 1, True), (3, 1, False))),
    50: ((3, 4, 6, 3), ((1, 1, False), (3, 1, True), (1, 4, False))),
}
_STEM = 64  # channels of conv1, and of stage 1; they double from stage to stage


class Block(nn.Module):
    """Convolutions, each with its norm, and the input added to the last before its nonlinearity: through a 1×1 where shapes differ."""

    def __init__(self, channels_in: int, channels: int, depth: int, stride: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        out = channels_in
        for kernel, widening, strides in _DEPTHS[depth][1]:
            if layers:
                layers.append(nn.ReLU(inplace=True))
            layers += _normed(out, channels * widening, kernel, stride if strides else 1)
            out = channels * widening
        self.layers = nn.Sequential(*layers)
        same = stride == 1 and channels_in == out
        self.shortcut = nn.Sequential(*([] if same else _normed(channels_in, out, 1, stride)))
        self.out = out

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layers(x) + self.shortcut(x)).relu_()


class ResNet(Backbone):
    """(N, channels, H, W) → conv1, stage1…stage4.

    |    | parameters | stage1…stage4 | multiplications at 224 |
    | 18 | 11,176,512 | 64, 128, 256, 512 channels | 1.81 billion |
    | 50 | 23,508,032 | 256, 512, 1024, 2048 | 4.09 billion |

    With the stem "imagenet", conv1 has a position for every 2 pixels of a side, the stages for every 4, 8, 16 and 32; with "small" for
    every one, and 1, 2, 4 and 8. Other depths and stems raise ValueError.
    """

    layers = ("conv1", "stage1", "stage2", "stage3", "stage4")

    def __init__(
        self,
        depth: Literal[18, 50],
        channels: int = 3,
        stem: Literal["imagenet", "small"] = "imagenet",
    ) -> None:
        super().__init__()
        if depth not in _DEPTHS:
            raise ValueError(f"a ResNet has a depth of {' or '.join(map(str, _DEPTHS))}, not {depth}")
        if stem not in ("imagenet", "small"):
            raise ValueError(f'a stem is "imagenet" or "small", not "{stem}"')
        self.channels = channels
        kernel, stride = (7, 2) if stem == "imagenet" else (3, 1)
        self.conv1 = nn.Sequential(*_normed(channels, _STEM, kernel, stride), nn.ReLU(inplace=True))
        out = _STEM
        for stage, repeats in enumerate(_DEPTHS[depth][0]):
            parts: dict[str, nn.Module] = {}
            if stage == 0 and stem == "imagenet":
                parts["pool"] = nn.MaxPool2d(3, 2, padding=1)
            for repeat in range(repeats):
                block = Block(out, _STEM << stage, depth, 2 if stage and repeat == 0 else 1)
                parts[f"block{repeat + 1}"] = block
                out = block.out
            self.add_module(f"stage{stage + 1}", nn.Sequential(OrderedDict(parts)))
        self.width = out
        initialize(self)
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.zeros_(cast(nn.BatchNorm2d, module.layers[-1]).weight)


def _normed(channels_in: int, out: int, kernel: int, stride: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(channels_in, out, kernel, stride, kernel // 2, bias=False)
    return conv, nn.BatchNorm2d(out)
