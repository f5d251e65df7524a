"""Failures put into made pictures on purpose are found, each as what it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data
from torch.nn import functional as F

from model.color import lab_from_rgb, rgb_from_lab
from model.evaluate import biases, color, failures

SIDE = 256


def picture(*patches: tuple[slice, slice, float, float], ground: tuple[float, float] = (0, 0)) -> np.ndarray:
    """(256, 256, 3) uint8 of lightness 60: patches of (rows, columns, a, b) on a ground."""
    values = torch.zeros(1, 3, SIDE, SIDE)
    values[:, 0] = 60
    values[:, 1:] = torch.tensor(ground)[:, None, None]
    for rows, columns, a, b in patches:
        values[0, 1:, rows, columns] = torch.tensor([a, b])[:, None, None]
    return as_pixels(values)


def as_pixels(lab_13HW: torch.Tensor) -> np.ndarray:
    return (rgb_from_lab(lab_13HW)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def found(truth: np.ndarray, answer: np.ndarray) -> list[str]:
    return [
        kind for kind, is_so in failures.found(color.Picture(truth), color.Picture(answer)).items() if is_so
    ]


LEFT, RIGHT, ALL = slice(0, 128), slice(128, 256), slice(None)
MEADOW = picture(ground=(-25, 30))
HALVES = picture((ALL, LEFT, 40, 30))  # orange beside gray
TILES = picture(
    *[(slice(y, y + 32), slice(x, x + 32), 40, 30) for y in range(0, 256, 64) for x in range(0, 256, 64)]
)


def test_a_meadow_answered_nearly_gray_is_desaturated() -> None:
    assert found(MEADOW, picture(ground=(-8, 10))) == ["desaturated"]
    assert found(MEADOW, color.gray(MEADOW)) == ["desaturated"]
    assert found(MEADOW, picture(ground=(-18, 20))) == []


def test_a_wall_answered_glaring_is_oversaturated() -> None:
    wall = picture(ground=(4, 8))
    assert found(wall, picture(ground=(12, 24))) == ["oversaturated"]
    assert found(wall, picture(ground=(6, 10))) == []


def test_color_that_runs_over_outlines_is_spill() -> None:
    color_of = torch.from_numpy(TILES.copy()).permute(2, 0, 1)[None].float() / 255
    run = lab_from_rgb(color_of)
    run[:, 1:] = F.max_pool2d(run[:, 1:], 17, 1, 8)
    assert "spill" in found(TILES, as_pixels(run))


def test_a_dull_answer_inside_its_outlines_is_no_spill() -> None:
    dull = picture(
        *[(slice(y, y + 32), slice(x, x + 32), 28, 21) for y in range(0, 256, 64) for x in range(0, 256, 64)]
    )
    assert found(TILES, dull) == []


def test_color_that_comes_and_goes_on_a_plain_wall_is_blotches() -> None:
    wall = picture(ground=(8, 12))
    stripes = picture(*[(ALL, slice(x, x + 32), 22, 28) for x in range(0, 256, 64)], ground=(-4, 0))
    assert found(wall, stripes) == ["blotches"]
    striped = picture(*[(ALL, slice(x, x + 32), 14, 18) for x in range(0, 256, 64)], ground=(6, 8))
    assert found(striped, stripes) == [], "there it does in truth, too"


def test_a_green_truck_answered_red_is_confusion() -> None:
    green, red = picture((ALL, LEFT, -35, 20)), picture((ALL, LEFT, 40, 25))
    assert found(green, red) == ["confusion"]
    assert found(green, picture((ALL, LEFT, -16, 38))) == [], "another green, 37° away"
    small = slice(0, 60)
    assert found(picture((small, small, -35, 20)), picture((small, small, 40, 25))) == [], "a small thing"


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_the_truth_has_no_failure_and_gray_can_only_be_desaturated(name: str) -> None:
    truth = color.central(getattr(data, name)())
    assert found(truth, truth) == []
    assert set(found(truth, color.gray(truth))) <= {"desaturated"}


def test_hues_are_counted_by_their_names() -> None:
    shown = dict(zip(biases.COLUMNS, biases.of(color.Picture(HALVES)), strict=True))
    assert shown["neutral"] == pytest.approx(50)
    assert shown["orange"] == pytest.approx(50)
    assert (shown["a"], shown["b"]) == pytest.approx((20, 15), abs=0.5)
    plain_colors = {
        "pink": (255, 150, 190),
        "orange": (220, 170, 140),
        "yellow": (230, 220, 0),
        "green": (0, 200, 0),
        "teal": (0, 200, 200),
        "blue": (135, 190, 235),
        "purple": (200, 0, 200),
    }
    for hue, rgb in plain_colors.items():
        plain = color.Picture(np.full((16, 16, 3), rgb, np.uint8))
        assert biases.of(plain)[biases.COLUMNS.index(hue)] == 100
