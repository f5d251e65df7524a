"""Scenes of convex parts, a light and a background, as plain values; and many scenes as tables, for model/rendering.py.

The camera is at the origin and looks along −z; x is right, y up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from model.toys import Floats, Part

TANGENT = 0.28  # of half the angle of view

_SPARE = 5e-3  # by which the outlines that light sees are too large


@dataclass(frozen=True)
class Paint:
    """A plain color, twice, or a pattern of two: see model/patterns.py."""

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
