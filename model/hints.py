"""A person's word for places of a photo: colors there, and what follows from them for the rest.

What is missing at a hint, its color minus the net's answer, is carried over the picture in two steps. First a cast that the hints share:
how far it goes at a position depends on whether the net finds a color plausible that is so far from its answer. Then what is still missing
at each hint, to the places that are like it (`model.likeness`), by a Gaussian process; where the wished color is plausible, likeness
reaches farther. It takes no other run of the net, and beats the net's own input for hints (docs/evaluation.md, "Hints and alternatives").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model import likeness, reference
from model.errors import InputError
from model.likeness import Scene
from model.upsample import RGB_FROM_XYZ, Frame

MOST: Final = 32
"""Hints of one photo."""
_CAST: Final = 0.4  # the variance of what all places share, where that of what like places share is 0.6
_OTHER: Final = 0.1  # and of what each has to itself, when the cast is estimated
_SLACK: Final = 0.03  # how little a hint may be missed
_LEAST: Final = 0.005  # the probability of a suggestion
_LEVELS: Final = np.arange(4, 98, 2.0)  # of lightness, at which a color may be told
_OUTSIDE: Final = 1e4  # steps of lightness that it is worth to be within sRGB, in linear light


@dataclass(frozen=True, slots=True)
class Hint:
    """A color at a place of the whole upright photo: `x` across and `y` down, 0…1; `color` is #rrggbb, whose lightness does not count.

    `radius`, 0…0.5 of the shorter side: how far around the color is sure. A gray such as #808080 says that nothing is to be colored there.
    Other values raise InputError.
    """

    x: float
    y: float
    color: str
    radius: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.x <= 1 and 0 <= self.y <= 1):
            raise InputError(f"the hint at {self.x:g}, {self.y:g} lies outside of the photo: x and y are 0…1")
        if not reference.HEX.fullmatch(self.color):
            raise InputError(f"{self.color!r} is no color of a hint: write it as #rrggbb")
        if not 0 <= self.radius <= 0.5:
            raise InputError(
                f"the radius of a hint is {self.radius:g}, and must lie in 0…0.5 of the shorter side"
            )

    @property
    def ab(self) -> NDArray[np.float32]:
        """(2,) CIELAB a and b."""
        return reference.ab_of(self.color)


def codes(colors_n2: NDArray[np.floating], lightness_n: NDArray[np.floating]) -> list[str]:
    """Colors, (n, 2) ab, as #rrggbb which `Hint` reads as the same: each at its lightness, 0…100, or the nearest that sRGB has it at."""
    a_n1, b_n1 = colors_n2.T[..., None]
    y = (_LEVELS + 16) / 116
    f_3nl = np.stack([y + a_n1 / 500, np.broadcast_to(y, (len(a_n1), len(y))), y - b_n1 / 200])
    xyz_3nl = np.where(f_3nl > 0.008856 ** (1 / 3), f_3nl * f_3nl * f_3nl, (f_3nl - 16 / 116) / 7.787)
    linear_3nl = np.einsum("ij,jnl->inl", RGB_FROM_XYZ, xyz_3nl)
    outside_nl = np.maximum(linear_3nl - 1, -linear_3nl).max(0).clip(0)
    best = (_OUTSIDE * outside_nl + np.abs(_LEVELS - lightness_n[:, None])).argmin(1)
    linear_3n = linear_3nl[:, np.arange(len(best)), best].clip(0, 1)
    code = np.where(linear_3n > 0.0031308, 1.055 * linear_3n ** (1 / 2.4) - 0.055, 12.92 * linear_3n)
    return [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in np.rint(255 * code.T).astype(int)]


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A color that the net holds possible at a place: (2,) ab, and its probability there."""

    ab: NDArray[np.float32]
    probability: float


@dataclass(frozen=True, slots=True)
class Wish:
    """A color at a place of the part that the net colors: x and y 0…1 within it, (2,) ab, the radius in its widths and heights."""

    x: float
    y: float
    ab: NDArray[np.float32]
    radius: tuple[float, float] = (0.0, 0.0)


def wishes(hints: Sequence[Hint], size: tuple[int, int], frame: Frame | None) -> list[Wish]:
    """Hints in a photo of (width, height) as wishes within its frame. InputError for one outside of it, and for more than `MOST`."""
    if len(hints) > MOST:
        raise InputError(f"there are {len(hints)} hints: {MOST} are the most")
    width, height = size
    top, left, bottom, right = frame or (0, 0, height, width)
    found = []
    for hint in hints:
        x, y = (hint.x * width - left) / (right - left), (hint.y * height - top) / (bottom - top)
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise InputError(
                f"the hint at {hint.x:g}, {hint.y:g} lies on the page around the photograph, which stays gray"
            )
        reach = hint.radius * min(width, height)
        found.append(Wish(x, y, hint.ab, (reach / (right - left), reach / (bottom - top))))
    return found


def follow(scene: Scene, ab_2hw: NDArray[np.float32], wished: Sequence[Wish]) -> NDArray[np.float32]:
    """(2, h, w) ab as it was decoded → ab in which the wishes are met, and what is like their places follows. Without wishes, as it was."""
    if not wished:
        return ab_2hw
    answer_P2 = ab_2hw.reshape(2, -1).T
    places, colors_n2 = _spread(scene, wished)
    alike = likeness.similarity(scene, places)
    missing = colors_n2 - answer_P2[places]
    cast = _cast(alike[:, places], missing)
    usual = missing.mean(0, keepdims=True)
    plausible = likeness.plausibility(scene, answer_P2, np.vstack([usual, missing]))
    colored = answer_P2 + plausible[0][:, None] * cast
    reaching = np.maximum(alike, np.sqrt(alike) * plausible[1:])
    shares = _solved(reaching[:, places], colors_n2 - colored[places])
    return np.ascontiguousarray((colored + reaching.T @ shares).T, np.float32).reshape(ab_2hw.shape)


def suggest(scene: Scene, x: float, y: float, count: int = 5) -> list[Suggestion]:
    """The likeliest distinct colors at a place of the scene, 0…1 across and down, likeliest first. Fewer where the net is sure."""
    [found] = _suggested(scene, likeness.cells(scene, [(x, y)]), count)
    return found


def suggestions(scene: Scene, count: int = 5) -> list[list[list[Suggestion]]]:
    """What `suggest` says at each position of the scene: a list a row, with a list a position. It takes P² numbers of memory."""
    rows, columns = scene.shape
    found = _suggested(scene, np.arange(rows * columns), count)
    return [found[start : start + columns] for start in range(0, rows * columns, columns)]


def _suggested(scene: Scene, places_n: NDArray[np.intp], count: int) -> list[list[Suggestion]]:
    alike = likeness.similarity(scene, places_n)
    mixed = alike @ scene.probabilities / alike.sum(1, keepdims=True)
    colors, shares, _ = likeness.modes(mixed, scene.centers, count)
    return [
        [Suggestion(ab, share) for ab, share in zip(of_place, those, strict=True) if share >= _LEAST]
        for of_place, those in zip(colors, shares.tolist(), strict=True)
    ]


def _spread(scene: Scene, wished: Sequence[Wish]) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """(n,) positions and (n, 2) colors: the middle of each wish and four places around it; of wishes for one position, the last counts."""
    colors: dict[int, NDArray[np.float32]] = {}
    for wish in wished:
        across, down = 0.7 * wish.radius[0], 0.7 * wish.radius[1]
        around = [(across, 0), (-across, 0), (0, down), (0, -down), (0, 0)]
        for place in likeness.cells(scene, [(wish.x + dx, wish.y + dy) for dx, dy in around]):
            colors.pop(int(place), None)
            colors[int(place)] = wish.ab
    return np.array([*colors], np.intp), np.stack([*colors.values()])


def _cast(alike_nn: NDArray[np.float32], missing_n2: NDArray[np.float32]) -> NDArray[np.float32]:
    """(2,): what the hints say of the whole picture; little where they are few or differ."""
    covariance = (1 - _CAST) * alike_nn.astype(np.float64) + _CAST + _OTHER * np.eye(len(alike_nn))
    cast: NDArray[np.float32] = (_CAST * np.linalg.solve(covariance, missing_n2).sum(0)).astype(np.float32)
    return cast


def _solved(reaching_nn: NDArray[np.float32], missing_n2: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, 2) shares of each hint. Ways around edges make no covariance for sure: what is negative of it is cut off."""
    both = np.minimum(reaching_nn, reaching_nn.T).astype(np.float64)
    values, vectors = np.linalg.eigh(both)
    kept = np.maximum(values, 0) + _SLACK
    shares: NDArray[np.float32] = (vectors / kept @ (vectors.T @ missing_n2)).astype(np.float32)
    return shares
