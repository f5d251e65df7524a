"""What else a photo could have been: whole pictures that differ from the first answer where the net is unsure, and agree where it is sure.

Each is the first answer as a hint would change it that nobody gave: at one of 10×10 places the next likeliest color of the region, carried
to what is like that place (`model.likeness`). Those are taken that are probable and move much, and that move something else than those
before. There is no chance in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model import likeness
from model.likeness import Scene

MOST: Final = 8
"""Of one photo."""
_GRID: Final = 10  # places along each side
_EDGE: Final = 2.0  # lower than for hints: whole regions are to move, and nobody has said where they end
_FURTHER: Final = 2  # colors of a place beside its first
_LEAST: Final = 0.05  # a color's probability beside the first's, for a picture to be worth a look
_VISIBLE: Final = 2.0  # ab units that a picture must move by, root mean square over all positions
_SAME: Final = 0.3  # the cosine between two movements from which they are one


@dataclass(frozen=True, slots=True)
class Alternative:
    """(2, h, w) ab; `probability` 0…1 of its color against the first answer's, where it differs most."""

    ab_2hw: NDArray[np.float32]
    probability: float


def find(scene: Scene, ab_2hw: NDArray[np.float32], count: int) -> list[Alternative]:
    """At most `count` for a decoded answer, likeliest first. Fewer, and perhaps none, where the net is sure."""
    answer_P2 = ab_2hw.reshape(2, -1).T
    places = np.unique(likeness.grid(scene, _GRID, _GRID))
    alike = likeness.similarity(scene, places, _EDGE)
    regions = alike / alike.sum(1, keepdims=True)
    probabilities, answers = regions @ scene.probabilities, regions @ answer_P2

    colors, masses, taken = likeness.modes(probabilities, scene.centers, _FURTHER, answers)
    shares_nk = masses / (masses + taken[:, None]).clip(1e-9)
    owners, which = np.nonzero(shares_nk >= _LEAST)
    shifts, shares = (colors - answers[:, None])[owners, which], shares_nk[owners, which]
    found = [
        Alternative(
            ab_2hw + (alike[owners[index]][:, None] * shifts[index]).T.reshape(ab_2hw.shape),
            float(shares[index]),
        )
        for index in _apart(alike[owners], shifts, shares, count)
    ]
    return sorted(found, key=lambda alternative: -alternative.probability)


def _apart(
    alike_mP: NDArray[np.float32], shifts_m2: NDArray[np.float32], shares_m: NDArray[np.float64], count: int
) -> list[int]:
    """Which movements (likeness × shift) to take: by probability × what they move, each unlike those before."""
    overlaps = alike_mP @ alike_mP.T
    moved = np.diag(overlaps) * (shifts_m2**2).sum(1)
    lengths = np.sqrt(moved)
    cosines = overlaps * (shifts_m2 @ shifts_m2.T) / np.outer(lengths, lengths).clip(1e-9)
    chosen: list[int] = []
    for index in np.argsort(-shares_m * moved, kind="stable"):
        visible = moved[index] >= _VISIBLE**2 * alike_mP.shape[1]
        if len(chosen) < count and visible and all(cosines[index, before] < _SAME for before in chosen):
            chosen.append(int(index))
    return chosen
