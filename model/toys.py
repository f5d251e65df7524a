"""Ten toys, each built of a few convex parts, told apart by shape alone; each has a front, so that it can be seen how it is turned.

A toy stands upright: x is to its left, y up, z to its front. Its parts are blocks (a cube whose top may be smaller than its bottom, down
to a ridge or a point) and rounds (balls, and tubes that may narrow, down to a cone), moved, stretched, turned and leant over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float, float]

PROPORTIONS = 5  # factors that a toy is built from


@dataclass(frozen=True)
class Part:
    """What of the cube −1…1 satisfies x² + z² ≤ a + b·y + c·y² (round), or |x| ≤ 1 − a·(1 + y)/2 and |z| ≤ 1 − b·(1 + y)/2 (block)."""

    affine_34: Floats
    """From there to the toy."""
    form: Point
    """a, b and c."""
    round: bool


def built(name: str, factors: Floats, warp: Point = (1.0, 1.0, 1.0)) -> list[Part]:
    """A toy of `NAMES`, its proportions times `factors` (of which 1 is the plain toy), its axes times `warp`, in the ball of radius 1."""
    parts = _TOYS[name](factors)
    scaled = [np.array(warp)[:, None] * part.affine_34 for part in parts]
    reached = np.concatenate(
        [_surface(part) @ affine[:, :3].T + affine[:, 3] for part, affine in zip(parts, scaled, strict=True)]
    )
    center = (reached.min(0) + reached.max(0)) / 2
    radius = np.sqrt(((reached - center) ** 2).sum(1).max())
    centered = [affine - np.outer(center, (0, 0, 0, 1)) for affine in scaled]
    return [
        Part(affine / radius, part.form, part.round) for affine, part in zip(centered, parts, strict=True)
    ]


def _surface(part: Part) -> Floats:
    """(M, 3) points of the part's own that reach as far as it does, or all but."""
    a, b, c = part.form
    if not part.round:
        return np.array(
            [[x * (1 - a * y), 2 * y - 1, z * (1 - b * y)] for x in (-1, 1) for y in (0, 1) for z in (-1, 1)]
        )
    y = np.linspace(-1, 1, 9)[:, None]
    radius = np.sqrt(np.maximum(0, a + b * y + c * y * y))
    angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rings = [radius * np.cos(angles), np.broadcast_to(y, (9, 16)), radius * np.sin(angles)]
    return np.stack(rings, -1).reshape(-1, 3)


def block(center: Point, half: Point, top: tuple[float, float] = (1, 1), lean: float = 0.0) -> Part:
    """Upright, of these half sides; at its top the shares `top` of x and z are left, and it is `lean` in z off its middle."""
    affine = np.column_stack([np.diag(half), center])
    affine[2, 1] = lean
    return Part(affine, (1 - top[0], 1 - top[1], 0.0), False)


def ball(center: Point, radii: Point) -> Part:
    return Part(np.column_stack([np.diag(radii), center]), (1.0, 0.0, -1.0), True)


def rod(start: Point, end: Point, radius: float, top: float = 1.0) -> Part:
    """A tube of this radius at its start and `top` times it at its end."""
    thick, thin = (1 + top) / 2, (1 - top) / 2
    return Part(_along(start, end, (radius, radius)), (thick**2, -2 * thick * thin, thin**2), True)


def bar(start: Point, end: Point, half: tuple[float, float], top: tuple[float, float] = (1, 1)) -> Part:
    """A block from start to end; half of its sides there, in x (or what is nearest) and across it, of which `top` is left at its end."""
    return Part(_along(start, end, half), (1 - top[0], 1 - top[1], 0.0), False)


def _along(start: Point, end: Point, half: tuple[float, float]) -> Floats:
    first, last = np.array(start, float), np.array(end, float)
    axis = (last - first) / 2
    side = np.eye(3)[2 if abs(axis[0]) > max(abs(axis[1]), abs(axis[2])) else 0]
    side = side - axis * (side @ axis) / (axis @ axis)
    side = side / np.sqrt(side @ side)
    across = np.cross(side, axis) / np.sqrt(axis @ axis)
    return np.column_stack([side * half[0], axis, across * half[1], (first + last) / 2])


def _airplane(f: Floats) -> list[Part]:
    span, tail = 1.0 * f[0], 0.38 * f[1]
    wing, flap, fin = (0.26 * f[2], 0.035), (0.15, 0.03), (0.03, 0.17)
    parts = [ball((0, 0, 0), (0.19 * f[3], 0.19 * f[3], 1.0)), ball((0, 0, 0.98), (0.24, 0.24, 0.025))]
    for side in (-1, 1):
        parts.append(bar((0, -0.03, 0.22), (side * span, 0.05, 0.0), wing, (0.5, 0.6)))
        parts.append(bar((0, 0.05, -0.82), (side * tail, 0.07, -0.92), flap, (0.6, 0.8)))
    return [*parts, bar((0, 0.05, -0.8), (0, 0.45 * f[4], -0.95), fin, (1, 0.6))]


def _boat(f: Floats) -> list[Part]:
    width, mast = 0.34 * f[0], 1.25 * f[1]
    tall, boom = mast / 2 - 0.1, 0.42 * f[2]
    return [
        bar((0, 0, -0.85), (0, 0, 0.25), (width, 0.19)),
        bar((0, 0, 0.25), (0, 0.07, 0.25 + 0.75 * f[3]), (width, 0.19), (0.05, 0.6)),
        block((0, 0.23, -0.5), (width * 0.6, 0.09, 0.2)),
        rod((0, 0.15, 0.12), (0, 0.3 + mast, 0.12), 0.035),
        block((0, 0.35 + tall, 0.08 - boom / 2), (0.02, tall, boom), (1, 0.03), boom / 2),
        block((0, 0.3 + tall * 0.8, 0.16 + 0.15), (0.02, tall * 0.8, 0.3), (1, 0.03), -0.3 * f[4] / 2),
    ]


def _car(f: Floats) -> list[Part]:
    length, cabin, wheel = 0.95 * f[0], 0.17 * f[1], 0.2 * f[2]
    parts = [
        block((0, 0, 0), (0.42, 0.17, length), (0.94, 0.97)),
        block((0, 0.16 + cabin, -0.14), (0.38, cabin, 0.58 * f[3]), (0.8, 0.62)),
    ]
    for side in (-1, 1):
        parts.append(ball((side * 0.27, 0.03, length * 0.98), (0.09, 0.09, 0.06)))
        for z in (-0.58 * f[4], 0.6 * f[4]):
            parts.append(rod((side * 0.3, -0.16, z), (side * 0.47, -0.16, z), wheel))
    return parts


def _chair(f: Floats) -> list[Part]:
    back, leg, width, depth = 0.5 * f[0], 0.5 * f[1], 0.45 * f[2], 0.45 * f[3]
    parts = [
        block((0, 0, 0), (width, 0.07 * f[4], depth)),
        block((0, back, -depth), (width, back, 0.06), lean=-0.1),
    ]
    for x in (-1, 1):
        for z in (-1, 1):
            foot = (x * width * 0.9, -2 * leg, z * depth * 0.95)
            parts.append(rod((x * width * 0.85, 0, z * depth * 0.85), foot, 0.075, 0.7))
    return parts


def _dog(f: Floats) -> list[Part]:
    leg, thick, head = 0.55 * f[0], 0.24 * f[1], 0.25 * f[2]
    parts = [
        rod((0, 0, -0.42), (0, 0.04, 0.38), thick),
        ball((0, 0, -0.42), (thick, thick, thick)),
        ball((0, 0.04, 0.38), (thick, thick, thick)),
        rod((0, 0.1, 0.4), (0, 0.48, 0.6), 0.15),
        ball((0, 0.55, 0.62), (head, head * 0.95, head * 1.1)),
        rod((0, 0.49, 0.72), (0, 0.45, 0.78 + 0.28 * f[3]), 0.13, 0.75),
        rod((0, 0.1, -0.55), (0, 0.2 + 0.35 * f[4], -0.85), 0.07, 0.5),
    ]
    for side in (-1, 1):
        parts.append(ball((side * head, 0.5, 0.55), (0.06, 0.24, 0.13)))
        for z in (-0.45, 0.4):
            parts.append(rod((side * 0.15, 0, z), (side * 0.17, -0.15 - leg, z), 0.1, 0.75))
    return parts


def _duck(f: Floats) -> list[Part]:
    length, head, rise = 0.7 * f[0], 0.29 * f[1], 0.6 * f[2]
    parts = [
        ball((0, 0, 0), (0.46, 0.38, length)),
        rod((0, 0.1, 0.33), (0, rise, 0.42), 0.24, 0.75),
        ball((0, rise + 0.08, 0.44), (head, head, head)),
        bar((0, rise + 0.05, 0.62), (0, rise, 0.62 + 0.34 * f[3]), (0.17, 0.06), (0.7, 0.5)),
        rod((0, 0.08, -0.35), (0, 0.4 * f[4], -0.4 - length * 0.75), 0.28, 0.1),
    ]
    return parts + [ball((side * 0.42, 0.07, -0.1), (0.12, 0.2, 0.42)) for side in (-1, 1)]


def _house(f: Floats) -> list[Part]:
    width, tall, depth, roof = 0.55 * f[0], 0.42 * f[1], 0.7 * f[2], 0.3 * f[3]
    parts = [
        block((0, 0, 0), (width, tall, depth)),
        block((0, tall + roof, 0), (width * 1.25, roof, depth * 1.12), (0, 1)),
        block((width * 0.5, tall + roof * 1.3, -depth * 0.4), (0.1, 0.36 * f[4], 0.1)),
        block((0, 0.26 - tall, depth), (0.14, 0.26, 0.05)),
    ]
    return parts + [block((side * width * 0.6, 0.1, depth), (0.1, 0.1, 0.04)) for side in (-1, 1)]


def _lamp(f: Floats) -> list[Part]:
    lower, upper, shade = 0.75 * f[0], 0.7 * f[1], 0.42 * f[2]
    knee: Point = (0, lower - 0.85, -0.5)
    neck: Point = (0, lower - 0.85 + upper, 0.15)
    rim: Point = (0, neck[1] - 0.4, neck[2] + 0.5 * f[3])
    return [
        rod((0, -0.95, -0.1), (0, -0.83, -0.1), 0.42 * f[4], 0.85),
        rod((0, -0.85, -0.2), knee, 0.055),
        rod(knee, neck, 0.055),
        ball(knee, (0.1, 0.1, 0.1)),
        rod(rim, neck, shade, 0.3),
        ball(neck, (shade * 0.36, shade * 0.36, shade * 0.36)),
        ball(rim, (shade * 0.55, shade * 0.55, shade * 0.55)),
    ]


def _mug(f: Floats) -> list[Part]:
    """Of staves, like a barrel, so that it can be looked into."""
    radius, tall, reach, staves = 0.6 * f[0], 0.62 * f[1], 0.42 * f[2], 20
    high, low, thick = tall * 0.6 * f[3], -tall * 0.6, 0.085 * f[4]
    parts = [rod((0, -tall, 0), (0, 0.12 - tall, 0), radius * 0.98)]
    for angle in np.arange(staves) * (2 * np.pi / staves):
        x, z = float(np.sin(angle)), float(np.cos(angle))
        width = (radius + 0.05) * float(np.tan(np.pi / staves))
        affine = np.array([[z * width, 0, x * 0.05, x * radius], [0, tall, 0, 0]])
        affine = np.vstack([affine, [-x * width, 0, z * 0.05, z * radius]])
        parts.append(Part(affine, (0.0, 0.0, 0.0), False))
    bend: list[Point] = [(0, high, radius), (0, high, radius + reach * 0.6), (0, high * 0.5, radius + reach)]
    bend += [(0, low * 0.5, radius + reach), (0, low, radius + reach * 0.6), (0, low, radius)]
    parts += [rod(start, end, thick) for start, end in pairwise(bend)]
    return parts + [ball(joint, (thick, thick, thick)) for joint in bend[1:-1]]


def _stairs(f: Floats) -> list[Part]:
    width, rise, deep, steps = 0.42 * f[0], 0.16 * f[1], 0.2 * f[2], 5
    parts = [
        block((0, rise * (n + 1), deep * (4 - 2 * n)), (width, rise * (n + 1), deep * 1.01))
        for n in range(steps)
    ]
    for side in (-1, 1):  # a banister
        x, up = side * width * 0.92, 0.42 * f[3]
        low: Point = (x, 2 * rise + up, deep * 4)
        high: Point = (x, 2 * rise * steps + up, -deep * 4)
        parts += [rod(low, high, 0.04 * f[4]), rod((x, 0, deep * 4), low, 0.04 * f[4])]
        parts.append(rod((x, 2 * rise * steps, -deep * 4), high, 0.04 * f[4]))
    return parts


_TOYS: Mapping[str, Callable[[Floats], list[Part]]] = MappingProxyType(
    {
        "airplane": _airplane,
        "boat": _boat,
        "car": _car,
        "chair": _chair,
        "dog": _dog,
        "duck": _duck,
        "house": _house,
        "lamp": _lamp,
        "mug": _mug,
        "stairs": _stairs,
    }
)
NAMES = tuple(_TOYS)
