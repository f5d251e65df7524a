"""Textures that go through a solid, as grain goes through wood: a value for every point of space. They stand for DTD's photographs.

Only operations that round alike in every lane are used (+ − × √, floor, comparisons, table look-ups), no sine and no power: so a point's
value does not depend on the batch it is computed in.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

NAMES = ("stripes", "checks", "dots", "rings", "clouds", "marble")

_CELLS = 16  # after which the noise repeats along each axis: a power of two


def values(points_3R: Tensor, kinds_R: Tensor, warp_R: Tensor, sharp_R: Tensor) -> Tensor:
    """(R,) 0…1: how much of the second color there is at each point, by a pattern of `NAMES` each, about one period to a unit.

    `warp` is by how many units noise moves the point first, `sharp` how fast the colors turn: 1 is as soft as it gets.
    """
    lattice = _lattice(points_3R.device)
    noise = _noise(points_3R, lattice)
    x, y, z = points_3R + (noise - 0.5) * warp_R
    waves = [_wave(x), _wave(y), _wave(z)]
    ball = (x - x.floor() - 0.5) ** 2 + (y - y.floor() - 0.5) ** 2 + (z - z.floor() - 0.5) ** 2
    fine = noise * 0.65 + _noise(points_3R * 2.0, lattice) * 0.35
    level = waves[0]
    level = torch.where(kinds_R == 1, 0.5 + 4 * (waves[0] - 0.5) * (waves[1] - 0.5) * _sign(waves[2]), level)
    level = torch.where(kinds_R == 2, 0.5 + 3 * (0.13 - ball), level)
    level = torch.where(kinds_R == 3, _wave((x * x + z * z).sqrt()), level)
    level = torch.where(kinds_R == 4, 0.5 + 1.5 * (fine - 0.5), level)
    level = torch.where(kinds_R == 5, _wave(x + 3 * fine), level)
    return (0.5 + (level - 0.5) * sharp_R).clamp(0, 1)


def _wave(x: Tensor) -> Tensor:
    """A triangle wave: 0 at whole numbers, 1 halfway."""
    return 1 - ((x - x.floor()) * 2 - 1).abs()


def _sign(wave: Tensor) -> Tensor:
    return torch.where(wave > 0.5, 1.0, -1.0)


def _noise(points_3R: Tensor, lattice: Tensor) -> Tensor:
    """Ken Perlin's value noise: random numbers at the lattice's points, smoothly in between."""
    corner = points_3R.floor()
    share = points_3R - corner
    share = share * share * (3 - 2 * share)
    low = corner.long() & (_CELLS - 1)
    high = (low + 1) & (_CELLS - 1)
    faces: list[Tensor] = []
    for zs in (low[2], high[2]):
        edges = []
        for ys in (low[1], high[1]):
            row = (zs * _CELLS + ys) * _CELLS
            left, right = lattice.index_select(0, row + low[0]), lattice.index_select(0, row + high[0])
            edges.append(left + (right - left) * share[0])
        faces.append(edges[0] + (edges[1] - edges[0]) * share[1])
    return faces[0] + (faces[1] - faces[0]) * share[2]


def _lattice(device: torch.device) -> Tensor:
    drawn = np.random.default_rng(0).random(_CELLS**3, np.float32)
    return torch.from_numpy(drawn).to(device)
