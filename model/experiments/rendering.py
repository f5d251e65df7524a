"""A small ray caster for scenes of convex parts, on any device: many pictures at once, and each the same in any batch.

The camera is at the origin and looks along −z; x is right, y up. A ray meets a part where it is inside all of the part's bounds; it is
sent only at parts whose box on the screen it crosses. There is one light, far away, from which the parts shadow each other. Surfaces are
plain, or have textures that go through the solid, as grain goes through wood: a value for every point of space.

Each number is computed by itself, by operations that round alike in every lane (+ − × √, floor, comparisons, table look-ups) and integer
minima: no sine, matrix product, sum or power over the batch. So a picture is the same to the last bit in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import reduce
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model import color

Floats: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float, float]

TANGENT = 0.28  # of half the angle of view
BACKDROP = 8.0  # how far the background is
PATTERNS = ("stripes", "checks", "dots", "rings", "clouds", "marble")

_AMBIENT = 0.22
_SKY = 0.12  # more from above, and less from below
_FILL = 0.16  # from the camera
_KEY = 0.85
_GLOSS = 0.12  # white, whatever the surface's color
_CLEAR = 2e-3  # how far shadow rays start from the surface
_NOBODY = torch.iinfo(torch.int64).max
_CODES = 8192  # steps of linear light that are told apart
_CELLS = 16  # after which the noise repeats along each axis: a power of two
_SPARE = 5e-3  # by which the outlines that light sees are too large


@dataclass(frozen=True)
class Part:
    """What of the cube −1…1 satisfies x² + z² ≤ a + b·y + c·y² (round), or |x| ≤ 1 − a·(1 + y)/2 and |z| ≤ 1 − b·(1 + y)/2 (block)."""

    affine_34: Floats
    """From there to the object."""
    form: Point
    """a, b and c."""
    round: bool


@dataclass(frozen=True)
class Paint:
    """A plain color, twice, or a pattern of two."""

    colors_23: Floats
    """Linear light, 0…1."""
    frame_34: Floats
    """From the camera's space to the pattern's."""
    kind: int = 0
    warp: float = 0.0
    sharp: float = 1.0


@dataclass(frozen=True)
class Scene:
    parts: tuple[Part, ...]
    """Their affine maps lead to the camera's space."""
    objects: tuple[int, ...]
    """Which object each part belongs to, from 0."""
    paints: tuple[Paint, ...]
    """The background's, which is lit evenly, then the objects'."""
    light: Floats
    """(3,) where it comes from: a direction of length 1."""


@torch.no_grad()
def render(
    scenes: Sequence[Scene], side: int, samples: int = 2, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """(N, 3, side, side) uint8 sRGB, each pixel the mean of samples × samples rays; and (N, side, side) int64 objects, −1 for none.

    A pixel is its nearest object's if one of its rays meets it, so that outside objects there is nothing but background.
    """
    width = side * samples
    world = World.of(scenes, torch.device(device))
    ray, part, distance = _seen(world, width)
    count = len(scenes) * width * width
    nearest = torch.full((count,), _NOBODY, device=device)
    key = (distance.view(torch.int32).long() << 32) | part  # positive floats are ordered as their bits are
    nearest.scatter_reduce_(0, ray, key, "amin")

    scene = torch.arange(len(scenes), device=device).repeat_interleave(width * width)
    x, y = _screen(torch.arange(count, device=device) % (width * width), width)
    hit = (nearest != _NOBODY).nonzero()[:, 0]
    part = nearest[hit] & 0xFFFFFFFF
    depth = torch.full((count,), BACKDROP, device=device)
    depth[hit] = (nearest[hit] >> 32).int().view(torch.float32)
    paint = world.backdrops[scene]
    paint[hit] += 1 + world.objects[part]
    points = torch.stack([x * depth, y * depth, -depth])
    light = _albedo(world, paint, points)
    light[:, hit] = _shaded(world, light[:, hit], points[:, hit], part)

    mean = reduce(torch.add, _samples(light, side, samples)) / samples**2
    codes = (mean.view(3, -1, side, side).clamp(0, 1) * (_CODES - 1) + 0.5).long()
    table = (color.srgb_from_linear(torch.arange(_CODES) / (_CODES - 1)) * 255).round().to(torch.uint8)
    rgb = table.to(device)[codes].transpose(0, 1).contiguous()

    first = reduce(torch.minimum, _samples(nearest, side, samples)).view(-1, side, side)
    owner = torch.full(first.shape, -1, device=device)
    met = first != _NOBODY
    owner[met] = world.objects[first[met] & 0xFFFFFFFF]
    return rgb, owner


def _samples(x: Tensor, side: int, samples: int) -> list[Tensor]:
    """(…, pixels) from (…, rays): of each pixel the first ray, the second, and so on."""
    apart = x.view(-1, side, samples, side, samples)
    return [apart[:, :, i, :, j] for i in range(samples) for j in range(samples)]


def _screen(place: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """x and y, at depth 1, of the rays of a picture's samples, counted row by row."""
    row = place // width
    middle = (2 * (place - row * width) + 1 - width).float() / width
    return middle * TANGENT, (width - 1 - 2 * row).float() / width * TANGENT


def _seen(world: World, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each ray that meets a part, the part, and the depth there. Rays are numbered scene by scene, row by row."""
    left, right, top, bottom = world.boxes
    left, top = ((edge * width).floor().clamp(0, width).long() for edge in (left, top))
    right, bottom = ((edge * width).ceil().clamp(0, width).long() for edge in (right, bottom))
    rays, parts, depths = [], [], []
    for is_round in (True, False):
        chosen = (world.rounds == is_round).nonzero()[:, 0]
        wide, high = (right - left)[chosen], (bottom - top)[chosen]
        which, place = _each(wide * high)
        part = chosen[which]
        row = place // wide[which]
        place = (row + top[part]) * width + place - row * wide[which] + left[part]
        x, y = _screen(place, width)
        table = world.inverses.index_select(1, part)
        start = [table[3], table[7], table[11]]
        toward = [table[i] * x + table[i + 1] * y - table[i + 2] for i in (0, 4, 8)]
        near, far = _span(start, toward, world.forms.index_select(1, part), is_round)
        met = ((near < far) & (near > 0)).nonzero()[:, 0]
        rays.append(world.scenes[part[met]] * width * width + place[met])
        parts.append(part[met])
        depths.append(near[met])
    return torch.cat(rays), torch.cat(parts), torch.cat(depths)


def _each(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts (2, 3): which of them, (0, 0, 1, 1, 1), and how many of it came before, (0, 1, 0, 1, 2)."""
    which = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    return which, torch.arange(len(which), device=counts.device) - (counts.cumsum(0) - counts)[which]


def _span(
    start: Sequence[Tensor], toward: Sequence[Tensor], form_3R: Tensor, is_round: bool
) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave their parts, as multiples of `toward`, both in the parts' own spaces; in vain if near ≥ far."""
    (ox, oy, oz), (dx, dy, dz) = start, toward
    low, high = (-1 - oy) / dy, (1 - oy) / dy
    near, far = torch.minimum(low, high), torch.maximum(low, high)
    a, b, c = form_3R
    if not is_round:
        for o, d, taper in ((ox, dx, a / 2), (oz, dz, b / 2)):
            for sign in (1, -1):
                under, rise = 1 - taper * (1 + oy) - sign * o, sign * d + taper * dy + 0.0
                cut = under / rise  # parallel to the face it is ±∞; adding zero takes the sign off a zero
                near = torch.where(rise < 0, torch.maximum(near, cut), near)
                far = torch.where(rise < 0, far, torch.minimum(far, cut))
        return near, far
    square = dx * dx + dz * dz - c * dy * dy
    square = torch.where(square == 0, 1e-20, square)
    half = ox * dx + oz * dz - oy * dy * c - 0.5 * b * dy
    rest = ox * ox + oz * oz - a - b * oy - c * oy * oy
    inside = half * half - square * rest
    root = inside.clamp_min(0).sqrt()
    one, other = (-half - root) / square, (-half + root) / square
    first, last = torch.minimum(one, other), torch.maximum(one, other)
    # Along a ray as steep as the cone, what lies between the roots is outside: only one of the two sides is this part's.
    steep, before = (square < 0) & (inside > 0), near <= first
    first_side, last_side = steep & before, steep & ~before
    through = (square > 0) & (inside > 0)
    near = torch.where(
        through, torch.maximum(near, first), torch.where(last_side, torch.maximum(near, last), near)
    )
    far = torch.where(
        through, torch.minimum(far, last), torch.where(first_side, torch.minimum(far, first), far)
    )
    return near, torch.where((square > 0) & (inside <= 0), near, far)


def _albedo(world: World, paint_R: Tensor, points_3R: Tensor) -> Tensor:
    """(3, R) linear light: the color of the paint at each point."""
    first = world.colors[:3].index_select(1, paint_R)
    if torch.equal(world.colors[:3], world.colors[3:]):
        return first
    second = world.colors[3:].index_select(1, paint_R)
    frame = world.frames.index_select(1, paint_R)
    share = pattern(
        torch.stack(_apply(frame, points_3R)),
        world.kinds[paint_R],
        world.warps[paint_R],
        world.sharps[paint_R],
    )
    return first + (second - first) * share


def _shaded(world: World, albedo_3R: Tensor, points_3R: Tensor, part_R: Tensor) -> Tensor:
    """(3, R) linear light that reaches the camera: from above, from the camera's side, from the light if nothing is in between."""
    normal = _normals(world, points_3R, part_R)
    scene = world.scenes[part_R]
    axes = world.lights.index_select(1, scene)
    light = axes[6:]
    facing = _dot(normal, light)
    lit = (facing > 0) & ~_in_shadow(world, points_3R + normal * _CLEAR, axes, scene, facing > 0)
    mirror = light + torch.tensor([0.0, 0.0, 1.0], device=light.device)[:, None]
    gloss = (_dot(normal, mirror) / _dot(mirror, mirror).sqrt()).clamp_min(0)
    for _ in range(5):
        gloss = gloss * gloss
    level = _AMBIENT + _SKY * normal[1] + _FILL * normal[2].clamp_min(0) + _KEY * facing * lit
    return albedo_3R * level + _GLOSS * gloss * lit


def _in_shadow(world: World, points_3R: Tensor, axes_9R: Tensor, scene_R: Tensor, wanted_R: Tensor) -> Tensor:
    """(R,) whether a part of the same scene is between the point and the light; False where it is not wanted."""
    shadow = torch.zeros_like(wanted_R)
    wanted = wanted_R.nonzero()[:, 0]
    scene, points, axes = scene_R[wanted], points_3R.index_select(1, wanted), axes_9R.index_select(1, wanted)
    u, v, w = (_dot(axes[i : i + 3], points) for i in (0, 3, 6))
    for is_round in (False, True):
        ray, number = _each(world.parts[int(is_round)][scene])
        part = world.first[int(is_round)][scene][ray] + number
        hull = world.hulls.index_select(1, part)
        across, along = u[ray], v[ray]
        in_the_way = (across > hull[0]) & (across < hull[1]) & (along > hull[2]) & (along < hull[3])
        chosen = (in_the_way & (w[ray] < hull[5])).nonzero()[:, 0]
        ray, part = ray[chosen], part[chosen]
        table = world.inverses.index_select(1, part)
        start = _apply(table, points.index_select(1, ray))
        x, y, z = axes[6:].index_select(1, ray)
        toward = [table[i] * x + table[i + 1] * y + table[i + 2] * z for i in (0, 4, 8)]
        near, far = _span(start, toward, world.forms.index_select(1, part), is_round)
        shadow[wanted[ray[(near < far) & (near > 0)]]] = True
    return shadow


def _normals(world: World, points_3R: Tensor, part_R: Tensor) -> Tensor:
    """(3, R) of length 1, outward: the slope of whichever bound of its part the point is on."""
    table = world.inverses.index_select(1, part_R)
    x, y, z = _apply(table, points_3R)
    a, b, c = world.forms.index_select(1, part_R)
    round_R = world.rounds[part_R]
    zero = torch.zeros_like(x)
    end = y.abs() - 1
    curve = (x * x + z * z - a - b * y - c * y * y) / 2
    side, front = x.abs() + a / 2 * (1 + y) - 1, z.abs() + b / 2 * (1 + y) - 1
    on_end = end > torch.where(round_R, curve, torch.maximum(side, front))
    on_side = ~round_R & (side > front)
    slope = [
        torch.where(round_R, x, torch.where(on_side, _sign(x), zero)),
        torch.where(round_R, -(b / 2 + c * y), torch.where(on_side, a, b) / 2),
        torch.where(round_R, z, torch.where(on_side, zero, _sign(z))),
    ]
    slope = [torch.where(on_end, cap, s) for cap, s in zip((zero, _sign(y), zero), slope, strict=True)]
    normal = torch.stack(
        [table[i] * slope[0] + table[4 + i] * slope[1] + table[8 + i] * slope[2] for i in range(3)]
    )
    return normal / _dot(normal, normal).sqrt()


def _apply(table_12R: Tensor, points_3R: Tensor) -> list[Tensor]:
    x, y, z = points_3R
    return [
        table_12R[i] * x + table_12R[i + 1] * y + table_12R[i + 2] * z + table_12R[i + 3] for i in (0, 4, 8)
    ]


def _dot(a_3R: Tensor, b_3R: Tensor) -> Tensor:
    return a_3R[0] * b_3R[0] + a_3R[1] * b_3R[1] + a_3R[2] * b_3R[2]


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0)


# Textures


def pattern(points_3R: Tensor, kinds_R: Tensor, warp_R: Tensor, sharp_R: Tensor) -> Tensor:
    """(R,) 0…1: how much of the second color there is at each point, by a pattern of `PATTERNS` each, about one period to a unit.

    `warp` is by how many units noise moves the point first, `sharp` how fast the colors turn: 1 is as soft as it gets.
    """
    lattice = _lattice(points_3R.device)
    noise = _noise(points_3R, lattice)
    x, y, z = points_3R + (noise - 0.5) * warp_R
    waves = [_wave(x), _wave(y), _wave(z)]
    ball = (x - x.floor() - 0.5) ** 2 + (y - y.floor() - 0.5) ** 2 + (z - z.floor() - 0.5) ** 2
    fine = noise * 0.65 + _noise(points_3R * 2.0, lattice) * 0.35
    level = waves[0]
    level = torch.where(
        kinds_R == 1,
        0.5 + 4 * (waves[0] - 0.5) * (waves[1] - 0.5) * torch.where(waves[2] > 0.5, 1.0, -1.0),
        level,
    )
    level = torch.where(kinds_R == 2, 0.5 + 3 * (0.13 - ball), level)
    level = torch.where(kinds_R == 3, _wave((x * x + z * z).sqrt()), level)
    level = torch.where(kinds_R == 4, 0.5 + 1.5 * (fine - 0.5), level)
    level = torch.where(kinds_R == 5, _wave(x + 3 * fine), level)
    return (0.5 + (level - 0.5) * sharp_R).clamp(0, 1)


def _wave(x: Tensor) -> Tensor:
    """A triangle wave: 0 at whole numbers, 1 halfway."""
    return 1 - ((x - x.floor()) * 2 - 1).abs()


def _noise(points_3R: Tensor, lattice: Tensor) -> Tensor:
    """Ken Perlin's value noise: random numbers at the lattice's points, smoothly in between."""
    corner = points_3R.floor()
    share = points_3R - corner
    share = share * share * (3 - 2 * share)
    low = corner.long() & (_CELLS - 1)
    high = (low + 1) & (_CELLS - 1)
    faces: list[Tensor] = []
    for zs in (low[2], high[2]):
        edges = []
        for ys in (low[1], high[1]):
            row = (zs * _CELLS + ys) * _CELLS
            left, right = lattice.index_select(0, row + low[0]), lattice.index_select(0, row + high[0])
            edges.append(left + (right - left) * share[0])
        faces.append(edges[0] + (edges[1] - edges[0]) * share[1])
    return faces[0] + (faces[1] - faces[0]) * share[2]


def _lattice(device: torch.device) -> Tensor:
    drawn = np.random.default_rng(0).random(_CELLS**3, np.float32)
    return torch.from_numpy(drawn).to(device)


# Many scenes as tables


@dataclass(frozen=True)
class World:
    """All scenes' parts and paints, each a column: P parts, those of a scene together and its blocks first, Q paints, N scenes."""

    inverses: Tensor  # (12, P): from the camera's space to the part's: three rows of four
    forms: Tensor  # (3, P)
    rounds: Tensor  # (P,): bool
    objects: Tensor  # (P,): which of its scene's
    scenes: Tensor  # (P,)
    boxes: Tensor  # (4, P): left, right, top, bottom on the screen, 0…1
    hulls: Tensor  # (6, P): from and to along each of the light's axes
    first: Tensor  # (2, N): where each scene's blocks begin, and its rounds
    parts: Tensor  # (2, N): and how many they are
    backdrops: Tensor  # (N,): the first paint of each scene
    lights: Tensor  # (9, N): each light's axes: two across it, and where it comes from
    colors: Tensor  # (6, Q)
    frames: Tensor  # (12, Q)
    kinds: Tensor  # (Q,)
    warps: Tensor  # (Q,)
    sharps: Tensor  # (Q,)

    @staticmethod
    def of(scenes: Sequence[Scene], device: torch.device) -> World:
        owned = [
            sorted(zip(scene.parts, scene.objects, strict=True), key=lambda pair: pair[0].round)
            for scene in scenes
        ]
        parts = [part for scene in owned for part, _ in scene]
        rounds = [sum(part.round for part in scene.parts) for scene in scenes]
        paints = [paint for scene in scenes for paint in scene.paints]
        sizes = np.array([len(scene.parts) for scene in scenes])
        blocks = sizes - rounds
        begin = np.cumsum(sizes) - sizes
        lights = np.array([_axes(scene.light) for scene in scenes])
        affine = np.array([part.affine_34 for part in parts]).reshape(-1, 3, 4)
        turn, move = np.linalg.inv(affine[:, :, :3]), affine[:, :, 3]
        inverse = np.concatenate([turn, -(turn * move[:, None]).sum(2)[:, :, None]], 2)
        tables = World(
            _table(inverse, 12),
            _table(np.array([part.form for part in parts]), 3),
            torch.tensor([part.round for part in parts], dtype=torch.bool),
            torch.tensor([number for scene in owned for _, number in scene], dtype=torch.int64),
            torch.arange(len(scenes)).repeat_interleave(torch.from_numpy(sizes)),
            _table(_boxes(affine), 4),
            _table(_hulls(affine, lights.repeat(sizes, 0)), 6),
            torch.from_numpy(np.stack([begin, begin + blocks])),
            torch.from_numpy(np.stack([blocks, rounds])),
            torch.tensor(np.cumsum([0, *(len(scene.paints) for scene in scenes[:-1])])),
            _table(lights, 9),
            _table(np.array([paint.colors_23 for paint in paints]), 6),
            _table(np.array([paint.frame_34 for paint in paints]), 12),
            torch.tensor([paint.kind for paint in paints]),
            torch.tensor([paint.warp for paint in paints], dtype=torch.float32),
            torch.tensor([paint.sharp for paint in paints], dtype=torch.float32),
        )
        return World(*(getattr(tables, field.name).to(device) for field in fields(tables)))


def _table(rows: Floats, width: int) -> Tensor:
    return torch.from_numpy(rows.reshape(-1, width).T.astype(np.float32, order="C"))


def _boxes(affine_P34: Floats) -> Floats:
    """(P, 4): left, right, top and bottom of each part's cube as the camera sees it, as shares of the picture."""
    x, y, z = np.moveaxis(_corners(affine_P34), 2, 0)
    across, down = 0.5 - x / z / (2 * TANGENT), 0.5 + y / z / (2 * TANGENT)
    return np.stack([across.min(1), across.max(1), down.min(1), down.max(1)], 1)


def _hulls(affine_P34: Floats, axes_P33: Floats) -> Floats:
    """(P, 6): the least and the greatest of each part's cube along three axes, with a little to spare."""
    along = _corners(affine_P34) @ axes_P33.transpose(0, 2, 1)
    return np.stack([along.min(1) - _SPARE, along.max(1) + _SPARE], 2)


def _corners(affine_P34: Floats) -> Floats:
    corners = np.array([[x, y, z, 1] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    return corners @ affine_P34.transpose(0, 2, 1)


def _axes(light: Floats) -> Floats:
    """(3, 3): two directions across the light's, and its own."""
    first = np.cross(light, np.eye(3)[np.abs(light).argmin()])
    first /= np.sqrt(first @ first)
    return np.stack([first, np.cross(light, first), light])
