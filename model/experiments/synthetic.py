"""Synthetic pictures of toys, with four switches, and with labels without end: class, pose, and whose each pixel is.

After Newell & Deng, "How Useful is Self-Supervised Pretraining for Visual Tasks?" (CVPR 2020), section 4, and its published renderer
(princeton-vl/selfstudy-render). A picture is drawn from a seed and its number alone, and is the same in every batch, bit for bit. Each
fifty pictures in a row, beginning at a multiple of fifty, hold each class in each pose once (of several objects: each fifty objects).
No two toys have the same proportions: any numbers may be kept for training, and any others for testing.

The switches. `texture`: object and background bear random patterns instead of plain colors. `color`: an object's color is random,
instead of its class's, give or take a little; under texture, the class's color is 40% of the pattern's. `viewpoint`: the object is
turned all around, and seen from low or high and askew, instead of turned a little to the right and seen from above. `lighting`: the
light may be anywhere around the line of sight, instead of up to the right. Each leaves what the others decide as it was.

What differs from the paper: ten toys stand for ten classes of ShapeNet, each picture's with proportions of its own (the paper's objects
vary so, and are 10% longer or shorter along an axis besides); procedural patterns stand for DTD's photographs, and a ray caster with sharp
shadows (rendering.py) for Blender. Viewpoints are azimuth, elevation and roll, where the paper adds Gaussian noise of 0.5 to Euler angles;
so a pose is one of five bins of the azimuth, where the paper's are upright or one of four sides that the object leans to. Colors have hues,
where the published code copies red over green and blue. The light shines from a little before the object, where the paper's is beside it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor

from model import color
from model.errors import InputError
from model.experiments.rendering import PATTERNS, Floats, Paint, Part, Point, Scene, render

CLASSES = ("airplane", "boat", "car", "chair", "dog", "duck", "house", "lamp", "mug", "stairs")
POSES = 5
PROPORTIONS = 5  # factors that a toy is built from
MOST_OBJECTS = 6

_DISTANCE = 4.0  # of the scene's middle, which lies within 1 of it
_AZIMUTH, _ELEVATION = 36.0, 25.0  # degrees, when the viewpoint is fixed: the middle of the first pose
_SHINE = 0.5  # radians from straight up, to the right
_HUES = 0.06  # the width of a class's hues, which are 0.1 apart
_TINT = 0.4  # how much of a pattern is the class's color
_IN_A_ROW = 50  # these hold each class in each pose once


@dataclass(frozen=True)
class Switches:
    texture: bool = False
    color: bool = False
    viewpoint: bool = False
    lighting: bool = False

    def __str__(self) -> str:
        """As the paper's code names them: 1010 is texture and viewpoint."""
        return "".join(str(int(on)) for on in (self.texture, self.color, self.viewpoint, self.lighting))

    @staticmethod
    def of(bits: str) -> Switches:
        if len(bits) != 4 or set(bits) - {"0", "1"}:
            raise InputError(f"switches are four of 0 and 1, such as 1010, not {bits!r}")
        return Switches(*(bit == "1" for bit in bits))


STUDIED = tuple(
    Switches.of(bits)
    for bits in [
        "0000",
        "1000",
        "0100",
        "0010",
        "0001",
        "1100",
        "0110",
        "0101",
        "0111",
        "1110",
        "1011",
        "1111",
    ]
)
"""The paper's twelve of the sixteen combinations."""


@dataclass(frozen=True)
class Options:
    switches: Switches = Switches()
    side: int = 64
    objects: int = 1
    variety: float = 1.0
    """How much the proportions of one class's toys differ; 0: not at all."""
    samples: int = 2
    """Rays along a pixel's side."""

    def __post_init__(self) -> None:
        if not 1 <= self.objects <= MOST_OBJECTS:
            raise InputError(f"a scene has 1 to {MOST_OBJECTS} objects, not {self.objects}")


@dataclass(frozen=True)
class Pictures:
    rgb: Tensor
    """(N, 3, side, side) uint8 sRGB."""
    mask: Tensor
    """(N, side, side) int64: 0 for background, 1 + class where an object is seen; the nearest, where a pixel has several."""
    classes: Tensor
    """(N, objects) int64, 0…9."""
    poses: Tensor
    """(N, objects) int64, 0…4: fifths of a full turn, from the front facing the camera on to the camera's right; 0 if the view is fixed."""


def draw(
    numbers: Sequence[int], options: Options, seed: int = 0, device: torch.device | str = "cpu"
) -> Pictures:
    """The pictures of these numbers, which are 0 or more."""
    at_once = 4 if torch.device(device).type == "cpu" else 256  # a CPU is quickest within its cache
    drawn = [_scene(number, options, seed) for number in numbers]
    rendered = [
        render([scene for scene, *_ in drawn[i : i + at_once]], options.side, options.samples, device)
        for i in range(0, len(drawn), at_once)
    ]
    classes = torch.tensor([classes for _, classes, _ in drawn], device=device)
    poses = torch.tensor([poses for *_, poses in drawn], device=device)
    owner = torch.cat([owner for _, owner in rendered])
    shown = classes.gather(1, owner.clamp_min(0).flatten(1)).view(owner.shape)
    mask = torch.where(owner < 0, 0, 1 + shown)
    return Pictures(torch.cat([rgb for rgb, _ in rendered]), mask, classes, poses)


def write(folder: Path, options: Options, count: int, seed: int = 0) -> None:
    """Files as all commands read them: class/{train,val}, pose/{train,val}, and mask/{train,trainannot,test,testannot} as CamVid has them.

    A sixth of the pictures is for testing. The same seed, switches and numbers are the same pictures: more of them can be added later.
    """
    for first in track(range(0, count, _IN_A_ROW), "drawing"):
        numbers = range(first, min(first + _IN_A_ROW, count))
        drawn = draw(numbers, options, seed)
        for place, number in enumerate(numbers):
            tested = number // _IN_A_ROW % 6 == 5
            split, frames = ("val", "test") if tested else ("train", "train")
            name = f"{number:07d}.png"
            picture = folder / "class" / split / CLASSES[int(drawn.classes[place, 0])] / name
            _save(drawn.rgb[place].permute(1, 2, 0), picture)
            _save(drawn.mask[place].byte(), folder / "mask" / f"{frames}annot" / name)
            _link(picture, folder / "pose" / split / str(int(drawn.poses[place, 0])) / name)
            _link(picture, folder / "mask" / frames / name)


def _save(pixels: Tensor, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path)


def _link(picture: Path, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.hardlink_to(picture)


def rows(
    switches: Sequence[Switches] = STUDIED, side: int = 128, objects: int = 1, seed: int = 0
) -> list[list[tuple[str, NDArray[np.uint8]]]]:
    """For a contact sheet: a row for each of these combinations, of captioned (side, side, 3) pictures, the same toys down the columns."""
    sheet = []
    for combination in switches:
        pictures = draw(_first_of_each(seed), Options(combination, side, objects), seed)
        names = [", ".join(CLASSES[kind] for kind in classes) for classes in pictures.classes.tolist()]
        names[0] = f"{combination} {names[0]}"
        sheet.append(list(zip(names, pictures.rgb.permute(0, 2, 3, 1).numpy(), strict=True)))
    return sheet


def _first_of_each(seed: int) -> list[int]:
    """The first number that shows each class, where pictures have one object."""
    shown = [_cell(number, seed) // POSES for number in range(_IN_A_ROW)]
    return [shown.index(kind) for kind in range(len(CLASSES))]


def _scene(number: int, options: Options, seed: int) -> tuple[Scene, list[int], list[int]]:
    """The scene, and its objects' classes and poses. All chance is drawn whatever the switches say, so that none moves another's."""
    switches, count = options.switches, options.objects
    chance = np.random.default_rng((seed, number))
    around, askew = chance.random(2), chance.normal()
    shine, gray = _SHINE + 2 * chance.normal(), chance.random()
    elevation, roll = (5 + 45 * around[0], 8 * askew) if switches.viewpoint else (_ELEVATION, 0.0)
    view = _turn("z", roll) @ _turn("x", elevation)
    if not switches.lighting:
        shine = _SHINE
    light = np.array([np.sin(shine), np.cos(shine), 0.8])
    places, size = _places(count, around[1], chance.random(count))

    backdrop = _plain(np.full(3, 0.2 + 0.7 * gray))
    texture = _texture(chance, np.eye(3), np.zeros(3))
    parts: list[Part] = []
    owners: list[int] = []
    paints = [texture if switches.texture else backdrop]
    classes, poses = [], []
    for o in range(count):
        kind, pose = divmod(_cell(number * count + o, seed), POSES)
        proportions = chance.uniform(-1, 1, PROPORTIONS + 3) * options.variety
        share, tint = chance.random(), chance.random(3)
        azimuth = (pose + share) * 360 / POSES if switches.viewpoint else _AZIMUTH
        turn, place = view @ _turn("y", azimuth), view @ places[o] - (0, 0, _DISTANCE)
        warp = 1 + 0.15 * proportions[PROPORTIONS:]
        toy = built(CLASSES[kind], 1 + 0.25 * proportions[:PROPORTIONS], tuple(warp))
        for part in toy:
            affine = size * turn @ part.affine_34
            affine[:, 3] += place
            parts.append(Part(affine, part.form, part.round))
            owners.append(o)
        hue = tint[0] if switches.color else (kind + 0.5 + _HUES * 10 * (tint[0] - 0.5)) / len(CLASSES)
        plain = _plain(np.array(colorsys.hsv_to_rgb(hue, 0.55 + 0.4 * tint[1], 0.6 + 0.35 * tint[2])))
        pattern = _texture(chance, turn.T / size, -turn.T @ place / size)
        if not switches.color:
            mixed = (1 - _TINT) * pattern.colors_23 + _TINT * plain.colors_23
            pattern = replace(pattern, colors_23=mixed)
        paints.append(pattern if switches.texture else plain)
        classes.append(kind)
        poses.append(pose if switches.viewpoint else int(_AZIMUTH * POSES / 360))
    return Scene(tuple(parts), tuple(owners), tuple(paints), light / np.sqrt(light @ light)), classes, poses


def _cell(number: int, seed: int) -> int:
    """Class · 5 + pose of the object of this number: each fifty have each once, shuffled."""
    block, place = divmod(number, _IN_A_ROW)
    return int(_shuffled(block, seed)[place])


@lru_cache(maxsize=64)
def _shuffled(block: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, block, 1)).permutation(_IN_A_ROW)


def _places(count: int, start: float, jitter: Floats) -> tuple[Floats, float]:
    """(count, 3) places on the ground, in a ring that begins anywhere, and the size of objects that do not touch there."""
    if count == 1:
        return np.zeros((1, 3)), 1.0
    step = 2 * np.pi / count
    reach = np.sin(step / 2 * 0.85)
    angles = step * (np.arange(count) + 0.15 * (jitter - 0.5)) + 2 * np.pi * start
    size = reach / (1 + reach)
    return (1 - size) * np.stack([np.sin(angles), np.zeros(count), np.cos(angles)], 1), float(size)


def _plain(rgb: Floats) -> Paint:
    """Of an sRGB color, 0…1."""
    linear = color.linear_from_srgb(torch.from_numpy(rgb)).numpy()
    return Paint(np.stack([linear, linear]), np.zeros((3, 4)))


def _texture(chance: np.random.Generator, turn: Floats, move: Floats) -> Paint:
    """A random pattern, fixed to what `turn` and `move` lead to from the camera's space."""
    kind = int(chance.integers(len(PATTERNS)))
    period, warp, sharp = (
        np.exp(chance.uniform(-1.4, -0.3)),
        0.8 * chance.random(),
        np.exp(chance.uniform(0, 2.5)),
    )
    hues, saturations, values = chance.random(2), chance.random(2), np.sort(chance.random(2))
    values = (values + np.array([0, 0.35]))[:: 1 if chance.random() < 0.5 else -1] / 1.4 + 0.04
    colors = [
        _plain(np.array(colorsys.hsv_to_rgb(*hsv))).colors_23[0]
        for hsv in zip(hues, 0.85 * saturations, values, strict=True)
    ]
    away, frame = 100 * chance.random(3), _any_turn(chance.normal(size=4)) / period
    return Paint(
        np.stack(colors),
        np.column_stack([frame @ turn, frame @ move + away]),
        kind,
        float(warp),
        float(sharp),
    )


def _turn(axis: str, degrees: float) -> Floats:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = cos
    matrix[j, i], matrix[i, j] = sin, -sin
    return matrix


def _any_turn(quaternion: Floats) -> Floats:
    """The rotation of a quaternion of any length: uniform, if its four numbers are normal."""
    w, x, y, z = quaternion / np.sqrt(quaternion @ quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


# Ten toys, each built of a few convex parts, told apart by shape alone; each has a front, so that it can be seen how it is turned. A toy
# stands upright: x is to its left, y up, z to its front. Its parts are blocks (a cube whose top may be smaller than its bottom, down to a
# ridge or a point) and rounds (balls, and tubes that may narrow, down to a cone), moved, stretched, turned and leant over.


def built(name: str, factors: Floats, warp: Point = (1.0, 1.0, 1.0)) -> list[Part]:
    """A toy of `CLASSES`, its proportions times `factors` (of which 1 is the plain toy), its axes times `warp`, in the ball of radius 1."""
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


_BUILDERS = (_airplane, _boat, _car, _chair, _dog, _duck, _house, _lamp, _mug, _stairs)
_TOYS: Mapping[str, Callable[[Floats], list[Part]]] = MappingProxyType(
    dict(zip(CLASSES, _BUILDERS, strict=True))
)
