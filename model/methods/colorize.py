"""Learning to color, from photographs alone: Zhang, Isola & Efros, "Colorful Image Colorization", ECCV 2016.

https://arxiv.org/abs/1603.08511. The view takes a photo's lightness for input and its own colors for the answer; the loss is the
cross-entropy against soft-encoded bins, each position weighed by how rare its color is (equations 2–4).

The net is the product's, with its decoder; or `TrunkColorizer`, to teach a trunk: the paper's feature learning (section 3.2).
Other than there, where the trunk is AlexNet up to fc7, made convolutional and dilated: a trunk of any kind, one convolution of 256
channels over its last layer raised to an eighth of the photo's side, and answers there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model import bins, views
from model.methods.view import view
from model.nets.trunk import Trunk
from model.training.augment import Print

_STRIDE = 8  # of a trunk's answers, in pixels


class Colorize:
    """A net that gives (N, 313, H/4, W/4) logits, or fewer, for (N, 1, H, W) lightness, and what it is taught by."""

    def __init__(
        self,
        net: nn.Module,
        weights: Tensor,
        neighbors: int = bins.NEIGHBORS,
        age: float = 0.0,
        crops: views.Strengths | None = None,
    ) -> None:
        """`weights`: (313,) class weights, as from `bins.class_weights`; all ones, as for λ = 1, are plain classification.

        `age`: the share of photos that are seen as old prints. `crops`: what to cut out of photos, half of them mirrored.
        """
        self.net, self.weights, self.neighbors, self.age, self.crops = net, weights, neighbors, age, crops

    def loss(self, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
        """The rebalanced cross-entropy of a batch, in nats a position: about 5.75, ln 313, for a net that knows nothing."""
        if self.crops:
            rgb_N3HW = views.view(rgb_N3HW, ("crop and flip",), self.crops, generator).clamp_(0, 1)
        seeds_N = torch.randint(2**62, (len(rgb_N3HW),), generator=generator)
        lightness, ab = view(rgb_N3HW, seeds_N, Print(self.age))
        # The net alone: Lab and the loss want float32.
        with torch.autocast(lightness.device.type, torch.bfloat16):
            logits = self.net(lightness.contiguous(memory_format=torch.channels_last))
        if logits.shape[2:] != ab.shape[2:]:
            ab = F.adaptive_avg_pool2d(ab, logits.shape[2:])
        target, share = bins.encode(ab, self.neighbors)
        return soft_cross_entropy(logits, target, share, self.weights.to(logits.device)[target[:, 0]])


class TrunkColorizer(nn.Module):
    """A trunk of one channel, and what answers by its last layer."""

    def __init__(self, trunk: Trunk) -> None:
        """ValueError for a trunk that sees colors."""
        if trunk.channels != 1:
            raise ValueError("a trunk that sees colors learns nothing by naming them: channels must be 1")
        super().__init__()
        self.trunk = trunk
        self.head = nn.Sequential(
            nn.Conv2d(trunk.width, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, bins.COUNT, 1),
        )

    def forward(self, lightness_N1HW: Tensor) -> Tensor:
        """L* in 0…100, sides multiples of 8 → (N, 313, H/8, W/8) logits."""
        height, width = lightness_N1HW.shape[2:]
        top = self.trunk.taps(lightness_N1HW / 50 - 1)[self.trunk.layers[-1]]
        raised = F.interpolate(top, (height // _STRIDE, width // _STRIDE), mode="bilinear")
        logits: Tensor = self.head(raised)
        return logits


def soft_cross_entropy(
    logits_NQHW: Tensor, target_NKHW: Tensor, share_NKHW: Tensor, weight_NHW: Tensor
) -> Tensor:
    """Mean over positions of weight · −Σ_k share_k · log softmax(logits)[target_k].

    Forward and gradient in one pass over the logits, as these are large: at batch 32 and 256 pixels 164 MB in float32, of which autograd
    would keep several copies. The gradient has no gradient of its own.
    """
    apply: Callable[..., Tensor] = _SoftCrossEntropy.apply
    return apply(logits_NQHW, target_NKHW, share_NKHW, weight_NHW)


class _SoftCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor, share: Tensor, weight: Tensor) -> Tensor:
        # One row a position: as the net's answer lies in memory (channels last), so that nothing is copied to be turned.
        rows, chosen, shares = _rows(logits).float(), _rows(target), _rows(share)
        log_p = torch.log_softmax(rows, 1)
        loss = -(log_p.gather(1, chosen) * shares).sum(1).mul(weight.flatten()).mean()
        if ctx.needs_input_grad[0]:
            gradient = log_p.exp_().scatter_add_(1, chosen, -shares)
            gradient.mul_(weight.reshape(-1, 1) / weight.numel())
            ctx.save_for_backward(gradient.to(logits.dtype).view(*weight.shape, -1).movedim(-1, 1))
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None, None


def _rows(x_NKHW: Tensor) -> Tensor:
    return x_NKHW.movedim(1, -1).flatten(0, 2)
