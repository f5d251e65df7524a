"""A photograph colored by the compiled loops, against scikit-image's Lab in float64, one step after the other."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.color
import torch
from numpy.typing import NDArray
from skimage.color.colorconv import xyz_from_rgb
from torch.nn import functional as F

from model import upsample
from model.compiled import compiled

ROOT = Path(__file__).parents[2]
RGB_FROM_XYZ = np.linalg.inv(xyz_from_rgb)
KINDS = [(np.uint8, 1), (np.uint8, 3), (np.uint16, 1), (np.uint16, 3)]
NAMES = ["gray 8", "RGB 8", "gray 16", "RGB 16"]


def picture(dtype: Any, channels: int, height: int = 41, width: int = 1131) -> NDArray[Any]:
    """Of every value: random ones, wider than the loops' chunks."""
    shape = (height, width, 3)[: 2 if channels == 1 else 3]
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape).astype(dtype)


def colors(height: int = 7, width: int = 11, spread: float = 25) -> NDArray[np.float32]:
    """Low-resolution ab of which a part cannot be shown."""
    return (np.random.default_rng(1).standard_normal((2, height, width)) * spread).astype(np.float32)


def lightness_of(pixels: NDArray[Any]) -> NDArray[np.float64]:
    rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, 2)
    lab: NDArray[np.float64] = skimage.color.rgb2lab(rgb / np.iinfo(pixels.dtype).max)
    return lab[..., 0]


def upsampled(ab_2hw: NDArray[np.float32], height: int, width: int) -> NDArray[np.float64]:
    low = torch.from_numpy(ab_2hw.astype(np.float64))[None]
    return F.interpolate(low, (height, width), mode="bilinear", align_corners=False)[0].numpy()


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def slow_twin(pixels: NDArray[Any], ab_2hw: NDArray[np.float32]) -> NDArray[np.float64]:
    """(H, W, 3), not rounded, on the scale of `pixels`."""
    lightness = lightness_of(pixels)
    a, b = upsampled(ab_2hw, *lightness.shape)

    def linear(share: Any) -> NDArray[np.float64]:
        xyz = skimage.color.lab2xyz(np.stack([lightness, a * share, b * share], -1))
        return np.asarray(xyz @ RGB_FROM_XYZ.T)

    def can_be_shown(share: Any) -> NDArray[np.bool_]:
        return np.asarray((linear(share) > -2e-5).all(-1) & (linear(share) < 1 + 2e-5).all(-1))

    low, high = np.zeros_like(lightness), np.ones_like(lightness)
    for _ in range(30):
        middle = (low + high) / 2
        inside = can_be_shown(middle)
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    share = np.where(can_be_shown(1.0), 1.0, low)
    light = linear(share).clip(0, 1)
    srgb = np.where(light > 0.0031308, 1.055 * light.clip(0.0031308) ** (1 / 2.4) - 0.055, 12.92 * light)
    return np.asarray(srgb * np.iinfo(pixels.dtype).max)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("spread", [8, 40])
def test_eight_bits_are_those_of_the_slow_twin(channels: int, spread: float) -> None:
    pixels, ab = picture(np.uint8, channels), colors(spread=spread)
    colored = upsample.render(pixels, ab)
    wanted = slow_twin(pixels, ab)
    assert colored.dtype == np.uint8
    assert colored.shape == (*pixels.shape[:2], 3)
    off = np.abs(colored.astype(int) - np.rint(wanted))
    assert off.max() <= 1
    assert off.mean() < 0.01


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize(
    ("height", "width", "low"), [(1, 700, (3, 4)), (700, 1, (3, 4)), (3, 2, (5, 9)), (40, 50, (1, 1))]
)
def test_pictures_of_any_shape(height: int, width: int, low: tuple[int, int]) -> None:
    pixels, ab = picture(np.uint8, 1, height, width), colors(*low)
    assert np.abs(upsample.render(pixels, ab) - slow_twin(pixels, ab)).max() < 1


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_keep_the_lightness(channels: int) -> None:
    pixels = picture(np.uint16, channels)
    colored = upsample.render(pixels, colors(spread=40))
    assert colored.dtype == np.uint16
    assert np.abs(lightness_of(colored) - lightness_of(pixels)).max() < 0.002
    assert (colored % 257 != 0).mean() > 0.9, "not 8 bits made wider"


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
def test_sixteen_bits_are_those_of_the_slow_twin_where_colors_can_be_shown() -> None:
    pixels, ab = picture(np.uint16, 1), colors(spread=8)
    wanted = slow_twin(pixels, ab)
    shown = ((wanted > 100) & (wanted < 65_435)).all(-1)
    assert shown.mean() > 0.8
    # scikit-image's white is 5e-5 off its own matrix: up to three steps of 65,535.
    assert np.abs(upsample.render(pixels, ab) - wanted)[shown].max() < 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_gray_without_color_comes_out_as_it_went_in(dtype: Any) -> None:
    grays = np.arange(np.iinfo(dtype).max + 1, dtype=dtype).reshape(256, -1)
    colored = upsample.render(grays, np.zeros((2, 3, 3), np.float32))
    np.testing.assert_array_equal(colored, np.repeat(grays[..., None], 3, 2))


def test_outside_the_frame_the_photo_stays_gray_and_inside_it_is_colored_as_if_alone() -> None:
    pixels, ab = picture(np.uint8, 1, 120, 900), colors(spread=10)
    top, left, bottom, right = frame = (30, 100, 90, 700)
    colored = upsample.render(pixels, ab, frame)
    outside = np.ones(pixels.shape, bool)
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(colored[outside], np.repeat(pixels[outside][:, None], 3, 1))
    alone = upsample.render(pixels[top:bottom, left:right], ab)
    edge = 4
    np.testing.assert_array_equal(
        colored[top + edge : bottom - edge, left + edge : right - edge], alone[edge:-edge, edge:-edge]
    )
    first_column, second_column = (np.ptp(colored[40:80, left + x].astype(int), 1).mean() for x in (0, 3))
    assert 0 < first_column < second_column, "color sets in softly"


def test_a_frame_that_is_the_whole_picture_changes_nothing() -> None:
    pixels, ab = picture(np.uint8, 1), colors()
    whole = upsample.render(pixels, ab, (0, 0, *pixels.shape))
    np.testing.assert_array_equal(whole, upsample.render(pixels, ab))
    part = upsample.render(pixels, ab, (0, 0, pixels.shape[0], 600))
    assert np.ptp(part[:, 0].astype(int), 1).mean() > 5, "the picture's own edges have their full color"


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    pixels, ab = picture(np.uint8, 3, 1500, 1131), colors()
    alone = upsample.render(pixels, ab, threads=1)
    for threads in (2, 5, None):
        np.testing.assert_array_equal(upsample.render(pixels, ab, threads=threads), alone)


@pytest.mark.parametrize(("dtype", "channels"), KINDS, ids=NAMES)
def test_lightness_is_that_of_scikit_image(dtype: Any, channels: int) -> None:
    pixels = picture(dtype, channels)
    found = upsample.lightness(pixels)
    assert found.dtype == np.float32
    assert np.abs(found - lightness_of(pixels)).max() < 1e-3
    ends = upsample.lightness(np.array([[0, np.iinfo(dtype).max]], dtype))
    np.testing.assert_allclose(ends, [[0, 100]], atol=1e-4)


def test_arrays_that_are_views_or_not_to_be_written_need_no_further_compilation() -> None:
    ab = colors()
    for dtype, channels in KINDS:
        whole = picture(dtype, channels, 200, 300)
        every_other = whole[::2, ::3]
        wanted = upsample.render(every_other.copy(), ab)
        whole.flags.writeable = False
        np.testing.assert_array_equal(upsample.render(whole[::2, ::3], ab), wanted)
        np.testing.assert_array_equal(
            upsample.render(every_other, ab.transpose(0, 2, 1).copy().transpose(0, 2, 1)), wanted
        )
    assert len(upsample._render.signatures) <= 2, "8 and 16 bits"


def test_beside_the_result_little_memory_is_needed() -> None:
    pixels, ab = picture(np.uint8, 1, 3000, 2000), colors()
    upsample.render(pixels[:10], ab)
    tracemalloc.start()
    try:
        colored = upsample.render(pixels, ab)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.05 * colored.nbytes


@pytest.mark.parametrize(
    ("pixels", "ab", "frame"),
    [
        (np.zeros((4, 4), np.float32), np.zeros((2, 2, 2), np.float32), None),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((2, 2, 2), np.float32), None),
        (np.zeros((4, 4), np.uint8), np.zeros((3, 2, 2), np.float32), None),
        (np.zeros((4, 4), np.uint8), np.zeros((2, 0, 2), np.float32), None),
        (np.zeros((4, 4), np.uint8), np.zeros((2, 2, 2), np.float32), (0, 0, 5, 4)),
        (np.zeros((4, 4), np.uint8), np.zeros((2, 2, 2), np.float32), (2, 0, 2, 4)),
    ],
)
def test_what_is_no_picture_is_refused(pixels: NDArray[Any], ab: NDArray[np.float32], frame: Any) -> None:
    with pytest.raises(ValueError, match=r"pixels are|ab is|the frame"):
        upsample.render(pixels, ab, frame)


def test_a_net_that_answers_nonsense_gives_a_picture_of_the_right_lightness() -> None:
    pixels = np.full((20, 30), 120, np.uint8)
    endless = np.full((2, 2, 2), 1e6, np.float32)
    colored = upsample.render(pixels, endless)
    assert np.abs(lightness_of(colored) - lightness_of(pixels)).max() < 0.5


def test_loops_are_compiled_where_nothing_can_be_kept() -> None:
    """numba keeps nothing of a function that no file holds, as it keeps nothing where no folder can be written."""
    names: dict[str, Any] = {}
    exec("def twice(x):\n    return 2 * x", names)
    assert compiled(names["twice"])(21) == 42


def test_what_was_compiled_lies_in_the_folder_that_is_named_for_it(tmp_path: Path) -> None:
    code = "import numpy; from model import upsample; upsample.lightness(numpy.zeros((2, 2), numpy.uint8))"
    others = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment = {**others, "AUTOCHROME_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert [*(tmp_path / "compiled").rglob("upsample._lightness*.nbi")]


def test_linear_algebra_is_not_loaded_for_the_loops_and_can_be_had_after_them() -> None:
    code = (
        "import sys, numpy; from model import upsample; upsample.lightness(numpy.zeros((2, 2), numpy.uint8));"
        "print('scipy.linalg' in sys.modules); import scipy.linalg; print(scipy.linalg.det(numpy.eye(2)))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["False", "1.0"]
