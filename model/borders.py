"""Where a photograph lies on its page: white borders, mounts, album pages, black scanner beds; captions may stand beside it.

A page is nearly of one tone where it meets the edge of the picture, and ends in straight lines at the photograph. A white wall, snow or sky
is of one tone too, but does not end so on several sides. Borders may lie within one another: a print with a white border on an album page.

Works on a thumbnail. N: places along a side of the page, M: places from that side inward, P: places where the page ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from model.compiled import compiled

Box: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right), the last two exclusive."""

_LAYERS: Final = 3
"""Borders within one another: an album page, a mount, the print's own border."""
_SLOPES: Final = np.tan(np.radians(np.arange(-3.0, 3.1, 0.5)))
"""Of photographs that lie aslant."""
_TOLERANCE: Final = (7.0, 24.0)
"""Steps of 255 from the page's tone that still are page, for one without texture and for the coarsest."""
_SAME_LEVEL: Final = 30.0
"""Steps of 255 by which sides of one border may differ."""
_LEAST_SIDE: Final = 48
_LEAST_AREA: Final = 0.12
"""Of the photograph in its thumbnail."""
_PLAIN: Final = 0.84
"""The share of a border that is of the page's tone; the rest are captions and stains."""
_CAPTIONED: Final = 0.6
"""The same of a side that does not count, but is cut as well if others are sure."""
_PLAIN_OF_2: Final = 0.97
_SUPPORT: Final = 0.4
"""The share of a side of the photograph along which the page ends there."""
_SUPPORT_OF_3: Final = 0.6
_SUPPORT_OF_2: Final = 0.9
"""The same on average of all sides that count."""
_LINES: Final = 128
"""At which an end of the border is placed in the photo itself."""
_RIM: Final = 2
"""Pixels of page before its end, and two of three that are none behind it."""


class _Side:
    """One side of a page, seen from outside: where along it, and how deep, the page ends."""

    def __init__(self, page_NM: NDArray[np.uint8], sign: int) -> None:
        """`sign`: of the slope of this side where the photograph's is positive."""
        self.count, self.depth = page_NM.shape
        self.sign = sign
        self._far = self.depth * 2 // 3
        page_NM = np.ascontiguousarray(page_NM)
        rim = page_NM[:, :_RIM].astype(np.int16)
        self.level = _median(rim)
        texture = _median(np.abs(rim - self.level))
        tolerance = min(max(_TOLERANCE[0], 5 * texture), _TOLERANCE[1])
        low, high = math.ceil(self.level - tolerance), math.floor(self.level + tolerance)
        self._plain_NM = (page_NM >= max(low, 0)) & (page_NM <= min(high, 255))
        self._along_P, self._inward_P = _ends(self._plain_NM, self._far)

    def most_votes(self, slopes_S: NDArray[np.float64]) -> NDArray[np.int64]:
        """(S,) votes: as `vote` gives them along the whole side, for all slopes at once."""
        aslant_SN = -self.sign * slopes_S[:, None] * (np.arange(self.count) - self.count / 2)
        shift_SN = np.rint(aslant_SN).astype(np.int64)
        votes_SM = np.zeros((len(slopes_S), self._far + 1), np.int64)
        _count(shift_SN, self._along_P, self._inward_P, votes_SM)
        near_SM = votes_SM.copy()
        near_SM[:, 1:] += votes_SM[:, :-1]
        near_SM[:, :-1] += votes_SM[:, 1:]
        most: NDArray[np.int64] = np.where(near_SM.argmax(1) < _RIM, near_SM[:, _RIM], near_SM.max(1))
        return most

    def vote(self, slope: float, span: tuple[int, int]) -> tuple[float, int]:
        """(depth, votes): the line of this slope at which the page ends in most places of `span`, a pixel more or less."""
        inside = (self._along_P >= span[0]) & (self._along_P < span[1])
        place = self._inward_P - self.sign * slope * (self._along_P - self.count / 2)
        place = np.rint(place[inside]).astype(np.int64)
        votes = np.bincount(place[(place >= _RIM) & (place < self._far)], minlength=self._far + 1)
        near = votes.copy()
        near[1:] += votes[:-1]
        near[:-1] += votes[1:]
        middle = max(_RIM, int(near.argmax()))
        three = votes[middle - 1 : middle + 2]
        shift = float(three[2] - three[0]) / max(1, int(near[middle]))
        return middle + shift, int(near[middle])

    def plain(self, depth: float, slope: float, span: tuple[int, int]) -> float:
        """The share of the page's tone outside of a line."""
        along = np.arange(*span)
        line = np.rint(depth + self.sign * slope * (along - self.count / 2)).astype(np.int64)
        line = line.clip(0, self.depth)
        outside_NM = self._plain_NM[along] & (np.arange(self.depth) < line[:, None])
        return float(outside_NM.sum() / max(1, line.sum()))


@dataclass(frozen=True, slots=True)
class _Edge:
    depth: float
    support: float
    plain: float


def find(gray_HW: NDArray[np.uint8]) -> Box | None:
    """The photograph's box in a thumbnail of 200 to 500 pixels, or None where it fills its page or nothing is sure."""
    found = None
    within = (0, 0, *gray_HW.shape)
    for _ in range(_LAYERS):
        layer = _layer(gray_HW, within)
        if layer is None:
            break
        found, within = layer
    return found


def _layer(gray_HW: NDArray[np.uint8], within: Box) -> tuple[Box, Box] | None:
    """The box that one border encloses, if there is one, and that in which to look for the next."""
    top, left, bottom, right = within
    page = gray_HW[top:bottom, left:right]
    height, width = page.shape
    if min(height, width) < _LEAST_SIDE:
        return None
    sides = [_Side(page.T, 1), _Side(page, -1), _Side(page[::-1].T, -1), _Side(page[:, ::-1], 1)]
    spans = [(0, width), (0, height)] * 2
    slope = _SLOPES[np.sum([side.most_votes(_SLOPES) for side in sides], axis=0).argmax()]
    edges = [_edge(side, slope, span, 0.25) for side, span in zip(sides, spans, strict=True)]
    if not any(edges):  # nor would there be in what follows, which asks for more
        return None
    for _ in range(2):
        spans = _spans(edges, height, width)
        edges = [_edge(side, slope, span, _SUPPORT) for side, span in zip(sides, spans, strict=True)]
    level = np.median([side.level for side, edge in zip(sides, edges, strict=True) if edge] or [0])
    edges = [
        edge if edge and abs(side.level - level) <= _SAME_LEVEL else None
        for side, edge in zip(sides, edges, strict=True)
    ]
    if not _is_border(edges):
        return None
    depths = [
        0 if edge is None else round(edge.depth + side.sign * slope * (sum(span) / 2 - side.count / 2))
        for edge, side, span in zip(edges, sides, spans, strict=True)
    ]
    inner = (top + depths[0], left + depths[1], bottom - depths[2], right - depths[3])
    if (inner[2] - inner[0]) * (inner[3] - inner[1]) < _LEAST_AREA * gray_HW.size:
        return None
    aslant = [
        0 if edge is None else 2 + round(abs(slope) * (span[1] - span[0]) / 2)
        for edge, span in zip(edges, spans, strict=True)
    ]
    next_within = (inner[0] + aslant[0], inner[1] + aslant[1], inner[2] - aslant[2], inner[3] - aslant[3])
    return inner, next_within


def _edge(side: _Side, slope: float, span: tuple[int, int], least: float) -> _Edge | None:
    length = span[1] - span[0]
    if length < _LEAST_SIDE // 2:
        return None
    depth, votes = side.vote(slope, span)
    if votes < least * length:
        return None
    plain = side.plain(depth, slope, span)
    if plain < _CAPTIONED:
        return None
    return _Edge(depth, votes / length, plain)


def _is_border(edges: list[_Edge | None]) -> bool:
    """Three sides or four. Of two, more is asked: a floor and a wall of one tone are found in photographs too."""
    sure = [edge for edge in edges if edge and edge.plain >= _PLAIN]
    if len(sure) >= 3:
        return sum(edge.support for edge in sure) >= _SUPPORT_OF_3 * len(sure)
    return len(sure) == 2 and all(
        edge.support >= _SUPPORT_OF_2 and edge.plain >= _PLAIN_OF_2 for edge in sure
    )


def _spans(edges: list[_Edge | None], height: int, width: int) -> list[tuple[int, int]]:
    top, left, bottom, right = (round(edge.depth) if edge else 0 for edge in edges)
    across, down = (left, width - right), (top, height - bottom)
    return [across, down, across, down]


@compiled
def _ends(plain_NM: Any, far: int) -> Any:
    """(P,) along and (P,) inward, int32: where `_RIM` pixels of page are followed by three of which one is page at most.

    Only within `far`, and once where two that lie side by side fit: the latter.
    """
    along_P = np.empty(plain_NM.shape[0] * far // 2, np.int32)
    inward_P = np.empty(len(along_P), np.int32)
    fits = np.zeros(far + 1, np.bool_)
    found = 0
    for n in range(plain_NM.shape[0]):
        row = plain_NM[n]
        for end in range(_RIM, far):
            one, two, three = row[end], row[end + 1], row[end + 2]
            fits[end] = row[end - 2] & row[end - 1] & ~((one & two) | (one & three) | (two & three))
        for end in range(_RIM, far):
            if fits[end] & ~fits[end + 1]:
                along_P[found], inward_P[found] = n, end
                found += 1
    return along_P[:found].copy(), inward_P[:found].copy()


@compiled
def _count(shift_SN: Any, along_P: Any, inward_P: Any, votes_SM: Any) -> None:
    """Add the votes of all ends to `votes_SM`, by slope and depth, whose last place gets none."""
    last = votes_SM.shape[1] - 1
    for s in range(len(shift_SN)):
        shift_N, votes_M = shift_SN[s], votes_SM[s]
        for p in range(len(along_P)):
            place = inward_P[p] + shift_N[along_P[p]]
            if _RIM <= place < last:
                votes_M[place] += 1


def _median(values: NDArray[Any]) -> float:
    """As `np.median`, which takes longer than this for few values."""
    ordered = np.sort(values, axis=None)
    return float((ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2)


def refine(pixels: NDArray[Any], box: Box, seen: tuple[int, int]) -> Box:
    """The same box in the photo itself, (H, W) or (H, W, 3), to the pixel where the border ends sharply.

    `seen`: height and width of the thumbnail, a pixel of which is many here. Reads narrow bands of the photo alone.
    """
    height, width = pixels.shape[:2]
    down, across = height / seen[0], width / seen[1]
    top, left, bottom, right = (
        round(place * scale) for place, scale in zip(box, (down, across, down, across), strict=True)
    )
    rows = slice(top, bottom, max(1, (bottom - top) // _LINES))
    columns = slice(left, right, max(1, (right - left) // _LINES))
    upright, turned = pixels[rows], pixels[:, columns].swapaxes(0, 1)
    return (
        _step(turned, top, down),
        _step(upright, left, across),
        height - _step(turned[:, ::-1], height - bottom, down),
        width - _step(upright[:, ::-1], width - right, across),
    )


def _step(lines: NDArray[Any], near: int, reach: float) -> int:
    """Where the lines differ most suddenly from what they are at the border, (N, M) or (N, M, 3), within `reach` of `near`."""
    if not near:
        return 0
    start = max(0, near - round(1.5 * reach) - 1)
    band = lines[:, start : near + round(1.5 * reach) + 2].astype(np.float32)
    if band.ndim == 3:
        band = band.mean(-1)
    difference = np.abs(band - band[:, :1]).mean(0)
    return start + 1 + int(np.diff(difference).argmax())
