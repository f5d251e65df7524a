"""The 313 ab bins of Zhang, Isola & Efros (ECCV 2016), in numpy: coloring needs no torch.

Q = 313 bins. `model.annealing` has the colors that logits over them mean, `model.bins` the rest of the paper's math, for training.
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


def are_alike(weights: NDArray[np.float32], others: NDArray[np.float32]) -> bool:
    """Whether two nets' class weights (313,) differ by no more than chance, by less than 0.2 in each bin's logarithm.

    A prior is measured on some of the photographs; between two runs of `lite` one bin's weight differed by 8%.
    """
    return bool(np.abs(np.log(weights / others)).max() < 0.2)


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
