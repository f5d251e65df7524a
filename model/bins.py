"""Color as classification: the 313 ab bins of Zhang, Isola & Efros (ECCV 2016), what goes into them and what comes out.

Shapes: N photos, Q = 313 bins, H×W positions, K neighbors. `centers()[q]` is the ab value of bin q, ordered by a, then b, which is
the order of the paper's release. https://arxiv.org/abs/1603.08511, section 2.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from model import palette

COUNT = palette.COUNT
SIGMA = 5.0
NEIGHBORS = 5  # the paper's text; the released training code uses 10
_REACH = 110.0  # the grid of candidate bins, and of the encoding table, is −110…110 on both axes
_STEP = 0.5  # the encoding table's resolution, in ab units


def centers(device: torch.device | str = "cpu") -> Tensor:
    """(313, 2) float32: the ab value of every bin; a −90…100, b −110…100, both in steps of 10."""
    return torch.from_numpy(palette.centers()).to(device)


def nearest(ab_N2HW: Tensor) -> Tensor:
    """(N, 2, H, W) ab → (N, H, W) int64: the bin whose center is nearest, by the encoding table."""
    return encode(ab_N2HW, 1)[0][:, 0]


def encode(ab_N2HW: Tensor, neighbors: int = NEIGHBORS) -> tuple[Tensor, Tensor]:
    """Soft encoding: each color as a little Gaussian (sigma 5) over its nearest bins (section 2.2).

    Returns (N, K, H, W) int64 bins, nearest first, and their (N, K, H, W) float32 weights, which add up to 1. A color is first rounded
    to the table's grid of half a unit; the answer is exact for the rounded color. Colors beyond ±110 take the table's edge.
    """
    bins, weights = _table(neighbors, ab_N2HW.device)
    cell = ((ab_N2HW.float().clamp(-_REACH, _REACH) + _REACH) / _STEP).round().long()
    row = cell[:, 0] * _table_side() + cell[:, 1]
    return bins[row].movedim(-1, 1).long(), weights[row].movedim(-1, 1)


def _table_side() -> int:
    return int(2 * _REACH / _STEP) + 1


@cache
def _table(neighbors: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """For every rounded color: its (S·S, K) int16 nearest bins and their (S·S, K) weights."""
    axis = torch.arange(_table_side(), dtype=torch.float64) * _STEP - _REACH
    colors = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    nearest_first = [
        torch.cdist(piece, centers().double(), compute_mode="donot_use_mm_for_euclid_dist").topk(
            neighbors, largest=False
        )
        for piece in torch.split(colors, 20_000)
    ]
    distance = torch.cat([piece.values for piece in nearest_first])
    bins = torch.cat([piece.indices for piece in nearest_first])
    weights = torch.softmax(-(distance**2) / (2 * SIGMA**2), 1)
    return bins.short().to(device), weights.float().to(device)


def histogram(ab_N2HW: Tensor) -> Tensor:
    """(313,) float64: how much of these photos falls into every bin, softly, in pixels: the prior of the paper before it is scaled.

    Counting soft encodings smooths by the same Gaussian as the targets, as the paper's authors did (richzhang/colorization #47).
    """
    bins, weights = encode(ab_N2HW)
    return torch.bincount(bins.flatten(), weights.flatten().double(), minlength=COUNT)


def class_weights(prior: Tensor, lam: float = 0.5) -> Tensor:
    """(313,) float32: see `palette.class_weights`."""
    return torch.from_numpy(palette.class_weights(prior.double().cpu().numpy(), lam)).to(prior.device)


def taken_back(weights: Tensor, share: float) -> Tensor:
    """(313,) to add to a net's logits: see `palette.taken_back`."""
    return torch.from_numpy(palette.taken_back(weights.cpu().numpy(), share)).to(weights.device)


def annealed_mean(logits_NQHW: Tensor, temperature: float) -> Tensor:
    """(N, 313, H, W) logits → (N, 2, H, W) ab: the mean of the distribution sharpened to temperature T (section 2.3, equation 5).

    T = 1 is the mean, T → 0 the mode, 0 the mode itself. The largest logit is subtracted first, so that no T overflows. Raises ValueError
    for a T below 0, or NaN.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}, and must not be negative")
    logits = logits_NQHW.float()
    palette = centers(logits.device)
    if temperature < torch.finfo(torch.float32).tiny:  # 0 as float32 knows it: a division would give NaN
        return palette[logits.argmax(1)].movedim(-1, 1)
    rows = logits.movedim(1, -1)  # as a net's answer lies in memory (channels last)
    sharpened = (rows - rows.amax(-1, keepdim=True)).div_(temperature).softmax(-1)
    return (sharpened @ palette).movedim(-1, 1)
