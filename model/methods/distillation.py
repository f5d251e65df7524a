"""What holds a net that is trained further to what it knew: its own earlier answers, on other photographs than those that it is given.

A few hundred photographs of one kind pull a net to themselves, and all others change with them. Li & Hoiem, "Learning without Forgetting",
ECCV 2016 (https://arxiv.org/abs/1606.09282) keep the net's earlier answers as a second target. Here these are asked of squares of
scikit-image's photographs, which are there wherever this code runs, from 64 pixels to the whole, all seen at 160: crops of very few
pictures are enough for a net to learn another's answers (Asano & Saeed, "The Augmented Image Prior", ICLR 2023,
https://arxiv.org/abs/2112.00725). They are shown in gray, developed a little differently at times, without age, pages and hints.
"""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from model import color
from model.nets.backbone import autocast
from model.training import aging, data

_SIDE = 160  # pixels of a crop, as the nets see it
_LEAST = 64  # and as it is cut, at least
_SEED = 0x64697374
_PHOTOS = (  # by NASA, S. van der Walt, R. Michetti, SpaceX, and as `skimage.data` says of the others: CC0 or out of copyright
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "retina.jpg",
    "rocket.jpg",
)


class Distillation:
    """A net as it was before training, and the photographs that both are asked about."""

    def __init__(self, teacher: nn.Module, shift: Tensor) -> None:
        """`shift`: (313,) added to the teacher's logits, for a net whose logits are decoded by other class weights than the teacher's."""
        self.teacher, self.shift = teacher.eval().requires_grad_(False), shift[:, None, None]
        self.photos = photographs()

    def loss(self, net: nn.Module, seeds_N: Tensor) -> Tensor:
        """The Kullback-Leibler divergence of the net's answers from the teacher's, in nats a position.

        On one crop for each even seed, which half of the seeds are: twice the sum over N, in expectation the mean, so that the mean over
        processes is that of one, however their crops are dealt.
        """
        chosen = seeds_N[seeds_N % 2 == 0]
        device = next(net.parameters()).device
        if not len(chosen):
            return torch.zeros((), device=device)
        seen_n1HW = self.crops(chosen, device)
        with torch.no_grad(), autocast(device):
            told_nQhw = self.teacher(seen_n1HW)
        with autocast(device):
            said_nQhw = net(seen_n1HW)
        told_nQhw = (told_nQhw.float() + self.shift.to(device)).log_softmax(1)
        said_nQhw = said_nQhw.float().log_softmax(1)
        divergences_n = (told_nQhw.exp() * (told_nQhw - said_nQhw)).sum(1).mean((1, 2))
        loss: Tensor = 2 * divergences_n.sum() / len(seeds_N)
        return loss

    def crops(self, seeds_n: Tensor, device: torch.device) -> Tensor:
        """(n, 1, 160, 160) lightness of squares of any size and place, half of them mirrored, some developed differently."""
        crops = []
        for seed in seeds_n.tolist():
            generator = torch.Generator().manual_seed(seed ^ _SEED)
            photo, size, top, left, mirrored = torch.rand(
                5, generator=generator, dtype=torch.float64
            ).tolist()
            whole = self.photos[int(photo * len(self.photos))]
            height, width = whole.shape[2:]
            edge = int(_LEAST + size * (min(height, width) - _LEAST))
            y, x = int(top * (height - edge)), int(left * (width - edge))
            crop = whole[..., y : y + edge, x : x + edge].to(device)
            crop = F.interpolate(crop, (_SIDE, _SIDE), mode="bilinear", antialias=True)
            crops.append(crop.flip(3) if mirrored < 0.5 else crop)
        seen = aging.exposure(torch.cat(crops), seeds_n)
        return seen.contiguous(memory_format=torch.channels_last)


def photographs() -> list[Tensor]:
    """Lightness of scikit-image's, gray ones too: (1, 1, H, W), 0…100, at most 640×640."""
    found = []
    for name in _PHOTOS:
        with Image.open(data.packaged(name)) as photo:
            photo.thumbnail((640, 640))
            rgb = torch.from_numpy(np.array(photo.convert("RGB"))).permute(2, 0, 1)[None]
        found.append(color.lightness_from_linear(color.linear_from_bytes(rgb))[:, None])
    return found
