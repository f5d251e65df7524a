"""A small ray caster for scenes of convex parts, on any device: many pictures at once, and each the same whatever stands beside it.

The camera is at the origin and looks along −z; x is right, y up. A ray meets a part where it is inside all of the part's bounds; it is
sent only at parts whose box on the screen it crosses. There is one light, far away, which the parts keep from one another.

Every number is computed for itself, by operations that round alike in every lane (see model/patterns.py) and integer minima: no matrix
product, sum or power over the batch. So a picture is the same to the last bit in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from model import color, patterns
from model.scenes import TANGENT, Scene, World

BACKDROP = 8.0  # how far the background is

_AMBIENT = 0.22
_SKY = 0.12  # more from above, and less from below
_FILL = 0.16  # from the camera
_KEY = 0.85
_GLOSS = 0.12  # white, whatever the surface's color
_CLEAR = 2e-3  # how far shadow rays start from the surface
_NOBODY = torch.iinfo(torch.int64).max
_CODES = 8192  # steps of linear light that are told apart


@torch.no_grad()
def render(
    scenes: Sequence[Scene], side: int, samples: int = 2, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """(N, 3, side, side) uint8 sRGB, each pixel the mean of samples × samples rays; and (N, side, side) int64 objects, −1 for none.

    A pixel is its nearest object's if one of its rays meets it, so that outside objects there is nothing but background.
    """
    width = side * samples
    world = World.of(scenes, torch.device(device))
    ray, part, distance = _seen(world, len(scenes), width)
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


def _seen(world: World, count: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
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
    """For counts (2, 3): which of them, (0, 0, 1, 1, 1), and the how-manieth, (0, 1, 0, 1, 2)."""
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
    share = patterns.values(
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


def _in_shadow(world: World, points_3R: Tensor, axes_9R: Tensor, scene_R: Tensor, asked_R: Tensor) -> Tensor:
    """(R,) whether a part of the same scene is between the point and the light; False where it is not asked."""
    shadow = torch.zeros_like(asked_R)
    asked = asked_R.nonzero()[:, 0]
    scene, points, axes = scene_R[asked], points_3R.index_select(1, asked), axes_9R.index_select(1, asked)
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
        shadow[asked[ray[(near < far) & (near > 0)]]] = True
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
