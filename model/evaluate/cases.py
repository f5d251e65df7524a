"""Which photos to look at: some of all evenly, the best, the worst, and examples of failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model.evaluate import failures
from model.evaluate.report import Kept


@dataclass(frozen=True)
class Case:
    """A photo by its number, and what to say of it."""

    photo: int
    caption: str


def evenly(photos: int, count: int) -> list[Case]:
    """At most `count`, numbered."""
    return [Case(photo, str(place + 1)) for place, photo in enumerate(_spread(range(photos), count))]


def extremes(gray: Kept, net: Kept, photos: Sequence[Path], count: int) -> tuple[list[Case], list[Case]]:
    """The (best, worst): where the net is nearest to the truth, or farthest from it, compared to gray, in mean ab units."""
    gain = np.array(gray.tally.error) - np.array(net.tally.error)
    cases = [
        Case(int(photo), f"{gain[photo]:+.1f}  {photos[photo].parent.name}/{photos[photo].name}")
        for photo in np.argsort(-gain, kind="stable")
    ]
    return cases[:count], cases[::-1][:count]


def failed(net: Kept, each: int) -> list[Case]:
    """At most `each` examples of every kind, evenly chosen."""
    shown = np.array(net.failures)
    return [
        Case(int(photo), kind)
        for place, kind in enumerate(failures.KINDS)
        for photo in _spread(np.flatnonzero(shown[:, place]).tolist(), each)
    ]


def _spread(numbers: Sequence[int], count: int) -> list[int]:
    shown = min(count, len(numbers))
    return [numbers[index * len(numbers) // shown] for index in range(shown)]
