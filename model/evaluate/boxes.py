"""How precise are boxes? VOC2007's average precision of detections (Everingham et al. 2010, section 4.2.2; the kit's VOCevaldet).

Detections of a class by descending score; each belongs to the object of its photo that it overlaps most. It is right if that is by a
half at least (intersection over union, both ends of a box counted), and the object was not found before; a difficult object counts
neither way. 11 points as of `precision`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ENOUGH = 0.5


@dataclass(frozen=True)
class Object:
    """A thing of a class in a photo: left, top, right and bottom pixel, these among its own."""

    box: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class Detection:
    """A box in a photo, by its number, and how sure the net is."""

    photo: int
    score: float
    box: tuple[float, float, float, float]


def detection_precision(found: Sequence[Detection], truth: Mapping[int, Sequence[Object]]) -> float:
    """11-point average precision of one class, 0…1; NaN where no object counts. `truth`: the objects of each photo that has any."""
    counted = sum(not one.difficult for objects in truth.values() for one in objects)
    if not counted:
        return float("nan")
    taken: set[tuple[int, int]] = set()
    right = []
    for one in sorted(found, key=lambda one: -one.score):
        objects = truth.get(one.photo, ())
        shares = [overlap(one.box, other.box) for other in objects]
        best = int(np.argmax(shares)) if shares else -1
        if best >= 0 and shares[best] >= _ENOUGH:
            if objects[best].difficult:
                continue
            right.append((one.photo, best) not in taken)
            taken.add((one.photo, best))
        else:
            right.append(False)
    hits: NDArray[np.int64] = np.cumsum(right, dtype=np.int64)
    precision = hits / np.arange(1, len(right) + 1)
    # In whole objects: a recall of 3 in 10 is 0.3, whatever 3 · 0.1 may be.
    return float(
        np.mean([max(precision[10 * hits >= tenths * counted], default=0.0) for tenths in range(11)])
    )


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union, of boxes whose last pixels are their own."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]) + 1, min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    sizes = [(of[2] - of[0] + 1) * (of[3] - of[1] + 1) for of in (a, b)]
    return both / (sum(sizes) - both)
