"""Where a photograph lies on its page: white borders, mounts, album pages, black scanner beds; captions may stand beside it.

A page is nearly of one tone where it meets the edge of the picture, and ends in straight lines at the photograph. A white wall, snow or sky
is of one tone too, but does not end so on several sides. Borders may lie within one another: a print with a white border on an album page.

Works on a thumbnail, with numpy alone. N: places along a side of the page, M: places from that side inward.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right), the last two exclusive."""

_LAYERS: Final = 3
"""Borders within one another: an album page, a mount, the print's own border."""
_TILTS: Final = np.tan(np.radians(np.arange(-3.0, 3.1, 0.5)))
_TOLERANCE: Final = (7.0, 24.0)
"""Steps of 255 from the page's tone that still are page, for one without texture and for the coarsest."""
_LEAST_DEPTH: Final = 2
_LEAST_AREA: Final = 0.12
_PLAIN: Final = 0.84
"""The share of a border that is of the page's tone; the rest are captions and stains."""
_SUPPORT: Final = 0.55
"""The share of a side of the photograph along which the page ends."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """A line where the page ends: `depth` from the side at its middle, `tilt` in pixels each pixel along it."""

    depth: float
    tilt: float
    votes: int
    plain: float
    level: float


def find(gray_HW: NDArray[np.uint8]) -> Box | None:
    """The photograph's box in a thumbnail of 200 to 500 pixels, or None where it fills its page or nothing is sure."""
    height, width = gray_HW.shape
    box = (0, 0, height, width)
    for _ in range(_LAYERS):
        inner = _inside(gray_HW, box)
        if inner is None:
            break
        box = inner
    if box == (0, 0, height, width):
        return None
    return box


def _inside(gray_HW: NDArray[np.uint8], box: Box) -> Box | None:
    """What one border encloses, if there is one just within `box`."""
    top, left, bottom, right = box
    page = gray_HW[top:bottom, left:right].astype(np.int16)
    height, width = page.shape
    if min(height, width) < 48:
        return None
    edges = [_edge(side, 0, len(side), 0.3) for side in _sides(page)]
    for _ in range(2):
        spans = _spans(edges, height, width)
        edges = [_edge(side, *span, _SUPPORT) for side, span in zip(_sides(page), spans, strict=True)]
    if not _convincing(edges):
        return None
    depths = [round(edge.depth) if edge else 0 for edge in edges]
    inner = (top + depths[0], left + depths[1], bottom - depths[2], right - depths[3])
    area = (inner[2] - inner[0]) * (inner[3] - inner[1])
    return inner if area >= _LEAST_AREA * gray_HW.size else None


def _sides(page_HW: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """Views (N, M) with the top, left, bottom and right side of the page at M = 0."""
    yield page_HW.T
    yield page_HW
    yield page_HW[::-1].T
    yield page_HW[:, ::-1]


def _spans(edges: list[_Edge | None], height: int, width: int) -> list[tuple[int, int]]:
    top, left, bottom, right = (math.ceil(edge.depth) if edge else 0 for edge in edges)
    across, down = (left, width - right), (top, height - bottom)
    return [across, down, across, down]


def _edge(side_NM: NDArray[Any], start: int, stop: int, least: float) -> _Edge | None:
    """The line at which the page ends, seen from one side, along `start`…`stop` of it."""
    rows = side_NM[start:stop]
    count, depth = rows.shape
    if count < 24:
        return None
    rim = rows[:, :_LEAST_DEPTH]
    level = float(np.median(rim))
    texture = float(np.median(np.abs(rim - level)))
    tolerance = min(max(_TOLERANCE[0], 5 * texture), _TOLERANCE[1])
    plain_NM = np.abs(rows - level) <= tolerance
    if plain_NM[:, 0].mean() < 0.6:
        return None
    run_NM = np.zeros((count, depth + 1), np.int32)
    np.cumsum(plain_NM, axis=1, out=run_NM[:, 1:])
    far = depth * 2 // 3
    ends_NM = (run_NM[:, 2:far] - run_NM[:, : far - 2] == 2) & (
        run_NM[:, 5 : far + 3] - run_NM[:, 2:far] <= 1
    )
    along, inward = np.nonzero(ends_NM)
    inward = inward + 2
    middle = (count - 1) / 2
    best: _Edge | None = None
    for tilt in _TILTS:
        place = np.rint(inward - tilt * (along - middle)).astype(np.int64)
        place = place[(place >= 0) & (place < far)]
        votes = np.bincount(place, minlength=far + 1)
        near = votes.copy()
        near[1:] += votes[:-1]
        near[:-1] += votes[1:]
        for at in np.argsort(near)[-2:][::-1]:
            if near[at] < least * count or (best and near[at] <= best.votes) or at < _LEAST_DEPTH:
                continue
            line = np.clip(np.rint(at + tilt * (np.arange(count) - middle)).astype(np.int64), 0, depth)
            outside = run_NM[np.arange(count), line].sum() / max(1, line.sum())
            if outside >= _PLAIN:
                best = _Edge(float(at), float(tilt), int(near[at]), float(outside), level)
    return best


def _convincing(edges: list[_Edge | None]) -> bool:
    """Three sides or four; or two of a tone that no part of a photograph has so evenly."""
    found = [edge for edge in edges if edge]
    return len(found) >= 3
