"""A torch net on a device: on a GPU in bfloat16, as it stands in Python; and on a CPU while it is still in training.

A GPU queues its operators, and does not wait for Python between them.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from model import engines


class TorchEngine(engines.Engine):
    """See `engines.Engine`. `net` is the module."""

    def __init__(
        self,
        net: nn.Module,
        device: str = "auto",
        folded: bool = False,
        on_gpu: torch.dtype = torch.bfloat16,
    ) -> None:
        """`device`: see `engines.choose_device`. `folded`: change the net to what is faster; it can then neither learn nor be saved.

        `on_gpu`: the precision there, of what autocast lowers.
        """
        self.device = engines.choose_device(device)
        self._on_gpu = on_gpu
        net.eval()
        if folded:
            fold(net)
        self.net: nn.Module = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @torch.inference_mode()
    def run(self, batch_N1hw: NDArray[np.float32], threads: int | None = None) -> NDArray[np.float32]:
        """`threads` is of no concern: PyTorch has its own setting for the process."""
        kind = torch.device(self.device).type
        batch = torch.from_numpy(np.ascontiguousarray(batch_N1hw)).to(self.device)
        with torch.autocast(kind, self._on_gpu, enabled=kind == "cuda"):
            answer = self.net(batch.contiguous(memory_format=torch.channels_last)).float()
        found: NDArray[np.float32] = (_pinned(answer) if kind == "cuda" else answer.cpu()).numpy()
        return found


def choose_device(name: str) -> torch.device:
    """As `engines.choose_device`, as PyTorch has it."""
    return torch.device(engines.choose_device(name))


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


def _pinned(answer: Tensor) -> Tensor:
    """A copy in the host's memory that the GPU writes itself; PyTorch keeps it for reuse. `make test-gpu` times it beside a plain copy."""
    host = torch.empty(answer.shape, dtype=answer.dtype, pin_memory=True)
    return host.copy_(answer)
