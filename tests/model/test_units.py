"""The strongest by sorting everything; what a position sees by changing one pixel after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from model.evaluate.units import Excitation, fields, rows, strongest
from model.nets.backbone import Backbone, normalized


class Tiny(Backbone):
    layers = ("low", "high")
    width = 5
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.low = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU())
        self.high = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.Conv2d(4, 5, 3, 1, 1), nn.ReLU())


pytestmark = pytest.mark.usefixtures("float32")  # twins are counted out in it


SQUARES = np.random.default_rng(0).integers(0, 256, (70, 3, 20, 20), np.uint8)  # more than a batch
UNITS = {"low": [3, 0], "high": [1, 4, 2]}


def test_the_strongest_are_those_of_sorting_all_answers() -> None:
    backbone = Tiny().eval()
    found = strongest(backbone, SQUARES, UNITS, 5)
    with torch.no_grad():
        answers = backbone.taps(normalized(torch.from_numpy(SQUARES), 3))
    for layer, units in UNITS.items():
        for unit, ours in zip(units, found[layer], strict=True):
            every = [
                Excitation(photo, float(value), row, column)
                for photo, map_HW in enumerate(answers[layer][:, unit])
                for row, line in enumerate(map_HW)
                for column, value in enumerate(line)
                if value > 0
            ]
            best: dict[int, Excitation] = {}
            for one in sorted(every, key=lambda one: -one.value):
                best.setdefault(one.photo, one)
            theirs = list(best.values())[:5]
            assert [(a.photo, a.row, a.column) for a in ours] == [(b.photo, b.row, b.column) for b in theirs]
            assert [a.value for a in ours] == pytest.approx([b.value for b in theirs], rel=1e-5)


def test_a_position_sees_the_pixels_that_change_it() -> None:
    backbone = Tiny().double().eval()
    for parameter in backbone.parameters():
        nn.init.uniform_(parameter, 0.1, 1)  # all ways through are open
    side = 13
    for layer in backbone.layers:
        down, across = fields(backbone, layer, side)
        calm = backbone.taps(torch.ones(1, 3, side, side, dtype=torch.float64))[layer]
        seen: dict[int, set[int]] = {row: set() for row in range(calm.shape[2])}
        for y in range(side):
            x = torch.ones(1, 3, side, side, dtype=torch.float64)
            x[:, :, y] = 9
            changed = (backbone.taps(x)[layer] != calm).any(3).any(1)[0]
            for row in changed.nonzero().flatten().tolist():
                seen[row].add(y)
        assert down == across == [(min(lines), max(lines) + 1) for lines in seen.values()]


def test_patches_are_alike_large_and_what_is_not_there_is_refused() -> None:
    made = rows(Tiny(), SQUARES, {"high": [1, 2]}, 3)
    down, _ = fields(Tiny(), "high", 20)
    size = max(stop - start for start, stop in down)
    for photos, patches in zip(made[::2], made[1::2], strict=True):
        assert len(photos) == len(patches) == 3
        assert {pixels.shape for _, pixels in patches} == {(size, size, 3)}
    for units in ({"top": [0]}, {"high": [5]}):
        with pytest.raises(ValueError, match=r"no layer is called top|has units 0…4, not 5"):
            strongest(Tiny(), SQUARES, units, 2)
