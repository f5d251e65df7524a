"""Learning from labels: the control that the ways of learning without any are measured against.

The view is a random crop, mirrored half of the time; the head is linear over the last layer's mean; the loss is the cross-entropy.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.methods import Method
from model.nets.backbone import Backbone, autocast, normalized
from model.training import augment
from model.training.batches import Batch


class Supervised(Method):
    """A backbone that learns from the labels that people gave photos."""

    net: SupervisedNet

    def __init__(self, backbone: Backbone, classes: int, strengths: augment.Strengths) -> None:
        self.net = SupervisedNet(backbone, classes)
        self.strengths = strengths

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Mean cross-entropy, in nats, of photos, uint8 or float 0…1, by their labels. ln(classes) for a net that guesses."""
        rgb_N3HW = augment.augmented(batch.pixels, ("crop and flip",), self.strengths, generator)
        seen = normalized(rgb_N3HW, self.net.backbone.channels)
        with autocast(seen.device):
            logits_NC: Tensor = self.net(seen.contiguous(memory_format=torch.channels_last))
        return F.cross_entropy(logits_NC.float(), batch.labels.to(seen.device))


class SupervisedNet(nn.Module):
    """A backbone, and a linear layer over its last layer's mean."""

    def __init__(self, backbone: Backbone, classes: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(backbone.width, classes)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, classes) logits."""
        logits_NC: Tensor = self.head(self.backbone(x_NCHW))
        return logits_NC
