"""A second look at a large photograph, at up to twice the resolution: where small people and hands are less small.

The net's first look sees the whole photo at the card's size, 224 pixels on the shorter side. The second sees it at up to 416, in tiles of
224 × 224 that overlap. Both answers are averaged in logits, at the first one's positions: at the second one's the average was no better,
and all that is made of an answer would take four times as long (LOG.md, 2026-11-30). Tiles are joined by windows that fall to nothing at
their edges, so that there are no seams. Q colors, h×w positions of an answer, H×W pixels of the second look.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

Detail = Literal["off", "auto", "on"]
"""One look; the second one counts where it is the surer one; or always. Where a photo has no more to show, all three are the same."""

_CLOSER: Final = 13 / 7
"""The second look's shorter side over the first's, at most: two tiles that overlap by a seventh."""
_LEAST: Final = 1.5
"""The same, at least: in a photo that is smaller there is too little more to be seen."""
_STEP: Final = 6 / 7
"""From one tile to the next, at most, in sides of a tile."""


def size(first: int, shorter_side: int) -> int | None:
    """The second look's shorter side, a multiple of 32. None where the photo is not that large. `first`: that of the first look."""
    closer = min(int(_CLOSER * first), shorter_side) // 32 * 32
    return closer if closer >= _LEAST * first else None


def tiles(lightness_1HW: NDArray[np.float32], side: int) -> list[NDArray[np.float32]]:
    """The second look in (1, side, side) tiles, row by row. Both of its sides must be that long at least."""
    height, width = lightness_1HW.shape[1:]
    return [
        lightness_1HW[:, top : top + side, left : left + side]
        for top, left in product(_starts(height, side), _starts(width, side))
    ]


def joined(
    answers: Sequence[NDArray[np.float32]], shape: tuple[int, int], side: int, positions: tuple[int, int]
) -> NDArray[np.float32]:
    """(Q, h, w): what the (Q, n, n) answers to the tiles say at so many positions.

    `shape` and `side`: the second look's (H, W) and its tiles' side, as they were cut.
    """
    down, across = (
        _shares(length, side, answers[0].shape[1], count)
        for length, count in zip(shape, positions, strict=True)
    )
    found_hwQ: NDArray[np.float32] = np.zeros((*positions, len(answers[0])), np.float32)
    for ((rows, shares_rn), (columns, shares_cn)), answer in zip(product(down, across), answers, strict=True):
        tile_nnQ = np.ascontiguousarray(np.moveaxis(answer, 0, -1), np.float32)
        found_hwQ[rows, columns] += shares_cn @ np.tensordot(shares_rn, tile_nnQ, 1)
    return np.moveaxis(found_hwQ, -1, 0)


def merge(
    first_Qhw: NDArray[np.float32], second_Qhw: NDArray[np.float32], wanted: Detail
) -> NDArray[np.float32]:
    """(Q, h, w): the mean of both, or with "auto" the first alone where the second is no surer, by the mean entropy over the photo.

    Answers of two channels are ab already and say nothing of how sure they are: with "auto" the first one stays.
    """
    if wanted == "auto" and (len(first_Qhw) == 2 or _entropy(second_Qhw) >= _entropy(first_Qhw)):
        return first_Qhw
    return (first_Qhw + second_Qhw) * np.float32(0.5)


def _entropy(logits_Qhw: NDArray[np.float32]) -> float:
    """In nats, the mean over all positions."""
    logits_hwQ = np.moveaxis(logits_Qhw, 0, -1)
    logits_hwQ = logits_hwQ - logits_hwQ.max(-1, keepdims=True)
    odds = np.exp(logits_hwQ)
    total = odds.sum(-1)
    return float((np.log(total) - (odds * logits_hwQ).sum(-1) / total).mean())


def _starts(length: int, side: int) -> list[int]:
    """Where the tiles begin along one side."""
    steps = math.ceil((length - side) / (_STEP * side))
    return [round(step * (length - side) / max(1, steps)) for step in range(steps + 1)]


def _shares(length: int, side: int, n: int, count: int) -> list[tuple[slice, NDArray[np.float32]]]:
    """Along one side, of each tile: which of `count` positions r it covers, and (r, n) how much its n places count at each of them.

    Over all tiles that adds up to 1.
    """
    window = 1 - np.abs((np.arange(n) + 0.5) / n * 2 - 1)
    ends = np.arange(count + 1) * length / count
    overlaps = []
    for start in _starts(length, side):
        edges = start + np.arange(n + 1) * side / n
        overlap = np.minimum(ends[1:, None], edges[1:]) - np.maximum(ends[:-1, None], edges[:-1])
        overlaps.append(np.maximum(overlap, 0) * window)
    total = np.sum(overlaps, (0, 2))
    found = []
    for overlap in overlaps:
        covered = np.flatnonzero(overlap.any(1))
        rows = slice(covered[0], covered[-1] + 1)
        found.append((rows, (overlap[rows] / total[rows, None]).astype(np.float32)))
    return found
