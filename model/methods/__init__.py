"""Ways of learning from photographs: each is a view of a batch, a head over a backbone, and a loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn


class Method(ABC):
    """What training and validation use of a way of learning."""

    net: nn.Module
    """What is trained, averaged and saved."""

    adversary: nn.Module | None = None
    """What learns beside the net, by the same loss, and is of no use without the run."""

    teacher: nn.Module | None = None
    """The net as it was before training, where the loss asks it; the run's folder keeps its weights."""

    @abstractmethod
    def loss(self, batch: Any, generator: torch.Generator) -> Tensor:
        """The mean over a `Batch` of photographs (training/batches.py), so that averages over processes are averages over photos."""

    def prepare(self, device: torch.device) -> None:
        """Let all of it be on a device, what learns to be trained."""
        self.net.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        if self.adversary is not None:
            self.adversary.to(device).train()
        if self.teacher is not None:
            self.teacher.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
