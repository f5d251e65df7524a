"""How sure is a number? Intervals by bootstrap over photos: what it would have been, had other photos of that kind been drawn.

Photos are drawn anew, with replacement, as many as there are, a thousand times; an interval is what 95% of the numbers worked out so lie
in (percentiles 2.5 and 97.5; Efron & Tibshirani 1993, chapter 13). The same draws serve every row of a table: differences are paired.

The rebalanced AuC is pooled and weighed anew in each draw, and a draw lacks some of the rarest colors: its interval leans toward what the
common ones say. Of 487 photos, gray's draws had their mean 0.5 above its value, and the gain over gray 0.7 below: on the safe side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

RESAMPLES = 1000
SEED = 0

Samples = NDArray[np.float64]
"""(1 + RESAMPLES,) values of one number: the first from the photos as they are, each other from a draw of them. NaN says nothing."""


@dataclass(frozen=True)
class Interval:
    """A number, and the ends of its 95% interval."""

    value: float
    low: float
    high: float


class Bootstrap:
    """The draws, for so many photos."""

    def __init__(self, photos: int, seed: int = SEED) -> None:
        """Another seed for each set of photos that is drawn for itself."""
        drawn = np.random.default_rng(seed).multinomial(photos, [1 / photos] * photos, RESAMPLES)
        # (1 + RESAMPLES, photos): how often each photo was drawn
        self.times = np.vstack([np.ones(photos), drawn])

    def sums(self, by_photo: ArrayLike) -> NDArray[np.float64]:
        """(photos, …) values → (1 + RESAMPLES, …) sums over the photos drawn."""
        drawn: NDArray[np.float64] = np.tensordot(self.times, np.asarray(by_photo, np.float64), 1)
        return drawn

    def means(self, by_photo: ArrayLike) -> NDArray[np.float64]:
        """(photos, …) values → (1 + RESAMPLES, …) means over the photos drawn."""
        mean: NDArray[np.float64] = self.sums(by_photo) / self.times.shape[1]
        return mean


def interval(samples: Samples) -> Interval | None:
    """None where the photos as they are say nothing. Draws that say nothing are left out."""
    if not np.isfinite(samples[0]):
        return None
    low, high = np.nanpercentile(samples[1:], [2.5, 97.5])
    return Interval(float(samples[0]), float(low), float(high))
