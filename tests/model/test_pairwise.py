"""The matrix of augmentation pairs: which cells are worked out, how often, and that a cell's net learns."""

import pytest
import torch
from torch import nn

from model.evaluate import neighbors, pairwise
from model.evaluate.features import Labeled, pooled
from model.nets.backbone import Backbone


class Tiny(Backbone):
    layers = ("only",)
    width = 8
    channels = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.only = nn.Sequential(nn.Conv2d(3, 8, 5, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU())


OPTIONS = pairwise.Options(steps=2, batch=4, side=16)
SEEN = Labeled(
    torch.randint(256, (24, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte().numpy(),
    torch.arange(24) % 2,
)


def test_each_pair_is_taught_once_and_a_stopped_matrix_goes_on():
    kept = []
    whole = pairwise.matrix(Tiny, SEEN, SEEN, OPTIONS, keep=lambda done: kept.append(dict(done)))
    assert len(kept) == 28
    count = len(pairwise.STEPS)
    assert [[whole[a][b] for a in range(count)] for b in range(count)] == [row[:count] for row in whole]
    assert [row[-1] for row in whole] == pytest.approx([sum(row[:count]) / count for row in whole])
    again = []
    assert pairwise.matrix(Tiny, SEEN, SEEN, OPTIONS, kept[-3], again.append) == whole
    assert len(again) == 2


def test_a_cell_teaches_the_net_that_it_is_given_by_its_own_pair():
    taught = {}
    for pair in (("crop", "crop"), ("crop", "color"), ("noise", "noise")):
        backbone = Tiny()
        pairwise.cell(backbone, *pair, SEEN, SEEN, OPTIONS)
        taught[pair] = backbone.get_parameter("only.0.weight").detach()
    start = Tiny().get_parameter("only.0.weight")
    weights = [start, *taught.values()]
    assert not any(torch.equal(a, b) for place, a in enumerate(weights) for b in weights[place + 1 :])


def test_the_untrained_net_is_judged_as_the_cells_are_and_learns_nothing():
    backbone = Tiny()
    before = backbone.get_parameter("only.0.weight").detach().clone()
    found = pairwise.untrained(lambda: backbone, SEEN, SEEN)
    assert torch.equal(backbone.get_parameter("only.0.weight"), before)
    features = pooled(backbone, SEEN.squares)
    by_hand = neighbors.judge(features, SEEN.labels, features, SEEN.labels, neighbors.plain()).right.mean()
    assert found == by_hand
