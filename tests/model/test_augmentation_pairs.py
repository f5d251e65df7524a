"""The matrix of augmentation pairs: which cells are worked out, how often, and that a cell's net learns."""

import numpy as np
import pytest
import skimage.data
import torch
from torch import nn

from model.evaluate import knn
from model.evaluate.probes import Labeled, pooled
from model.experiments import augmentation_pairs
from model.nets.backbone import Backbone


class Tiny(Backbone):
    layers = ("only",)
    width = 8
    channels = 3

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.only = nn.Sequential(nn.Conv2d(3, 8, 5, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU())


OPTIONS = augmentation_pairs.Options(steps=2, batch=4, side=16)
SEEN = Labeled(
    torch.randint(256, (24, 3, 24, 24), generator=torch.Generator().manual_seed(0)).byte().numpy(),
    torch.arange(24) % 2,
)


def test_each_pair_is_trained_once_and_a_stopped_matrix_goes_on():
    kept = []
    whole = augmentation_pairs.matrix(Tiny, SEEN, SEEN, OPTIONS, keep=lambda done: kept.append(dict(done)))
    assert len(kept) == 28
    count = len(augmentation_pairs.STEPS)
    assert [[whole[a][b] for a in range(count)] for b in range(count)] == [row[:count] for row in whole]
    assert [row[-1] for row in whole] == pytest.approx([sum(row[:count]) / count for row in whole])
    again = []
    assert augmentation_pairs.matrix(Tiny, SEEN, SEEN, OPTIONS, kept[-3], again.append) == whole
    assert len(again) == 2


def test_a_cell_trains_the_net_that_it_is_given_by_its_own_pair():
    trained = {}
    for pair in (("crop", "crop"), ("crop", "color"), ("noise", "noise")):
        backbone = Tiny()
        augmentation_pairs.cell(backbone, *pair, SEEN, SEEN, OPTIONS)
        trained[pair] = backbone.get_parameter("only.0.weight").detach()
    start = Tiny().get_parameter("only.0.weight")
    weights = [start, *trained.values()]
    assert not any(torch.equal(a, b) for place, a in enumerate(weights) for b in weights[place + 1 :])


def test_the_untrained_net_is_evaluated_as_the_cells_are_and_stays():
    backbone = Tiny()
    before = backbone.get_parameter("only.0.weight").detach().clone()
    found = augmentation_pairs.untrained(lambda: backbone, SEEN, SEEN)
    assert torch.equal(backbone.get_parameter("only.0.weight"), before)
    features = pooled(backbone, SEEN.squares)
    by_hand = knn.evaluate(features, SEEN.labels, features, SEEN.labels).right.mean()
    assert found == by_hand


# The panel: what is in each of its tiles


PHOTO = skimage.data.astronaut()


def test_each_tile_shows_what_it_is_called():
    tiles = dict(augmentation_pairs.cells(PHOTO, side=64))
    assert list(tiles) == [
        "original", "crop", "crop and flip", "color drop", "color jitter", "rotate", "cutout", "noise", "blur", "sobel",
    ]  # fmt: skip
    original = tiles["original"].astype(int)
    assert all(tile.shape == (64, 64, 3) for tile in tiles.values())
    assert np.ptp(original, axis=2).max() > 50
    assert np.ptp(tiles["color drop"], axis=2).max() == 0
    assert (tiles["crop and flip"] == tiles["crop"][:, ::-1]).all()
    assert any((np.rot90(tiles["rotate"], k) == original).all() for k in (1, 2, 3))
    covered = (tiles["cutout"] == (124, 116, 104)).all(2)
    assert covered.sum() > 200
    assert (tiles["cutout"] == original)[~covered].all()
    edges = {
        name: np.abs(np.diff(tiles[name].astype(int), axis=0)).mean()
        for name in ("original", "blur", "noise")
    }
    assert edges["blur"] < 0.7 * edges["original"] < 0.7 * edges["noise"]
    for name, tile in tiles.items():
        assert name == "original" or (tile != original).any(), name


def test_the_picture_has_two_rows_of_five():
    sheet = np.asarray(augmentation_pairs.panel(PHOTO, side=40))
    assert sheet.shape == (2 * 40 + 2 * 18 + 6, 5 * 40 + 4 * 6, 3)
