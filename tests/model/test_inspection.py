"""What is seen of a photo before it is colored, and what is done about it."""

from __future__ import annotations

import io
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps
from skimage import data

from model import image_io, inspection
from model.borders import Box
from model.errors import InputError, Notice, PhotoError
from model.evaluate import inspection as evaluation
from model.image_io import Photo
from model.inspection import InspectionOptions, prepare

COLORED = ("astronaut", "coffee", "chelsea", "rocket")


def color(name: str) -> Photo:
    return Photo(getattr(data, name)(), None, "PNG")


def gray(name: str) -> NDArray[np.uint8]:
    return getattr(data, name)().mean(-1).astype(np.uint8)


def codes(photo: Photo) -> list[str]:
    return [notice.code for notice in photo.notices]


@pytest.mark.parametrize("name", COLORED)
def test_a_photograph_in_color_is_noticed(name: str) -> None:
    assert inspection.is_in_color(color(name))
    assert codes(prepare(color(name))) == ["photo_in_color"]


def test_a_photograph_in_color_is_refused_or_kept_as_asked() -> None:
    with pytest.raises(PhotoError) as refused:
        prepare(color("coffee"), InspectionOptions(if_color="refuse"))
    assert refused.value.code == "photo_in_color"

    photo = color("coffee")
    kept = prepare(photo, InspectionOptions(if_color="keep", rotate=90, crop_border=True))
    assert inspection.is_kept(kept)
    assert kept.pixels is photo.pixels
    assert not inspection.is_kept(
        prepare(Photo(gray("coffee"), None, "PNG"), InspectionOptions(if_color="keep"))
    )


@pytest.mark.parametrize("options", [{"if_color": "drop"}, {"rotate": 45}])
def test_other_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"^{next(iter(options))} is .*, not "):
        InspectionOptions(**options)


def toned(name: str, dark: str, light: str) -> Photo:
    image = ImageOps.colorize(Image.fromarray(gray(name)), dark, light)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return image_io.open(file.getvalue())


@pytest.mark.parametrize("name", COLORED)
@pytest.mark.parametrize(
    ("dark", "light"),
    [
        ("#000", "#fff"),
        ("#321607", "#fbeed2"),
        ("#051e4c", "#ecf6f8"),
        ("#46200a", "#ebc896"),
        ("#14101c", "#fdf4d8"),
    ],
    ids=["gray", "sepia", "cyanotype", "faded", "split"],
)
def test_a_tone_is_no_color(name: str, dark: str, light: str) -> None:
    assert not inspection.is_in_color(toned(name, dark, light))
    assert codes(prepare(toned(name, dark, light), InspectionOptions(if_color="refuse"))) == []


def test_a_stamp_on_a_gray_print_is_no_color() -> None:
    pixels = np.repeat(gray("coffee")[..., None], 3, -1)
    pixels[330:380, 40:160] = (40, 60, 170)
    assert not inspection.is_in_color(Photo(pixels, None, "PNG"))


def test_a_gray_print_on_a_table_in_color_is_gray() -> None:
    page = np.full((480, 720, 3), (40, 110, 70), np.uint8)
    page[:, 240:] = (150, 55, 64)  # as light as the green
    page[:, 480:] = (60, 80, 172)
    without = Photo(page.copy(), None, "PNG")
    page[40:440, 60:660] = gray("coffee")[..., None]
    assert inspection.is_in_color(without)
    assert not inspection.is_in_color(Photo(page, None, "PNG"))
    assert codes(prepare(Photo(page, None, "PNG"))) == ["border_found"]


def test_sixteen_bits_are_judged_alike() -> None:
    wide = Photo(color("coffee").pixels.astype(np.uint16) * 257, None, "TIFF")
    assert inspection.is_in_color(wide)
    gray_wide = replace(wide, pixels=np.repeat(wide.pixels[..., :1], 3, -1))
    assert not inspection.is_in_color(gray_wide)


def test_turning_is_clockwise_and_turns_dpi_and_alpha() -> None:
    pixels = gray("coffee")
    alpha = np.arange(pixels.size, dtype=np.uint32).reshape(pixels.shape).astype(np.uint8)
    turned = prepare(Photo(pixels, alpha, "PNG", dpi=(300, 150)), InspectionOptions(rotate=90))
    assert turned.size == (400, 600)
    assert turned.dpi == (150, 300)
    expected = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_270)  # Pillow's turn the other way
    np.testing.assert_array_equal(turned.pixels, np.asarray(expected))
    assert turned.alpha is not None
    assert turned.alpha[0, -1] == alpha[0, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_negative_is_inverted(dtype: type) -> None:
    most = np.iinfo(dtype).max
    negative = (most - gray("coffee").astype(dtype) * (most // 255)).astype(dtype)
    positive = prepare(Photo(negative, None, "TIFF"), InspectionOptions(negative=True)).pixels
    assert positive.dtype == dtype
    np.testing.assert_array_equal(positive, gray("coffee").astype(np.uint32) * (most // 255))


def framed(name: str, level: int) -> tuple[NDArray[np.uint8], Box]:
    picture = gray(name)
    height, width = picture.shape
    page = np.full((height + height // 5, width + width // 5), level, np.uint8)
    top, left = height // 10, width // 10
    page[top : top + height, left : left + width] = picture
    return page, (top, left, top + height, left + width)


@pytest.mark.parametrize("level", [255, 245, 200, 20])
def test_the_frame_is_where_the_photograph_is(level: int) -> None:
    for name in ("astronaut", "coffee", "chelsea"):
        page, box = framed(name, level)
        prepared = prepare(Photo(page, None, "PNG"))
        assert prepared.frame == box
        assert prepared.pixels is page
        assert codes(prepared) == ["border_found"]

        cropped = prepare(Photo(page, None, "PNG"), InspectionOptions(crop_border=True))
        np.testing.assert_array_equal(cropped.pixels, gray(name))
        assert cropped.frame is None
        assert codes(cropped) == ["border_cropped"]


def test_an_empty_picture_is_noticed() -> None:
    assert codes(prepare(Photo(np.full((300, 400), 128, np.uint8), None, "PNG"))) == ["mostly_flat"]


def test_notices_and_frames_of_opening_are_kept() -> None:
    from_file = Notice("cut_off", "A part is missing.")
    photo = Photo(gray("coffee"), None, "JPEG", notices=(from_file,), frame=(0, 0, 200, 600))
    assert prepare(photo).notices == (from_file,)
    assert prepare(photo).frame == (0, 0, 200, 600)
    assert prepare(photo, InspectionOptions(rotate=90)).frame == (0, 200, 600, 400)
    uncropped = prepare(photo, InspectionOptions(crop_border=True))
    assert uncropped.size == (600, 400)  # what is missing is no border


def test_of_a_photo_that_was_cut_off_only_what_is_there_is_judged() -> None:
    pixels = color("astronaut").pixels.copy()
    pixels[60:] = 128
    assert not inspection.is_in_color(Photo(pixels, None, "JPEG"))  # most of it is gray
    cut = Photo(pixels, None, "JPEG", frame=(0, 0, 60, 512))
    assert inspection.is_in_color(cut)
    assert codes(prepare(cut)) == ["photo_in_color"]
    empty = np.full((400, 600), 250, np.uint8)
    empty[100:] = 128
    assert codes(prepare(Photo(empty, None, "JPEG", frame=(0, 0, 100, 600)))) == ["mostly_flat"]


def test_a_border_is_found_and_cropped_where_the_rest_of_its_page_is_missing() -> None:
    page, (top, left, bottom, right) = framed("coffee", 245)
    page[bottom - 100 :] = 128
    photo = Photo(page, None, "JPEG", frame=(0, 0, bottom - 100, page.shape[1]))
    prepared = prepare(photo)
    assert prepared.frame == (top, left, bottom - 100, right)
    assert prepared.pixels is page
    cropped = prepare(photo, InspectionOptions(crop_border=True))
    assert cropped.frame == (0, 0, bottom - 100 - top, right - left)
    np.testing.assert_array_equal(cropped.pixels, page[top:, left:right])  # what is missing still is


@pytest.mark.parametrize("shape", [(8, 8), (1, 900), (900, 2), (60, 48)])
def test_tiny_and_narrow_pictures_pass(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert prepare(Photo(pixels, None, "PNG")).size == shape[::-1]


def test_it_needs_no_torch() -> None:
    code = "import sys, model.inspection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_flat_picture_has_less_than_eight_steps_between_its_percentiles() -> None:
    random = np.random.default_rng(0)
    told = set()
    for _ in range(300):
        height, width = random.integers(5, 40, 2)
        gray = np.clip(random.normal(128, random.uniform(1, 2.5), (height, width)), 0, 255).astype(np.uint8)
        low, high = np.percentile(gray[1:-1, 2:-2], (1, 99))
        told.add(high - low < 8)
        box = (1, 2, height - 1, width - 2)
        assert inspection._is_flat(Image.fromarray(gray), box) == (high - low < 8)
    assert told == {True, False}


def test_how_often_it_is_right_is_counted_by_what_was_shown(tmp_path: Path) -> None:
    photos = [tmp_path / f"{name}.png" for name in ("astronaut", "coffee")]
    for photo in photos:
        Image.fromarray(getattr(data, photo.stem)()[::2, ::2]).save(photo)
    measured = [*evaluation.measure(photos)]
    assert [*evaluation.measure(photos)] == measured, "the same photos give the same numbers"
    rates = evaluation.summarize(measured)
    called = dict(rates.in_color)
    assert called.pop("in color") == called.pop("in color, half the saturation") == (2, 2)
    assert {*called.values()} == {(0, 2)}
    assert rates.framed == (0, 2)
    assert min(rates.overlaps) > 0.8
    assert "| on a made page: found | 2 of 2 | 100.0% |" in rates.as_markdown()


def test_it_is_counted_of_photographs_of_16_bits_and_of_those_in_tars(tmp_path: Path) -> None:
    deep, tar = tmp_path / "deep.tiff", tmp_path / "photos.tar"
    tifffile.imwrite(deep, data.coffee()[::2, ::2].astype(np.uint16) * 257, photometric="rgb")
    subprocess.run(["tar", "-C", tmp_path, "-cf", tar, deep.name], check=True)
    alone, packed = (evaluation.summarize([*evaluation.measure([path])]) for path in (deep, tar / deep.name))
    assert dict(alone.in_color)["in color"] == (1, 1)
    assert alone == packed
