"""What a net that colors is held to beside the distribution of colors: that the picture that it shows looks like a photograph.

Cross-entropy asks each position by itself. Here the colors that are shown, the annealed mean of the answer, are compared:

- `perceptual`: features of ImageNet's EfficientNet-Lite0 over RGB, at strides 2, 4 and 8, of the colored picture and of the photo, each
  position's scaled to length 1 (Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018,
  https://arxiv.org/abs/1801.03924, without its learned weights). It is not the net that judges in `evaluate`.
- `smooth`: what ab varies more than the photo's from a position to the next; less where lightness varies too.
- `adversary`: what a small discriminator over patches, which learns beside the net, takes for a photo's colors (Isola et al.,
  "Image-to-Image Translation with Conditional Adversarial Networks", CVPR 2017, https://arxiv.org/abs/1611.07004, with the hinge loss of
  Lim & Ye, "Geometric GAN", 2017, https://arxiv.org/abs/1705.02894).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from model import bins, color
from model.errors import InputError
from model.nets.backbone import autocast
from model.nets.lite import Backbone, load_backbone
from model.nets.plan import AB_UNIT, LITE_DEVIATION, LITE_MEAN

_STRIDE = 4  # of the net's answer
_BLOCKS, _TAPS = 5, (0, 2, 4)
_EDGE = 6.0  # L*: across such a step varying counts a third


@dataclass(frozen=True)
class RealismWeights:
    """What each part counts for beside the cross-entropy."""

    perceptual: float = 0.0
    smooth: float = 0.0
    adversary: float = 0.0

    def __post_init__(self) -> None:
        for name, weight in asdict(self).items():
            if not weight >= 0:
                raise InputError(f"realism.{name} is {weight}, and must not be negative")

    @property
    def any(self) -> bool:
        return bool(max(asdict(self).values()) > 0)


class Realism:
    """Losses of what a net's logits show."""

    def __init__(
        self, taken_back: Tensor, temperature: float, weights: RealismWeights, imagenet: Mapping[str, Tensor]
    ) -> None:
        """`taken_back`: (313,) added to the logits before they are decoded at this temperature. `imagenet`: as `nets.lite.load_backbone`
        takes them, for the perceptual loss.
        """
        self.taken_back, self.temperature, self.weights = taken_back[:, None, None], temperature, weights
        self.features = Features(imagenet) if weights.perceptual else None
        self.discriminator = Discriminator() if weights.adversary else None

    def loss(self, logits_NQhw: Tensor, lightness_N1HW: Tensor, ab_N2hw: Tensor) -> Tensor:
        """The weighted sum, and the discriminator's own loss, whose gradients reach the discriminator alone.

        The colors are the photo's, at the answer's resolution.
        """
        shown = bins.annealed_mean(
            logits_NQhw.float() + self.taken_back.to(logits_NQhw.device), self.temperature
        )
        coarse = F.avg_pool2d(lightness_N1HW, _STRIDE)
        total = shown.new_zeros(())
        if self.features is not None:
            distance = self.features.to(shown.device).distance(lightness_N1HW, shown, ab_N2hw)
            total = total + self.weights.perceptual * distance
        if self.weights.smooth:
            total = total + self.weights.smooth * smoothness(shown, ab_N2hw, coarse)
        if self.discriminator is not None:
            fooled, told = against(self.discriminator, coarse, shown, ab_N2hw)
            total = total + self.weights.adversary * fooled + told
        return total


class Features(nn.Module):
    """Early features of ImageNet's EfficientNet-Lite0, which learn nothing here."""

    def __init__(self, imagenet: Mapping[str, Tensor]) -> None:
        super().__init__()
        backbone = Backbone(channels=3)
        load_backbone(backbone, imagenet)
        self.stem, self.blocks = backbone.stem, backbone.blocks[:_BLOCKS]
        self.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Features:
        return super().train(False)

    def forward(self, lightness_N1HW: Tensor, ab_N2hw: Tensor) -> list[Tensor]:
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

    def distance(self, lightness_N1HW: Tensor, shown_N2hw: Tensor, ab_N2hw: Tensor) -> Tensor:
        """How far what is shown is from the photo: a mean over photos and places, added up over the strides."""
        with torch.no_grad():
            expected = self(lightness_N1HW, ab_N2hw)
        found = self(lightness_N1HW, shown_N2hw)
        distances = [(a - b).square().sum(1).mean() for a, b in zip(found, expected, strict=True)]
        return torch.stack(distances).sum()


class Discriminator(nn.Module):
    """Says of patches of 18×18 positions whether their colors are a photo's (above 0) or a net's (below), given their lightness."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 48, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(48, 96, 4, 2, 1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(96, 1, 3, 1, 1),
        )

    def forward(self, lightness_N1hw: Tensor, ab_N2hw: Tensor) -> Tensor:
        scaled = torch.cat([lightness_N1hw / 50 - 1, ab_N2hw / AB_UNIT], 1)
        answer: Tensor = self.layers(scaled)
        return answer


def against(
    discriminator: nn.Module, lightness_N1hw: Tensor, shown_N2hw: Tensor, ab_N2hw: Tensor
) -> tuple[Tensor, Tensor]:
    """What the net pays for colors that are told from a photo's, and what the discriminator pays for not telling them.

    The gradients of the first reach what is shown alone, those of the second the discriminator alone: one backward pass serves both.
    """
    held = {name: value.detach() for name, value in discriminator.named_parameters()}
    fooled = -functional_call(discriminator, held, (lightness_N1hw, shown_N2hw)).mean()
    on_shown, on_photo = discriminator(
        torch.cat([lightness_N1hw, lightness_N1hw]), torch.cat([shown_N2hw.detach(), ab_N2hw])
    ).chunk(2)
    return fooled, F.relu(1 + on_shown).mean() + F.relu(1 - on_photo).mean()


def smoothness(shown_N2hw: Tensor, ab_N2hw: Tensor, lightness_N1hw: Tensor) -> Tensor:
    """How much more the colors shown vary than the photo's, in ab units, from a position to the next: a sum over both directions."""
    total = shown_N2hw.new_zeros(())
    for dim in (2, 3):
        shown, true, lightness = (x.diff(dim=dim) for x in (shown_N2hw, ab_N2hw, lightness_N1hw))
        within = torch.exp(-lightness[:, 0].abs() / _EDGE)
        total = total + ((_length(shown) - _length(true)).clamp_min(0) * within).mean()
    return total


def _length(step_N2hw: Tensor) -> Tensor:
    return (step_N2hw.square().sum(1) + 0.01).sqrt()  # which has a gradient at 0 too
