"""Learning to color by regression: what Zhang, Isola & Efros (ECCV 2016) compare classification with, equation 1.

The view is that of `colorize`; the loss is half the squared distance from the true color. Where several colors are likely, its best
answer is their mean, which is why it answers with the brown and gray between them (section 2.2).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from model.methods.view import view
from model.nets.lite import AB_UNIT
from model.training.augment import Print


class Regress:
    """A net that gives (N, 2, H/4, W/4) ab for (N, 1, H, W) lightness."""

    def __init__(self, net: nn.Module, age: float = 0.0) -> None:
        """`age`: the share of photos that are seen as old prints."""
        self.net, self.age = net, age

    def loss(self, rgb_N3HW: Tensor, generator: torch.Generator) -> Tensor:
        """The mean over positions of ½‖ab − answer‖², ab counted in `AB_UNIT`: about 1 for a net that answers gray.

        In ab units it would be 200 times as much; AdamW does not mind, but the log and the thresholds of its reader would.
        """
        seeds_N = torch.randint(2**62, (len(rgb_N3HW),), generator=generator)
        lightness, ab = view(rgb_N3HW, seeds_N, Print(self.age))
        with torch.autocast(lightness.device.type, torch.bfloat16):
            answer: Tensor = self.net(lightness.contiguous(memory_format=torch.channels_last))
        return ((answer.float() - ab) / AB_UNIT).square().sum(1).mean() / 2
