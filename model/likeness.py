"""Which places of a photo are like one another: the kernel by which hints and alternatives carry a color from a place over the picture.

Two places are alike where the way between them crosses no edge, their lightness is alike, and the net says alike of them:

    k = exp(−(d² + 20·|ΔL|² + 4·H²))

d is the length of the shortest way over the picture, in units of its shorter side, through a landscape whose height is `edge` times the
lightness L (0…1), so that steps across edges are long; H² is the squared Hellinger distance between the net's distributions, without
its factor of ½. The numbers are measured: docs/evaluation.md, "Hints and alternatives". All in numpy; P = h·w positions of the net's
answer, Q bins, n places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from model import palette
from model.compiled import compiled
from model.errors import InputError

EDGE: Final = 4.0  # with 2, hints lead nearer the truth and spill more across edges
_LIGHTNESS: Final = 20.0
_DISTRIBUTION: Final = 4.0
_PLAUSIBLE: Final = np.float32(15)  # ab units: the sigma of what counts as near a color
_REACH: Final = np.float32(
    120
)  # ab units: how far the colors go for which it is known, in steps of that sigma
_MODE: Final = 20.0  # ab units: what counts as one color
_NOTHING: Final = 1e-6  # a probability that is rounding
_FAINT: Final = np.float32(1e-9)  # numbers that small lose bits, and make a product 75 times as slow
_f = np.float32


@dataclass(frozen=True, slots=True)
class Scene:
    """A photo as the net sees it, and what the net says of it, at the answer's size."""

    lightness_hw: NDArray[np.float32]
    """0…1"""
    probabilities: NDArray[np.float32]
    """(P, Q)"""
    roots: NDArray[np.float32]
    """(P, Q): their square roots, between which distances are Hellinger's."""
    centers: NDArray[np.float32]
    """(Q, 2) ab"""

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.lightness_hw.shape
        return height, width


def scene(
    lightness_1HW: NDArray[np.float32],
    logits_Qhw: NDArray[np.float32],
    centers_Q2: NDArray[np.float32] | None = None,
) -> Scene:
    """What the net saw (`Colorizer.preprocess`) and what it answered. InputError for a net that answers with colors, not a distribution."""
    centers = palette.centers() if centers_Q2 is None else centers_Q2
    if len(logits_Qhw) != len(centers):
        raise InputError(
            "this net answers with one color a place: hints and alternatives need a distribution"
        )
    height, width = logits_Qhw.shape[1:]
    small = Image.fromarray(lightness_1HW[0]).resize((width, height), Image.Resampling.BOX)
    logits_PQ = np.ascontiguousarray(np.moveaxis(logits_Qhw, 0, -1), np.float32).reshape(-1, len(centers))
    odds = np.exp(logits_PQ - logits_PQ.max(1, keepdims=True))
    probabilities: NDArray[np.float32] = odds / odds.sum(1, keepdims=True)
    return Scene(np.asarray(small, np.float32) / _f(100), probabilities, np.sqrt(probabilities), centers)


def similarity(scene: Scene, places_n: NDArray[np.intp], edge: float = EDGE) -> NDArray[np.float32]:
    """(n, P) in 0…1: how like each place, by its position in the flattened answer, the others are; a place is like itself, 1."""
    lightness_P = scene.lightness_hw.reshape(-1)
    cosines = scene.roots[places_n] @ scene.roots.T
    apart = _f(2 * _DISTRIBUTION) * np.maximum(1 - cosines, 0)
    apart += _f(_LIGHTNESS) * (lightness_P[places_n, None] - lightness_P) ** 2
    apart += ways(scene.lightness_hw, places_n, edge) ** 2
    apart[np.arange(len(places_n)), places_n] = 0
    found: NDArray[np.float32] = np.exp(-apart)
    return found


def ways(lightness_hw: NDArray[np.float32], places_n: NDArray[np.intp], edge: float) -> NDArray[np.float32]:
    """(n, P) lengths of the shortest ways from each place, in shorter sides; a way across edges is longer."""
    height, width = lightness_hw.shape
    lengths = np.full((height + 2, width + 2, len(places_n)), np.inf, np.float32)
    lengths[places_n // width + 1, places_n % width + 1, np.arange(len(places_n))] = 0
    _shorten(_steps(_f(edge) * lightness_hw), lengths)
    return np.ascontiguousarray(lengths[1:-1, 1:-1].reshape(height * width, -1).T)


def plausibility(
    scene: Scene, ab_P2: NDArray[np.float32], moves_n2: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(n, P) in 0…1: how likely the net holds each position's color plus a move, beside that color itself."""
    axis = np.arange(-_REACH, _REACH + 1, _PLAUSIBLE, dtype=np.float32)
    near_a, near_b = (
        np.exp((centers - axis[:, None]) ** 2 / (-2 * _PLAUSIBLE**2)) for centers in scene.centers.T
    )
    near = (near_a[:, None] * near_b).reshape(len(axis) ** 2, -1)
    near[near < _FAINT] = 0
    likely_PAB = (scene.probabilities @ near.T).reshape(-1, len(axis), len(axis))
    found = np.empty((len(moves_n2) + 1, len(ab_P2)), np.float32)
    moves = np.vstack([np.zeros((1, 2)), moves_n2]).astype(np.float32)
    _look_up(likely_PAB, np.ascontiguousarray(ab_P2, np.float32), moves, found)
    likely: NDArray[np.float32] = np.minimum(1, found[1:] / np.maximum(found[0], _f(1e-9)))
    return likely


def modes(
    probabilities_nQ: NDArray[np.float32],
    centers_Q2: NDArray[np.float32],
    count: int,
    taken_n2: NDArray[np.float32] | None = None,
    reach: float = 15.0,
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """The likely distinct colors of n distributions: (n, count, 2) ab and the (n, count) probability that each stands for, likeliest first.

    The likeliest bin takes along all probability within 20 ab units of it, and the next one is sought in the rest; a color is the mean of
    what it took. Where nothing is left, the probability is 0. With `taken_n2`, what lies within `reach` of that color belongs to it and is
    left out; the (n,) probability of that comes third, else 0.
    """
    left = probabilities_nQ.astype(np.float64)
    taken = np.zeros(len(left))
    if taken_n2 is not None:
        own = np.hypot(*np.moveaxis(centers_Q2 - taken_n2[:, None], -1, 0)) <= reach
        taken = (left * own).sum(1)
        left[own] = 0
    near_QQ = np.hypot(*np.moveaxis(centers_Q2 - centers_Q2[:, None], -1, 0)) <= _MODE
    colors = np.zeros((len(left), count, 2), np.float32)
    masses = np.zeros((len(left), count))
    for place in range(count):
        near = left * near_QQ[left.argmax(1)]
        mass = near.sum(1)
        some = mass >= _NOTHING
        colors[some, place] = near[some] @ centers_Q2 / mass[some, None]
        masses[some, place] = mass[some]
        left -= near
    order = np.argsort(-masses, axis=1, kind="stable")
    return np.take_along_axis(colors, order[..., None], 1), np.take_along_axis(masses, order, 1), taken


def grid(scene: Scene, rows: int, columns: int) -> NDArray[np.intp]:
    """(rows · columns,) positions in the flattened answer: of the middles of so many equal cells, row by row."""
    return cells(
        scene, [((x + 0.5) / columns, (y + 0.5) / rows) for y in range(rows) for x in range(columns)]
    )


def cells(scene: Scene, points: Sequence[tuple[float, float]]) -> NDArray[np.intp]:
    """(x, y) in 0…1 across and down → positions in the flattened answer."""
    height, width = scene.shape
    return np.array(
        [
            min(int(max(y, 0) * height), height - 1) * width + min(int(max(x, 0) * width), width - 1)
            for x, y in points
        ],
        np.intp,
    )


def _steps(height_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """(3, 3, h, w): how long the step from each position to its neighbor above, beside and below it is; infinite out of the picture."""
    there = sliding_window_view(np.pad(height_hw, 1, constant_values=np.inf), height_hw.shape)
    one = np.arange(-1, 2)
    flat = (np.hypot(one[:, None], one) / min(height_hw.shape)).astype(np.float32)
    found: NDArray[np.float32] = np.sqrt((there - height_hw) ** 2 + flat[..., None, None] ** 2)
    return found


@compiled
def _shorten(steps: Any, ways: Any) -> None:
    """Sweep down and up over the (h + 2, w + 2, n) ways until none becomes shorter; the rim, out of the picture, is infinitely far.

    The places lie side by side, so that their ways are found together, on vectors.
    """
    height = steps.shape[2]
    shorter = 1
    while shorter:
        shorter = 0
        for y in range(height):
            shorter += _sweep(steps[0, :, y], steps[1, :, y], ways[y], ways[y + 1])
        for y in range(height - 1, -1, -1):
            shorter += _sweep(steps[2, :, y], steps[1, :, y], ways[y + 2], ways[y + 1])


@compiled
def _sweep(over: Any, along: Any, before: Any, row: Any) -> Any:
    """Shorten the ways to a row by those to the row before it, then along it there and back; how many became shorter."""
    width = over.shape[1]
    shorter = 0
    for x in range(width):
        there = before[x], before[x + 1], before[x + 2], row[x]
        shorter += _relax_by_four(row[x + 1], there, (over[0, x], over[1, x], over[2, x], along[0, x]))
    for x in range(width - 1, -1, -1):
        shorter += _relax(row[x + 1], row[x + 2], along[2, x])
    return shorter


@compiled
def _relax(here: Any, there: Any, step: Any) -> Any:
    """Shorten the ways to a position by those to a neighbor; how many became shorter."""
    shorter = 0
    for k in range(len(here)):
        tried = there[k] + step
        shorter += tried < here[k]
        here[k] = min(here[k], tried)
    return shorter


@compiled
def _relax_by_four(here: Any, there: Any, steps: Any) -> Any:
    """`_relax` by four neighbors at once, which is faster."""
    (first, second, third, fourth), (to_first, to_second, to_third, to_fourth) = there, steps
    shorter = 0
    for k in range(len(here)):
        tried = min(
            min(first[k] + to_first, second[k] + to_second), min(third[k] + to_third, fourth[k] + to_fourth)
        )
        shorter += tried < here[k]
        here[k] = min(here[k], tried)
    return shorter


@compiled
def _look_up(likely_PAB: Any, ab_P2: Any, moves_n2: Any, found: Any) -> None:
    """Fill (n, P) `found` with each position's likelihood at ab plus each move, between the grid's colors bilinearly."""
    most = _f(likely_PAB.shape[1] - 1) - _f(1e-3)
    for k in range(len(moves_n2)):
        for p in range(len(ab_P2)):
            a = min(max((ab_P2[p, 0] + moves_n2[k, 0] + _REACH) / _PLAUSIBLE, _f(0)), most)
            b = min(max((ab_P2[p, 1] + moves_n2[k, 1] + _REACH) / _PLAUSIBLE, _f(0)), most)
            i, j = int(a), int(b)
            u, v = a - _f(i), b - _f(j)
            upper = likely_PAB[p, i, j] * (_f(1) - v) + likely_PAB[p, i, j + 1] * v
            lower = likely_PAB[p, i + 1, j] * (_f(1) - v) + likely_PAB[p, i + 1, j + 1] * v
            found[k, p] = upper * (_f(1) - u) + lower * u
