"""Evaluations compute in bfloat16 where the device is made for it, and in float32 elsewhere, where bfloat16 takes several times as long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from model.evaluate import finetuning, segmentation
from model.evaluate.detection import _Backbone
from model.evaluate.probes import Labeled, pooled, taps
from model.experiments import projection
from model.methods.simclr import SimCLRNet
from model.nets.backbone import Backbone
from model.training import augment

SIDE = 16
PICTURES = np.random.default_rng(0).integers(0, 256, (4, 3, SIDE, SIDE), np.uint8)


class Tiny(Backbone):
    """Keeps the precisions that it answered in."""

    layers = ("only",)
    width = 6
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.only = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.answered: set[torch.dtype] = set()
        self.only[0].register_forward_hook(lambda _, __, out: self.answered.add(out.dtype))

    def __deepcopy__(self, _: object) -> Tiny:
        return self


def probed(backbone: Backbone) -> Tensor:
    return taps(backbone, torch.from_numpy(PICTURES))["only"]


def classified(backbone: Backbone) -> Tensor:
    some = Labeled(PICTURES, torch.arange(4) % 2)
    return finetuning.classify(backbone, some, some, finetuning.Options(steps=2, batch=2, side=SIDE)).right


def segmented(backbone: Backbone) -> Tensor:
    some = segmentation.Masked(PICTURES, np.zeros((4, SIDE, SIDE), np.uint8), 2)
    options = segmentation.Options(steps=2, batch=2, levels=1)
    return torch.from_numpy(segmentation.segment(backbone, some, some, options).confusions)


def detected(backbone: Backbone) -> Tensor:
    return _Backbone(backbone)(torch.rand(1, 3, SIDE, SIDE))


def projected(backbone: Backbone) -> Tensor:
    options = replace(projection.Options(), steps=2, batch=2, looks=1, strengths=augment.Strengths(side=SIDE))
    return projection.probe(SimCLRNet(backbone, 4, 2), PICTURES, PICTURES, options)["sobel"].h.right


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "evaluation",
    [probed, lambda backbone: pooled(backbone, PICTURES), classified, segmented, detected, projected],
)
def test_evaluations_compute_in_what_the_device_has(
    evaluation: Callable[[Backbone], Tensor], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("model.nets.backbone._has_bf16", lambda device: bf16)
    backbone = Tiny()
    answer = evaluation(backbone)
    assert (torch.bfloat16 in backbone.answered) == bf16
    assert answer.dtype != torch.bfloat16
