"""Failures put into synthetic pictures on purpose are found, each as what it is; and the photos to look at are chosen by them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage.color
import torch
from skimage import data
from torch.nn import functional as F

from model.color import lab_from_rgb
from model.evaluate import color, failures

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
    rgb_HW3 = skimage.color.lab2rgb(lab_13HW[0].permute(1, 2, 0).numpy())
    return np.rint(255 * rgb_HW3).astype(np.uint8)


def found(truth: np.ndarray, predicted: np.ndarray) -> list[str]:
    shown = failures.detect(color.Picture(truth), color.Picture(predicted))
    return [kind for kind, is_so in shown.items() if is_so]


LEFT, RIGHT, ALL = slice(0, 128), slice(128, 256), slice(None)
MEADOW = picture(ground=(-25, 30))
HALVES = picture((ALL, LEFT, 40, 30))  # orange beside gray
TILES = picture(
    *[(slice(y, y + 32), slice(x, x + 32), 40, 30) for y in range(0, 256, 64) for x in range(0, 256, 64)]
)


def test_a_meadow_predicted_nearly_gray_is_desaturated() -> None:
    assert found(MEADOW, picture(ground=(-8, 10))) == ["desaturated"]
    assert found(MEADOW, color.gray(MEADOW)) == ["desaturated"]
    assert found(MEADOW, picture(ground=(-18, 20))) == []


def test_a_wall_predicted_glaring_is_oversaturated() -> None:
    wall = picture(ground=(4, 8))
    assert found(wall, picture(ground=(12, 24))) == ["oversaturated"]
    assert found(wall, picture(ground=(6, 10))) == []


def test_color_that_runs_over_outlines_is_spill() -> None:
    color_of = torch.from_numpy(TILES.copy()).permute(2, 0, 1)[None].float() / 255
    run = lab_from_rgb(color_of)
    run[:, 1:] = F.max_pool2d(run[:, 1:], 17, 1, 8)
    assert "spill" in found(TILES, as_pixels(run))


def test_a_dull_prediction_inside_its_outlines_is_no_spill() -> None:
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


def test_a_green_truck_predicted_red_is_confusion() -> None:
    green, red = picture((ALL, LEFT, -35, 20)), picture((ALL, LEFT, 40, 25))
    assert found(green, red) == ["confusion"]
    assert found(green, picture((ALL, LEFT, -16, 38))) == [], "another green, 37° away"
    small = slice(0, 60)
    assert found(picture((small, small, -35, 20)), picture((small, small, 40, 25))) == [], "a small object"


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_the_ground_truth_has_no_failure_and_gray_can_only_be_desaturated(name: str) -> None:
    truth = color.center_crop(getattr(data, name)())
    assert found(truth, truth) == []
    assert set(found(truth, color.gray(truth))) <= {"desaturated"}


def test_hues_are_counted_by_their_names() -> None:
    shown = dict(zip(failures.HUE_COLUMNS, failures.hue_shares(color.Picture(HALVES)), strict=True))
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
        assert failures.hue_shares(plain)[failures.HUE_COLUMNS.index(hue)] == 100


def test_best_and_worst_are_chosen_by_what_they_gain_over_gray() -> None:
    gray, ours = np.random.default_rng(1).uniform(0, 20, (2, 6))
    photos = [Path(f"made/{number}.png") for number in range(6)]
    best, worst = failures.extremes(gray.tolist(), ours.tolist(), photos, 2)
    gain = gray - ours
    assert [case.photo for case in best] == list(np.argsort(gain)[:-3:-1])
    assert [case.photo for case in worst] == list(np.argsort(gain)[:2])
    assert best[0].caption == f"{gain.max():+.1f}  made/{gain.argmax()}.png"


def test_examples_are_of_each_kind_and_photos_evenly_chosen() -> None:
    desaturated = [number % 2 == 0 for number in range(8)]
    shown = [[is_so, False, number == 5, False, False] for number, is_so in enumerate(desaturated)]
    cases = [(case.photo, case.caption) for case in failures.examples(shown, 2)]
    assert cases == [(0, "desaturated"), (4, "desaturated"), (5, "spill")]
    assert [(case.photo, case.caption) for case in failures.sample(8, 2)] == [(0, "1"), (4, "2")]
    assert len(failures.sample(3, 24)) == 3
