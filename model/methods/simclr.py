"""Learning from which views are of one photo: Chen, Kornblith, Norouzi & Hinton, "A Simple Framework for Contrastive Learning of Visual
Representations" (SimCLR), ICML 2020.

https://arxiv.org/abs/2002.05709. Two views are made of each photo (model/training/augment.py); a head projects the backbone's features of
each; and the loss, NT-Xent, compares each view with all other views in the batch, of all processes: which is of the same photo? The
backbone is kept; what it holds and the head drops is section 4.2.

Other than in the paper or the authors' code (https://github.com/google-research/simclr):
- Photos are normalized by their mean and deviation, as for every backbone here; the code shows them as 0…1.
- The head has the paper's two layers; the code's default is three since the second version. As in the code, both have batch norms, the
  last one without a shift.
- The loss is the paper's mean over all views; the code adds up the means over first and over second views, twice as much.
- The optimizer (LARS in the paper, with batches of 4096) is the configuration's; batch norm over all processes is the trainer's.
- What the augmentations do differently: the head of model/training/augment.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.errors import InputError
from model.methods import Method
from model.nets.backbone import Backbone, autocast, normalized
from model.training import augment, distributed
from model.training.batches import Batch


@dataclass(frozen=True)
class SimCLROptions:
    """All that decides what the net is shown and what it is to answer."""

    strengths: augment.Strengths
    first: tuple[str, ...]  # steps of augment.AUGMENTATIONS, for one view of each photo
    second: tuple[str, ...]  # and for the other
    shared: tuple[str, ...] = ()  # done once, before these: both views are of its result
    temperature: float = 0.1
    hidden: int | None = None  # units of the head's first layer; None: as many as the backbone has channels
    out: int = 128

    def __post_init__(self) -> None:
        for branch in (self.first, self.second):
            steps = self.shared + branch
            unknown = [step for step in steps if step not in augment.AUGMENTATIONS]
            if unknown:
                raise InputError(f"there is no view {unknown[0]!r}: {', '.join(augment.AUGMENTATIONS)}")
            if not set(steps) & set(augment.RESAMPLING):
                raise InputError(
                    f"a view needs its size from one of {', '.join(augment.RESAMPLING)}: {', '.join(steps)} has none"
                )
        if self.temperature <= 0:
            raise InputError(f"a temperature of {self.temperature} is not above 0")


def chen2020() -> SimCLROptions:
    """The paper's constants for ImageNet (section 2.1, appendix A, B.1)."""
    steps = ("crop and flip", "color", "blur")
    return SimCLROptions(augment.Strengths(side=224), first=steps, second=steps)


def small() -> SimCLROptions:
    """For photos of 160 pixels and batches of hundreds: half the jitter, as the paper has it for CIFAR-10 (B.9), and, as its authors
    advise for small batches (issue 166 of their code), a temperature of 0.2."""
    steps = ("crop and flip", "color", "blur")
    return SimCLROptions(augment.Strengths(side=128, color=0.5), first=steps, second=steps, temperature=0.2)


def asymmetric(options: SimCLROptions, *steps: str) -> SimCLROptions:
    """Figure 5's: one random crop of each photo; these steps make one view of it, the other is the crop itself.

    The paper does not say to what share of photos blur is done there: here to all. Jitter and gray keep their shares.
    """
    strengths = replace(options.strengths, blurred=1.0)
    return replace(options, strengths=strengths, shared=("crop",), first=steps, second=())


def projection_probe(options: SimCLROptions | None = None) -> SimCLROptions:
    """Table 3's, for what the projection forgets: crop and color, and rotation, noise and Sobel's edges, each drawn for itself.

    Shares are those in which `experiments.projection` has each: rotated three quarters of the views, so that all four ways are as
    frequent, noised and reduced to edges half of them. The paper adds the three "independently", which may mean three runs; this is one
    in which each view has any of them. Everything else is as in `options`, by default `small()`.
    """
    options = options or small()
    strengths = replace(options.strengths, rotated=0.75, noised=0.5, sobeled=0.5)
    steps = ("crop and flip", "color", "rotate", "noise", "sobel")
    return replace(options, strengths=strengths, first=steps, second=steps, shared=())


class SimCLR(Method):
    """A backbone that learns which views are of one photo."""

    net: SimCLRNet

    def __init__(self, backbone: Backbone, options: SimCLROptions) -> None:
        self.net = SimCLRNet(backbone, options.hidden or backbone.width, options.out)
        self.options = options

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean NT-Xent over views, in nats, of photos: uint8, or float 0…1, all of one size. ln(2N − 1) for a net that guesses."""
        return nt_xent(self.projections(batch.pixels, generator), self.options.temperature)

    def projections(self, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
        """(2N, out) float32: of the first views of N photos, then of the second."""
        seen = normalized(self.views(rgb_N3HW, generator), self.net.backbone.channels)
        with autocast(seen.device):
            z: Tensor = self.net(seen.contiguous(memory_format=torch.channels_last))
        return z.float()

    def views(self, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
        """(2N, 3, side, side) float32 in 0…1: the first views of N photos, then the second."""
        options, strengths = self.options, self.options.strengths
        if options.shared:
            rgb_N3HW = augment.augmented(rgb_N3HW, options.shared, strengths, generator)
        if options.first == options.second:
            return augment.augmented(torch.cat([rgb_N3HW, rgb_N3HW]), options.first, strengths, generator)
        branches = (options.first, options.second)
        return torch.cat([augment.augmented(rgb_N3HW, steps, strengths, generator) for steps in branches])


class SimCLRNet(nn.Module):
    """A backbone and the head that projects what it knows: h and g(h) in the paper."""

    def __init__(self, backbone: Backbone, hidden: int, out: int) -> None:
        super().__init__()
        self.backbone = backbone
        last = nn.BatchNorm1d(out)
        # PyTorch's norm has scale and shift or neither; the code's has the scale, which weighs one dimension against another.
        last.bias.requires_grad_(False)
        self.head = nn.Sequential(
            nn.Linear(backbone.width, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, out, bias=False),
            last,
        )

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, out) projections, of any length."""
        z: Tensor = self.head(self.backbone(x_NCHW))
        return z


def nt_xent(z_VD: Tensor, temperature: float) -> Tensor:
    """Mean over views of −ln(e^(s/τ) of the other view of its photo / Σ e^(s/τ) of all other views), s the cosine (equation 1).

    V = 2N: rows n and N + n are of one photo. The views of this process are compared with those of all processes, and the loss is the mean
    over this process's own; see `distributed.gathered` for its gradient. The largest tensor is (V, V · processes).
    """
    count = len(z_VD)
    z = F.normalize(z_VD, dim=1)
    candidates = distributed.gathered(z)
    itself = torch.arange(count, device=z.device) + distributed.place()[0] * count
    similarities = (z / temperature) @ candidates.T
    similarities = similarities.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(similarities, itself.roll(count // 2))
