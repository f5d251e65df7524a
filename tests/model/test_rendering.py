"""The ray caster beside outlines that are known, and beside a twin that walks along every ray in small steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from model import color
from model.experiments import rendering, synthetic
from model.experiments.rendering import Floats, Paint, Part, Scene

LIGHT = np.array([0.6, 0.64, 0.48])
GRAY = 0.3
DISTANCE = 4.0


def plain(*linear: float) -> Paint:
    return Paint(np.array([linear, linear]), np.zeros((3, 4)))


def placed(
    name: str, degrees: tuple[float, float, float], size: float, x: float, warp: tuple[float, float, float]
) -> list[Part]:
    turn = Rotation.from_euler("yxz", degrees, degrees=True).as_matrix() * size
    parts = synthetic.built(name, np.ones(synthetic.PROPORTIONS), warp)
    move = np.array([x, 0, -DISTANCE])
    return [
        Part(np.column_stack([turn @ p.affine_34[:, :3], turn @ p.affine_34[:, 3] + move]), p.form, p.round)
        for p in parts
    ]


def scene_of(*objects: list[Part]) -> Scene:
    owners = [number for number, parts in enumerate(objects) for _ in parts]
    paints = [plain(GRAY, GRAY, GRAY), plain(0.7, 0.2, 0.1), plain(0.1, 0.3, 0.6)]
    return Scene(
        tuple(part for parts in objects for part in parts),
        tuple(owners),
        tuple(paints[: 1 + len(objects)]),
        LIGHT,
    )


def screen(side: int) -> tuple[Floats, Floats]:
    """x and y at depth 1 of the pixels' middles."""
    middles = ((np.arange(side) + 0.5) / side * 2 - 1) * rendering.TANGENT
    x, y = np.meshgrid(middles, -middles)
    return x, y


def test_a_ball_and_a_cube_have_the_outlines_of_geometry() -> None:
    center = np.array([0.1, -0.2, -DISTANCE])
    ball, cube = (
        synthetic.ball(tuple(center), (0.6, 0.6, 0.6)),
        synthetic.block(tuple(center), (0.4, 0.5, 0.3)),
    )
    _, owner = rendering.render([scene_of([ball]), scene_of([cube])], 96, samples=1)
    x, y = screen(96)
    rays = np.stack([x, y, -np.ones_like(x)], -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    off = np.degrees(np.arccos(rays @ center / np.linalg.norm(center)))
    assert np.array_equal(owner[0].numpy() == 0, off < math.degrees(math.asin(0.6 / np.linalg.norm(center))))
    seen = np.zeros(
        (96, 96), bool
    )  # of a cube straight ahead: its front and back faces, and what is between them
    for depth in np.linspace(DISTANCE - 0.3, DISTANCE + 0.3, 400):
        seen |= (np.abs(x * depth - 0.1) < 0.4) & (np.abs(y * depth + 0.2) < 0.5)
    assert np.array_equal(owner[1].numpy() == 0, seen)


def test_a_ball_before_a_wall_throws_the_shadow_of_geometry() -> None:
    center, radius = np.array([0.15, 0.2, -3.8]), 0.2
    ball, wall = synthetic.ball(tuple(center), (radius,) * 3), synthetic.block((0, 0, -4.6), (2, 2, 0.2))
    rgb, owner = rendering.render([scene_of([ball], [wall])], 96, samples=1)
    x, y = screen(96)
    points = np.stack([x, y, -np.ones_like(x)], -1) * 4.4
    to_ball = center - points
    off = np.linalg.norm(to_ball - (to_ball @ LIGHT)[..., None] * LIGHT, axis=-1)
    sure = (owner[0].numpy() == 1) & (np.abs(off - radius) > 0.004)
    blue = rgb[0, 2].numpy()
    assert (off[sure] < radius).sum() > 100
    assert blue[sure & (off < radius)].max() < 140 < blue[sure & (off > radius)].min()


def bounds(part: Part, points: Floats) -> Floats:
    """The largest of the part's bounds at each of (..., 3) points: not above 0 inside."""
    own = np.linalg.solve(part.affine_34[:, :3], (points - part.affine_34[:, 3]).reshape(-1, 3).T)
    x, y, z = own.reshape(3, *points.shape[:-1])
    a, b, c = part.form
    if part.round:
        return np.maximum(x**2 + z**2 - a - b * y - c * y**2, np.abs(y) - 1)
    sides = [np.abs(x) - 1 + a * (1 + y) / 2, np.abs(z) - 1 + b * (1 + y) / 2, np.abs(y) - 1]
    return np.maximum.reduce(sides)


def walked(scene: Scene, side: int) -> tuple[Floats, Floats]:
    """(side, side, 3) linear light and (side, side) objects, of one ray a pixel, each walked along in steps of 0.004."""
    x, y = screen(side)
    picture, owner = np.full((side, side, 3), GRAY), np.full((side, side), -1)
    steps = np.arange(DISTANCE - 1.2, DISTANCE + 1.2, 0.004)
    for i, j in np.ndindex(side, side):
        ray = np.array([x[i, j], y[i, j], -1])
        inside = np.array([bounds(part, steps[:, None] * ray) <= 0 for part in scene.parts])
        if not inside.any():
            continue
        first = int(inside.any(0).argmax())
        number = int(inside[:, first].argmax())
        part, far = scene.parts[number], float(steps[first])
        near = far - 0.004
        for _ in range(30):
            middle = (near + far) / 2
            near, far = (near, middle) if bounds(part, middle * ray) <= 0 else (middle, far)
        point = far * ray
        moved = np.array([[point + s * h for s in (1, -1)] for h in np.eye(3) * 1e-5])
        rise = bounds(part, moved)
        normal = (rise[:, 0] - rise[:, 1]) / np.linalg.norm(rise[:, 0] - rise[:, 1])
        away = point + 2e-3 * normal + np.arange(1e-4, 2.5, 0.004)[:, None] * LIGHT
        shadow = any((bounds(other, away) <= 0).any() for other in scene.parts)
        facing = 0.0 if shadow else max(0.0, float(normal @ LIGHT))
        mirror = LIGHT + np.array([0, 0, 1])
        gloss = max(0.0, float(normal @ mirror) / float(np.linalg.norm(mirror))) ** 32 if facing else 0.0
        level = 0.22 + 0.12 * normal[1] + 0.16 * max(normal[2], 0) + 0.85 * facing
        owner[i, j] = scene.objects[number]
        picture[i, j] = scene.paints[1 + owner[i, j]].colors_23[0] * level + 0.12 * gloss
    return picture, owner


CASES = {
    "mug": [placed("mug", (70, 35, 5), 0.9, 0.0, (1, 1, 1))],
    "car": [placed("car", (-35, 30, 0), 1.0, 0.0, (1, 1, 1))],
    "lamp and boat": [
        placed("lamp", (-40, 20, 0), 0.8, 0.25, (1.2, 1, 1)),
        placed("boat", (200, 10, -10), 0.8, -0.3, (1, 1, 0.8)),
    ],
    "cones, from in front and from behind": [
        [synthetic.rod((-0.4, 0, -4.3), (-0.3, 0.1, -3.4), 0.5, 0.2)],
        [synthetic.rod((0.5, 0, -3.4), (0.4, -0.1, -4.3), 0.5, 0.0)],
    ],
}


@pytest.mark.parametrize("objects", CASES.values(), ids=CASES)
def test_a_scene_is_what_walking_along_each_ray_finds(objects: list[list[Part]]) -> None:
    scene = scene_of(*objects)
    light, owner = walked(scene, 24)
    rgb, found = rendering.render([scene], 24, samples=1)
    seen = found[0].numpy() >= 0
    assert seen.mean() > 0.12
    assert (found[0].numpy() != owner).sum() <= 1  # steps may pass by the corner of a part
    coded = (color.srgb_from_linear(torch.from_numpy(light)) * 255).numpy()
    off = np.abs(rgb[0].permute(1, 2, 0).numpy() - coded).max(-1)
    assert (off[~seen] <= 0.5).all()
    assert (off[seen] <= 1).mean() > 0.98
    level = light[owner == 0].sum(-1) / scene.paints[1].colors_23[0].sum()
    assert level.min() < 0.4
    assert level.max() > 0.9  # there is light and shadow to be found


def test_a_pixel_is_the_mean_of_its_rays_in_linear_light() -> None:
    scene = scene_of(placed("chair", (30, 20, 0), 0.9, 0.0, (1, 1, 1)))
    rgb, owner = rendering.render([scene], 20, samples=2)
    rays, met = rendering.render([scene], 40, samples=1)
    linear = color.linear_from_srgb(rays.double() / 255)
    mean = color.srgb_from_linear(torch.nn.functional.avg_pool2d(linear, 2)) * 255
    assert (mean - rgb).abs().max() < 1.5
    assert torch.equal(owner, torch.nn.functional.max_pool2d(met.double(), 2).long())


def test_an_empty_scene_is_all_background_and_changes_nothing_beside_it() -> None:
    empty, full = scene_of([]), scene_of(placed("duck", (30, 20, 0), 0.9, 0.0, (1, 1, 1)))
    rgb, owner = rendering.render([empty, full, empty], 16)
    assert len(rgb[[0, 2]].unique()) == 1
    assert owner[[0, 2]].eq(-1).all()
    assert torch.equal(rgb[1:2], rendering.render([full], 16)[0])


def level(x: float, y: float, z: float, kind: int, warp: float, sharp: float) -> float:
    """A pattern's value at one point, by plain arithmetic."""
    lattice = np.random.default_rng(0).random(16**3, np.float32).reshape(16, 16, 16)

    def noise(*point: float) -> float:
        total = 0.0
        for corner in np.ndindex(2, 2, 2):
            weight, places = 1.0, []
            for value, side in zip(point, corner, strict=True):
                share = value - math.floor(value)
                smooth = 3 * share**2 - 2 * share**3
                weight *= smooth if side else 1 - smooth
                places.append((math.floor(value) + side) % 16)
            total += weight * float(lattice[places[2], places[1], places[0]])
        return total

    def wave(value: float) -> float:
        share = value % 1
        return 2 * share if share < 0.5 else 2 - 2 * share

    plain = noise(x, y, z)
    fine = 0.65 * plain + 0.35 * noise(2 * x, 2 * y, 2 * z)
    x, y, z = (value + warp * (plain - 0.5) for value in (x, y, z))
    sign = 1 if wave(z) > 0.5 else -1
    found = {
        "stripes": wave(x),
        "checks": 0.5 + 4 * (wave(x) - 0.5) * (wave(y) - 0.5) * sign,
        "dots": 0.5 + 3 * (0.13 - sum((value % 1 - 0.5) ** 2 for value in (x, y, z))),
        "rings": wave(math.hypot(x, z)),
        "clouds": 0.5 + 1.5 * (fine - 0.5),
        "marble": wave(x + 3 * fine),
    }[rendering.PATTERNS[kind]]
    return min(1.0, max(0.0, 0.5 + (found - 0.5) * sharp))


def test_patterns_are_what_plain_arithmetic_says_and_alone_the_same_bits() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(3, 61, generator=generator) * 40 - 20
    kinds = torch.arange(61) % len(rendering.PATTERNS)
    warp, sharp = torch.rand(61, generator=generator), 1 + torch.rand(61, generator=generator)
    values = rendering.pattern(points, kinds, warp, sharp)
    for n in range(61):
        expected = level(*points[:, n].double().tolist(), int(kinds[n]), float(warp[n]), float(sharp[n]))
        assert float(values[n]) == pytest.approx(expected, abs=1e-4)
        one = slice(n, n + 1)
        assert torch.equal(rendering.pattern(points[:, one], kinds[one], warp[one], sharp[one]), values[one])
