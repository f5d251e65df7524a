"""How precise: PASCAL VOC's average precision of classes that photos hold, and the mean IU of classes that pixels are.

Average precision is that of VOC2007 (Everingham et al. 2010, section 4.2; the development kit's VOCevalcls): photos by descending score,
ties in their order; the mean, over recalls of 0, 0.1, … 1, of the best precision at that recall or a higher one, 0 where none is reached.
Photos in which a thing is marked difficult do not count for its class. Later years' definition, the area under all of the curve, is
another.

Mean IU is that of Long, Shelhamer & Darrell 2015, section 5: of each class, the pixels rightly said over those that are or were said to be
of it; the mean over classes. Pixels without a class (void) do not count.

Both take photos drawn more than once, for intervals (see `intervals`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from model.evaluate.intervals import Bootstrap, Samples

PRESENT, DIFFICULT, ABSENT = 1, 0, -1  # as VOC's lists have it
VOID = 255  # as VOC's pictures have it; CamVid's 11
_RECALLS = 11


def average_precision(
    scores_N: NDArray[np.floating], truth_N: NDArray[np.integer], times_BN: NDArray[np.float64] | None = None
) -> Samples:
    """(B,) of one class, 0…1, with each photo as often as `times` says, once without; NaN for draws where the class is not present.

    The truth is PRESENT, DIFFICULT or ABSENT. ValueError for scores that are NaN.
    """
    if np.isnan(scores_N).any():
        raise ValueError("scores that are not numbers have no order")
    counted = truth_N != DIFFICULT
    order = np.flatnonzero(counted)[np.argsort(-scores_N[counted], kind="stable")]
    times = np.ones((1, len(scores_N))) if times_BN is None else times_BN
    if not len(order):
        return np.full(len(times), np.nan)
    seen = times[:, order].cumsum(1)
    right = (times[:, order] * (truth_N[order] == PRESENT)).cumsum(1)
    present = right[:, -1]
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    best_from = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    total = np.zeros(len(times))
    for tenths in range(_RECALLS):
        # In whole photos: a recall of 3 in 10 is 0.3, whatever 3 · 0.1 may be.
        reached = 10 * right >= tenths * present[:, None]
        total += np.where(reached.any(1), best_from[np.arange(len(times)), reached.argmax(1)], 0)
    found: Samples = np.where(present > 0, total / _RECALLS, np.nan)
    return found


def mean_average_precision(scores_NC: NDArray[np.floating], truth_NC: NDArray[np.integer]) -> Samples:
    """(1 + RESAMPLES,) of photos as they are and drawn anew: the mean over classes, those left out that a draw lacks."""
    times = Bootstrap(len(scores_NC)).times
    by_class = [
        average_precision(scores, truth, times) for scores, truth in zip(scores_NC.T, truth_NC.T, strict=True)
    ]
    return _mean(np.stack(by_class, 1))


def confusion(
    truth: NDArray[np.integer], said: NDArray[np.integer], classes: int, void: int = VOID
) -> NDArray[np.int64]:
    """(classes, classes) counts, by true class and class said, of what is not void. ValueError for a class that is none."""
    counted = truth != void
    true, claimed = truth[counted].astype(np.int64), said[counted].astype(np.int64)
    for of in (true, claimed):
        if len(of) and not 0 <= of.min() <= of.max() < classes:
            raise ValueError(f"classes are 0…{classes - 1}, not {of.min()}…{of.max()}")
    return np.bincount(true * classes + claimed, minlength=classes**2).reshape(classes, classes)


def mean_iu(confusion_CC: NDArray[np.integer] | NDArray[np.floating]) -> Samples:
    """(…, classes, classes) counts → (…) 0…1. Classes that neither are nor were said are left out; NaN where all are."""
    right = np.diagonal(confusion_CC, axis1=-2, axis2=-1).astype(np.float64)
    union = confusion_CC.sum(-1) + confusion_CC.sum(-2) - right
    return _mean(np.divide(right, union, out=np.full_like(right, np.nan), where=union > 0))


def _mean(by_class: NDArray[np.float64]) -> Samples:
    """Over the last axis, NaN left out; NaN where there is nothing else."""
    there = ~np.isnan(by_class)
    count = there.sum(-1)
    total = np.where(there, by_class, 0).sum(-1)
    found: Samples = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return found
