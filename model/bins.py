"""Color as classification: the 313 ab bins of Zhang, Isola & Efros (ECCV 2016), what goes into them and what comes out.

Shapes: N photos, Q = 313 bins, H×W positions, K neighbors. `centers()[q]` is the ab value of bin q, ordered by a, then b, which is
the order of the paper's release. https://arxiv.org/abs/1603.08511, section 2.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import ConvexHull
from torch import Tensor

from model import color

COUNT = 313
GRID = 10.0
SIGMA = 5.0
NEIGHBORS = 5  # the paper's text; the released training code uses 10
_REACH = 110.0  # the grid of candidate bins, and of the encoding table, is −110…110 on both axes
_STEP = 0.5  # the encoding table's resolution, in ab units


@cache
def _centers() -> NDArray[np.float32]:
    """The corners of all 10×10 cells that the convex hull of the sRGB gamut, seen along L*, touches: exactly the published 313."""
    ramp = torch.linspace(0, 1, 256)
    corners = (torch.zeros(256), torch.ones(256))
    edges = [torch.stack([ramp, x, y]) for x in corners for y in corners]
    edges += [torch.stack([x, ramp, y]) for x in corners for y in corners]
    edges += [torch.stack([x, y, ramp]) for x in corners for y in corners]
    # The color cube's edges are enough: none of its faces reaches beyond their hull on the ab plane.
    ab = color.lab_from_rgb(torch.stack(edges)[..., None])[:, 1:, :, 0]
    points = ab.permute(0, 2, 1).reshape(-1, 2).double().numpy()
    hull = ConvexHull(points)
    axis = np.arange(-_REACH, _REACH + GRID, GRID)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    # A grid point is a corner of a touched cell when the square of the four cells around it meets the hull. Both are convex, so they
    # are apart only if an edge of one of them separates them (separating axis theorem).
    normals, offsets = hull.equations[:, :2], hull.equations[:, 2]
    meets_hull = (grid @ normals.T - GRID * np.abs(normals).sum(1) + offsets < 0).all(1)
    meets_box = ((grid - GRID < points.max(0)) & (grid + GRID > points.min(0))).all(1)
    centers: NDArray[np.float32] = grid[meets_hull & meets_box].astype(np.float32)
    return centers


def centers(device: torch.device | str = "cpu") -> Tensor:
    """(313, 2) float32: the ab value of every bin; a −90…100, b −110…100, both in steps of 10."""
    return torch.tensor(_centers(), device=device)


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
    """(313,) weights w ∝ ((1−λ)·p + λ/Q)⁻¹ with E_p[w] = 1 (section 2.2, equation 4).

    λ = 1 weighs all colors alike, λ = 0 by their full rarity; the paper takes ½, and the recipes in
    training/config.py each their own. `prior` need not be scaled.
    """
    if not 0 <= lam <= 1:
        raise ValueError(
            f"lam is {lam}, and must lie in 0…1: it mixes the prior with the uniform distribution"
        )
    p = prior.double() / prior.double().sum()
    w = 1 / ((1 - lam) * p + lam / COUNT)
    return (w / (p * w).sum()).float()


def taken_back(weights: Tensor, share: float) -> Tensor:
    """(313,) to add to the logits of a net that was trained with these class weights: takes back a share of the rebalancing.

    Such a net answers with the weighted distribution w·p. With −share·log w added to its logits it answers with w^(1−share)·p, which at
    share 1 is the distribution of the photographs. This moves answers between calm and vivid as λ does, but after training and at no cost.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share is {share}, and must lie in 0…1")
    return -share * weights.log()


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


def modes(logits_NQHW: Tensor, count: int, radius: float = 20.0) -> tuple[Tensor, Tensor]:
    """The few likeliest colors of each position, kept apart: (N, M, 2, H, W) ab and the (N, M, H, W) probability that each stands for.

    Likeliest first. A mode takes along all probability within `radius` ab units of it, and the next one is sought in the rest; its color
    is the mean of what it took. Where nothing is left, the probability is 0 and the color is that of the mode before.
    """
    palette = centers(logits_NQHW.device)
    neighbors_QQ = (torch.cdist(palette, palette) <= radius).float()
    left = torch.softmax(logits_NQHW.float(), 1)
    colors: list[Tensor] = []
    masses: list[Tensor] = []
    for _ in range(count):
        taken = left * neighbors_QQ[left.argmax(1)].movedim(-1, 1)
        mass = taken.sum(1)
        mean = torch.einsum("nqhw,qc->nchw", taken, palette) / mass[:, None].clamp_min(1e-12)
        colors.append(torch.where(mass[:, None] > 0, mean, colors[-1]) if colors else mean)
        masses.append(mass)
        left = left - taken
    return torch.stack(colors, 1), torch.stack(masses, 1)
