"""The net on what the machine has: a GPU as it stands in Python, a CPU as frozen TorchScript.

Eager PyTorch comes back to Python after each of some hundred operators and waits there for the interpreter's lock. Beside a thread that
keeps the interpreter busy, this takes many times as long as alone (LOG.md, 2026-11-23). A GPU does not wait: its operators are queued.
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model.errors import InputError

_EXAMPLE_SIDE = 32


class Engine:
    """A net on a device, which only infers."""

    def __init__(self, net: nn.Module, device: str = "auto", frozen: bool = False) -> None:
        """`device`: see `choose_device`. `frozen`: change the net to what is fastest there; it can then neither learn nor be saved."""
        self.device = choose_device(device)
        net.eval()
        if frozen:
            fold(net)
        self.net: nn.Module = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if frozen and self.device.type == "cpu":
            example = torch.zeros(1, 1, _EXAMPLE_SIDE, _EXAMPLE_SIDE)
            self.net = freeze(self.net, example.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def run(self, batch_N1hw: Tensor) -> Tensor:
        """(N, 1, h, w) on any device → the net's answer in float32, on the engine's device."""
        batch = batch_N1hw.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            answer = self.net(batch.contiguous(memory_format=torch.channels_last))
        return cast(Tensor, answer.float())


def choose_device(name: str) -> torch.device:
    """By PyTorch's name; "auto" is a GPU where there is one, else the CPU. Raises InputError for one that is not here."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:  # the latter from a PyTorch that was built without CUDA
        reason = str(error).partition("\n")[0]
        raise InputError(f"the device {name!r} is not to be had here: {reason}") from error


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
