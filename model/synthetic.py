"""Made pictures of toys, with four switches, and with labels without end: class, pose, and whose each pixel is.

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
shadows for Blender. Viewpoints are azimuth, elevation and roll, where the paper adds Gaussian noise of 0.5 to Euler angles; so a pose is
one of five bins of the azimuth, where the paper's are upright or one of four sides that the object leans to. Colors have hues, where
the published code copies red over green and blue. The light shines from a little before the object, where the paper's is beside it.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import color, patterns, rendering, toys
from model.errors import InputError
from model.scenes import Paint, Scene
from model.toys import Floats, Part

CLASSES = toys.NAMES
POSES = 5
MOST_OBJECTS = 6

_DISTANCE = 4.0  # of the scene's middle, which lies within 1 of it
_AZIMUTH, _ELEVATION = 36.0, 25.0  # degrees, when the viewpoint is fixed: the middle of the first pose
_SHINE = 0.5  # radians from straight up, to the right
_HUES = 0.06  # the width of a class's hues, which are 0.1 apart
_TINT = 0.4  # how much of a pattern is the class's color


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
    map(
        Switches.of,
        ["0000", "1000", "0100", "0010", "0001", "1100", "0110", "0101", "0111", "1110", "1011", "1111"],
    )
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
        rendering.render(
            [scene for scene, *_ in drawn[i : i + at_once]], options.side, options.samples, device
        )
        for i in range(0, len(drawn), at_once)
    ]
    classes = torch.tensor([classes for _, classes, _ in drawn], device=device)
    poses = torch.tensor([poses for *_, poses in drawn], device=device)
    owner = torch.cat([owner for _, owner in rendered])
    shown = classes.gather(1, owner.clamp_min(0).flatten(1)).view(owner.shape)
    mask = torch.where(owner < 0, 0, 1 + shown)
    return Pictures(torch.cat([rgb for rgb, _ in rendered]), mask, classes, poses)


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
    shown = [_cell(number, seed) // POSES for number in range(len(CLASSES) * POSES)]
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
        proportions = chance.uniform(-1, 1, toys.PROPORTIONS + 3) * options.variety
        share, tint = chance.random(), chance.random(3)
        azimuth = (pose + share) * 360 / POSES if switches.viewpoint else _AZIMUTH
        turn, place = view @ _turn("y", azimuth), view @ places[o] - (0, 0, _DISTANCE)
        warp = 1 + 0.15 * proportions[toys.PROPORTIONS :]
        toy = toys.built(CLASSES[kind], 1 + 0.25 * proportions[: toys.PROPORTIONS], tuple(warp))
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
    block, place = divmod(number, len(CLASSES) * POSES)
    return int(_shuffled(block, seed)[place])


@lru_cache(maxsize=64)
def _shuffled(block: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, block, 1)).permutation(len(CLASSES) * POSES)


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
    kind = int(chance.integers(len(patterns.NAMES)))
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
