"""A net that is to learn no more, made quick: batch norms folded into convolutions, and its Python taken away.

Eager PyTorch comes back to Python after each of some hundred operators, and waits there for the interpreter's lock: beside a thread that
keeps the interpreter busy, many times as long as alone (LOG.md, 2026-11-23).
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(net: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place: the same answers to rounding. ValueError for a net in training."""
    if net.training:
        raise ValueError("a net that still learns needs its batch norms")
    for layers in net.modules():
        if not isinstance(layers, nn.Sequential):
            continue
        for place, (conv, norm) in enumerate(pairwise([*layers])):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                layers[place], layers[place + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


@torch.no_grad()
def freeze(net: nn.Module, example: Tensor) -> nn.Module:
    """The net as TorchScript, traced by an example: the same answers for inputs of any size, without Python in between.

    TorchScript is deprecated in favor of `torch.compile`, which wants a C++ compiler on the machine that colors.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of that, and that the sides of inputs are checked no more
        traced = torch.jit.trace(net, example)  # type: ignore[no-untyped-call]
        return cast(nn.Module, torch.jit.freeze(traced))
