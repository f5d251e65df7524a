"""The 313 ab bins of Zhang, Isola & Efros (ECCV 2016) and the colors that a net's logits mean, in numpy: coloring needs no torch.

Q = 313 bins, or as many as a net that somebody brought has; h×w positions. `model.bins` has the rest of the paper's maths, for training.
https://arxiv.org/abs/1603.08511, section 2.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

COUNT: Final = 313
# From a = −90 to 100 in steps of 10: the first and last b. These are the corners of all 10×10 cells that the convex hull of the sRGB
# gamut, seen along L*, touches.
_FIRST_A: Final = -90
_ROWS: Final = (
    *((50, 90), (20, 90), (0, 90), (-20, 90), (-30, 100), (-40, 100), (-50, 100), (-50, 100), (-60, 100)),
    *((-70, 100), (-80, 90), (-80, 90), (-90, 90), (-100, 90), (-100, 80), (-110, 80), (-110, 80)),
    *((-110, 70), (-110, 70), (-90, 0)),
)
_SMALL: Final = (
    1 << 18
)  # multiplications of one matrix product: with more, OpenBLAS wakes threads that then wait for each other


def centers() -> NDArray[np.float32]:
    """(313, 2) float32: the ab value of every bin, ordered by a, then b, as in the paper's release; both in steps of 10."""
    return _centers().copy()


def class_weights(prior: NDArray[np.float64], lam: float = 0.5) -> NDArray[np.float32]:
    """(313,) weights w ∝ ((1−λ)·p + λ/Q)⁻¹ with E_p[w] = 1 (section 2.2, equation 4).

    λ = 1 weighs all colors alike, λ = 0 by their full rarity; the paper takes ½, and the recipes in
    training/config.py each their own. `prior` need not be scaled. ValueError for other λ.
    """
    if not 0 <= lam <= 1:
        raise ValueError(
            f"lam is {lam}, and must lie in 0…1: it mixes the prior with the uniform distribution"
        )
    p = prior.astype(np.float64) / prior.sum(dtype=np.float64)
    w = 1 / ((1 - lam) * p + lam / len(p))
    weights: NDArray[np.float32] = (w / (p * w).sum()).astype(np.float32)
    return weights


def taken_back(weights: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """(313,) to add to the logits of a net that was trained with these class weights: takes back a share of the rebalancing.

    Such a net answers with the weighted distribution w·p. With −share·log w added to its logits it answers with w^(1−share)·p, which at
    share 1 is the distribution of the photographs. This moves answers between calm and vivid as λ does, but after training and at no
    cost. ValueError for a share outside 0…1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share is {share}, and must lie in 0…1")
    shift: NDArray[np.float32] = np.float32(-share) * np.log(weights)
    return shift


def annealed_mean(
    logits_Qhw: NDArray[np.float32], temperature: float, centers_Q2: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """(Q, h, w) logits → (2, h, w) ab: the mean of the distribution sharpened to temperature T (section 2.3, equation 5).

    T = 1 is the mean, T → 0 the mode, 0 the mode itself. The largest logit is subtracted first, so that no T overflows. `centers_Q2` are
    the bins' colors: None is `centers`. Raises ValueError for a T below 0, or NaN, and for another number of bins.
    """
    if not temperature >= 0:
        raise ValueError(f"temperature is {temperature}, and must not be negative")
    palette = _centers() if centers_Q2 is None else centers_Q2
    if len(logits_Qhw) != len(palette):
        raise ValueError(f"{len(logits_Qhw)} logits for {len(palette)} colors")
    logits_QP = logits_Qhw.reshape(len(logits_Qhw), -1)
    if temperature < np.finfo(np.float32).tiny:  # 0 as float32 knows it: a division would give NaN
        ab_2P = palette[logits_QP.argmax(0)].T
    else:
        ab_2P = _mean(logits_QP, np.float32(temperature), palette)
    return np.ascontiguousarray(ab_2P).reshape(2, *logits_Qhw.shape[1:])


def _mean(
    logits_QP: NDArray[np.float32], temperature: np.float32, palette_Q2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """A few hundred positions at a time: what is worked on then stays in a core's cache."""
    sums_3Q = np.vstack([palette_Q2.T, np.ones(len(palette_Q2), np.float32)])
    few = max(1, _SMALL // sums_3Q.size)
    ab_2P = np.empty((2, logits_QP.shape[1]), np.float32)
    for start in range(0, logits_QP.shape[1], few):
        piece = logits_QP[:, start : start + few]
        piece = piece - piece.max(0)
        piece /= temperature
        np.exp(piece, out=piece)
        a, b, total = sums_3Q @ piece
        ab_2P[:, start : start + few] = a / total, b / total
    return ab_2P


@cache
def _centers() -> NDArray[np.float32]:
    return np.array(
        [
            (_FIRST_A + 10 * row, b)
            for row, (first, last) in enumerate(_ROWS)
            for b in range(first, last + 10, 10)
        ],
        np.float32,
    )
