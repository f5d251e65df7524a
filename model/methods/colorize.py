"""Learning to color, from photographs alone: Zhang, Isola & Efros, "Colorful Image Colorization", ECCV 2016.

https://arxiv.org/abs/1603.08511. The view takes a photo's lightness for input and its own colors for the answer; the loss is the
cross-entropy against soft-encoded bins, each position weighted by how rare its color is (equations 2–4). `Regress` is what the paper
compares classification with (equation 1).

The net is the product's, with its decoder; or `BackboneColorizer`, to train a backbone: the paper's feature learning (section 3.2).

Other than in the paper or the released code (https://github.com/richzhang/colorization), and off in `zhang2016`:
- `exposure`: photos are developed a little differently each time, which the net sees and is not to answer.
- `average`: the color of a position is the mean over the 4×4 pixels below it; the code picks one of them.
- `realism`: losses of what is shown, beside its distribution (model/methods/realism.py).
- `distilled`: other photographs are answered as before (model/methods/distillation.py).
- `age` and `page`: old prints (model/training/aging.py). `hinted`: color hints (Zhang et al. 2017).
Always other than there:
- Gray photos are left out beforehand; the code gives the positions of photos without color no weight.
- A backbone is of any kind, where the paper's is AlexNet up to fc7, made convolutional and dilated: one convolution of 256 channels over
  its last layer upsampled to an eighth of the photo's side answers there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from model import bins, color
from model.errors import InputError
from model.methods import Method
from model.methods.distillation import Distillation
from model.methods.realism import Realism, RealismWeights
from model.nets.backbone import Backbone, autocast
from model.nets.plan import AB_UNIT
from model.training import aging, augment
from model.training.batches import Batch

STRIDE = 4  # a net's answer has a quarter of the photo's side
_BACKBONE_STRIDE = 8  # of a backbone's answers, in pixels
_PIECE = 512  # positions of the loss that a CPU's cache holds


@dataclass(frozen=True)
class ColorizeOptions:
    """What the net is shown, and how its answers are weighed. Shares are of photos, 0…1."""

    lam: float = 0.7  # how evenly colors are weighed: 1 alike, 0 by their full rarity; the paper takes .5
    neighbors: int = bins.NEIGHBORS  # bins that share a color
    age: float = 0.0  # the share that is seen as an old print would show it
    page: float = 0.0  # the share that lies on a page, whose color is to be neutral
    exposure: bool = True
    average: bool = True
    hinted: float = 0.0  # the share that comes with some of its colors
    realism: RealismWeights = field(default_factory=RealismWeights)
    distilled: float = 0.0  # what the distance from the start's answers to other photographs counts for
    crops: augment.Strengths | None = None  # for whole squares: what to cut out of them; half are mirrored

    def __post_init__(self) -> None:
        for name in ("lam", "age", "page", "hinted"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}, and must lie in 0…1")
        if not self.distilled >= 0:
            raise InputError(f"distilled is {self.distilled}, and must not be negative")
        if not 1 <= self.neighbors <= bins.COUNT:
            raise InputError(f"{self.neighbors} bins cannot share a color: 1…{bins.COUNT} can")


def zhang2016(crops: augment.Strengths) -> ColorizeOptions:
    """The released code's constants: 10 neighbors, where the paper says 5."""
    return ColorizeOptions(lam=0.5, neighbors=10, exposure=False, average=False, crops=crops)


class Colorize(Method):
    """A net that gives (N, 313, H/4, W/4) logits, or fewer, for (N, 1, H, W) lightness, and what it learns by."""

    def __init__(
        self,
        net: nn.Module,
        weights: Tensor,
        options: ColorizeOptions = ColorizeOptions(),
        realism: Realism | None = None,
        distillation: Distillation | None = None,
    ) -> None:
        """`weights`: (313,) class weights, as from `bins.class_weights`; all ones, as for λ = 1, are plain classification.

        `realism`: for options that weigh what is shown; `distillation`: for those that weigh it. ValueError without one for such, or with
        one for others.
        """
        if options.realism.any != (realism is not None):
            raise ValueError("losses of what is shown are wanted by options and realism, or by neither")
        if bool(options.distilled) != (distillation is not None):
            raise ValueError("distillation is wanted by options and given, or by neither")
        self.net, self.weights, self.options = net, weights, options
        self.realism, self.distillation = realism, distillation
        self.adversary = realism.discriminator if realism else None
        self.teacher = distillation.teacher if distillation else None

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The rebalanced cross-entropy of a batch, in nats a position, about 5.75, ln 313, for an untrained net; and what options add."""
        lightness, ab = view(batch, self.options, generator)
        # The net alone: Lab and the loss want float32.
        with autocast(lightness.device):
            logits = self.net(*_seen(lightness, ab, batch.seeds, self.options.hinted))
        loss = self.loss_of(logits, ab)
        if self.realism is not None:
            loss = loss + self.realism.loss(logits, lightness, ab)
        if self.distillation is not None:
            loss = loss + self.options.distilled * self.distillation.loss(self.net, batch.seeds)
        return loss

    def loss_of(self, logits_NQhw: Tensor, ab_N2HW: Tensor) -> Tensor:
        """Of answers, for colors at their resolution or finer."""
        if logits_NQhw.shape[2:] != ab_N2HW.shape[2:]:
            height, width = logits_NQhw.shape[2:]
            ab_N2HW = F.adaptive_avg_pool2d(ab_N2HW, (height, width))
        target, share = bins.encode(ab_N2HW, self.options.neighbors)
        weights = self.weights.to(logits_NQhw.device)[target[:, 0]]
        return soft_cross_entropy(logits_NQhw, target, share, weights)


class Regress(Method):
    """A net that gives (N, 2, H/4, W/4) ab for (N, 1, H, W) lightness, and learns by the squared distance from the true color.

    Where several colors are likely, its best answer is their mean, which is why it answers with the brown and gray between them
    (section 2.2).
    """

    def __init__(self, net: nn.Module, options: ColorizeOptions = ColorizeOptions()) -> None:
        self.net, self.options = net, options

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean over positions of ½‖ab − answer‖², ab counted in `AB_UNIT`: about 1 for a net that answers gray.

        In ab units it would be 200 times as much; AdamW does not mind, but the log and the thresholds of its reader would.
        """
        lightness, ab = view(batch, self.options, generator)
        with autocast(lightness.device):
            answer: Tensor = self.net(lightness.contiguous(memory_format=torch.channels_last))
        return self.loss_of(answer, ab)

    def loss_of(self, answer_N2hw: Tensor, ab_N2HW: Tensor) -> Tensor:
        """Of answers, for colors at their resolution."""
        return ((answer_N2hw.float() - ab_N2HW) / AB_UNIT).square().sum(1).mean() / 2


def view(batch: Batch, options: ColorizeOptions, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """(N, 1, H, W) lightness, 0…100, as the net is to see it, and (N, 2, H/4, W/4) colors that it is to answer with."""
    if batch.boxes is not None and batch.mirrored is not None:
        rgb = augment.resampled(batch.pixels, batch.boxes, batch.mirrored, batch.side, as_bytes=True)
    elif options.crops:
        rgb = augment.augmented(batch.pixels, ("crop and flip",), options.crops, generator).clamp_(0, 1)
    else:
        rgb = batch.pixels
    linear = color.linear_from_bytes(rgb) if rgb.dtype == torch.uint8 else color.linear_from_srgb(rgb.float())
    photo = aging.print_on_page(color.lab_from_linear(linear), batch.seeds, options.page)
    seen = photo[:, :1]
    if options.exposure:
        seen = aging.exposure(seen, batch.seeds)
    ab = F.avg_pool2d(photo[:, 1:], STRIDE) if options.average else photo[:, 1:, ::STRIDE, ::STRIDE]
    return aging.age(seen, batch.seeds, options.age), ab


def _seen(lightness: Tensor, ab: Tensor, seeds: Tensor, hinted: float) -> tuple[Tensor, ...]:
    lightness = lightness.contiguous(memory_format=torch.channels_last)
    return (lightness, hints(ab, seeds, hinted)) if hinted else (lightness,)


def hints(ab_N2hw: Tensor, seeds_N: Tensor, share: float) -> Tensor:
    """(N, 3, h, w) hint maps, of a share of the photos: their own colors in few small places, as Zhang et al. 2017 draw them.

    Of each the number of places is geometric with mean 8, their centers lie around the middle, their sides are one to three positions; one
    photo in a hundred gives away all its colors. Channels are a*/110, b*/110 and 1 where there is a hint.
    """
    count, _, height, width = ab_N2hw.shape
    maps = torch.zeros(count, 3, height, width, device=ab_N2hw.device)
    for hint, ab, seed in zip(maps, ab_N2hw, seeds_N.tolist(), strict=True):
        generator = torch.Generator().manual_seed(seed ^ 0x68696E74)
        chosen, everything, number = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        if chosen >= share:
            continue
        if everything < 0.01:
            hint[:2], hint[2] = ab / 110, 1
            continue
        places = 1 + int(math.log(max(number, 1e-12)) / math.log(1 - 1 / 8))
        centers = 0.5 + torch.randn(places, 2, generator=generator) / 4
        sides = torch.randint(1, 4, (places,), generator=generator).tolist()
        for (y, x), side in zip(centers.clamp(0, 0.999).tolist(), sides, strict=True):
            top, left = int(y * height), int(x * width)
            rows, columns = slice(top, top + side), slice(left, left + side)
            hint[:2, rows, columns] = (ab[:, rows, columns].mean((1, 2)) / 110)[:, None, None]
            hint[2, rows, columns] = 1
    return maps


class BackboneColorizer(nn.Module):
    """A backbone of one channel, and what answers by its last layer."""

    def __init__(self, backbone: Backbone) -> None:
        """InputError for a backbone that sees colors."""
        if backbone.channels != 1:
            raise InputError("a backbone that sees colors learns nothing by naming them: channels must be 1")
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Conv2d(backbone.width, 256, 3, padding=1, bias=False),
            nn.BatchNorm2d(256),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, bins.COUNT, 1),
        )

    def forward(self, lightness_N1HW: Tensor) -> Tensor:
        """L* in 0…100, sides multiples of 8 → (N, 313, H/8, W/8) logits."""
        height, width = lightness_N1HW.shape[2:]
        top = self.backbone.taps(lightness_N1HW / 50 - 1)[self.backbone.layers[-1]]
        upsampled = F.interpolate(
            top, (height // _BACKBONE_STRIDE, width // _BACKBONE_STRIDE), mode="bilinear"
        )
        logits: Tensor = self.head(upsampled)
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
        # One row a position: as the net's answer lies in memory (channels last), so that nothing is copied to be turned. On a CPU some
        # hundred rows at a time, which stay in its cache through all that is done to them.
        rows, chosen, shares, weights = _rows(logits), _rows(target), _rows(share), weight.flatten()
        gradient = torch.empty_like(rows) if ctx.needs_input_grad[0] else None
        size = _PIECE if logits.device.type == "cpu" else len(rows)
        losses = []
        for begin in range(0, len(rows), size):
            piece = slice(begin, begin + size)
            wide = rows[piece].to(torch.promote_types(rows.dtype, torch.float32))
            log_p = torch.log_softmax(wide, 1)
            losses.append(
                -(log_p.gather(1, chosen[piece]) * shares[piece]).sum(1).dot(weights[piece].to(wide.dtype))
            )
            if gradient is not None:
                each = log_p.exp_().scatter_add_(1, chosen[piece], -shares[piece].to(wide.dtype))
                gradient[piece] = each.mul_(weights[piece, None] / len(rows))
        if gradient is not None:
            ctx.save_for_backward(gradient.view(*weight.shape, -1).movedim(-1, 1))
        return torch.stack(losses).sum() / len(rows)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * upstream[0].to(gradient.dtype), None, None, None


def _rows(x_NKHW: Tensor) -> Tensor:
    return x_NKHW.movedim(1, -1).flatten(0, 2)
