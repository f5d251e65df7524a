"""Ways of learning from photographs: each is a view of a batch, a head over a backbone, and a loss."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn


class Method(Protocol):
    """What training and validation use of a way of learning."""

    @property
    def net(self) -> nn.Module:
        """What is trained, averaged and saved."""

    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """The mean over a `Batch` of photographs (training/batches.py), so that averages over processes are averages over photos."""
