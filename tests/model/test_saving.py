"""`image_io.save` and what lies beside it: formats, depth, dpi, profiles, the mark, and gray and color apart."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import skimage.color
import skimage.data
import tifffile
from PIL import Image, ImageCms

from model import image_io
from model.errors import InputError
from model.formats.mark import WORD
from model.image_io import Photo, SaveOptions

RNG = np.random.default_rng(7)
GRAY = np.add.outer(np.arange(24) * 4, np.arange(40) * 4).astype(np.uint8)
COLOR = np.stack([GRAY, 255 - GRAY, np.full_like(GRAY, 90)], axis=2)
DEEP = (COLOR.astype(np.uint16) << 8) + RNG.integers(0, 256, COLOR.shape, np.uint16)
ALPHA = np.tile(np.linspace(0, 255, 40).astype(np.uint8), (24, 1))
ROOT = Path(__file__).parent.parent.parent


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_jpeg_and_an_avif_keep_color_at_full_resolution() -> None:
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2, 0] = 200
    stripes[:, 1::2, 2] = 200
    for format in ("JPEG", "AVIF"):
        again = image_io.open(image_io.save(Photo(stripes, None, "JPEG"), SaveOptions(format, 95)))
        assert np.abs(again.pixels.astype(int) - stripes).max() < 40


def test_quality_counts() -> None:
    noise = Photo(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), None, "JPEG")
    for format in ("JPEG", "WEBP", "AVIF"):
        coarse, fine = (len(image_io.save(noise, SaveOptions(format, quality))) for quality in (30, 95))
        assert coarse < fine
    with pytest.raises(InputError, match="quality"):
        SaveOptions(quality=0)


def test_a_jpeg_is_what_libjpeg_makes_of_the_quality() -> None:
    photo = skimage.data.astronaut()[:200, :200]
    ours = opened(image_io.save(Photo(photo, None, "JPEG"), SaveOptions(quality=80)))
    file = io.BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=80, subsampling=0)
    assert ours.quantization == opened(file.getvalue()).quantization
    assert np.abs(np.asarray(ours).astype(int) - np.asarray(opened(file.getvalue()))).max() <= 2


@pytest.mark.parametrize(
    ("came_in", "kind", "asked", "written"),
    [
        ("JPEG", "", None, "JPEG"),
        ("PNG", "", None, "PNG"),
        ("WEBP", "alpha", None, "WEBP"),
        ("TIFF", "alpha", None, "TIFF"),
        ("GIF", "", None, "PNG"),
        ("BMP", "", None, "PNG"),
        ("PPM", "", None, "PNG"),
        ("AVIF", "", None, "JPEG"),
        ("AVIF", "alpha", None, "PNG"),
        ("AVIF", "alpha", "avif", "AVIF"),
        ("HEIF", "", None, "JPEG"),
        ("HEIF", "alpha", None, "PNG"),
        ("JXL", "", None, "JPEG"),
        ("JPEG2000", "", None, "TIFF"),
        ("JPEG2000", "deep", None, "TIFF"),
        ("PNG", "deep", None, "PNG"),
        ("PPM", "deep", None, "PNG"),
        ("TIFF", "deep", None, "TIFF"),
        ("JPEG", "deep", None, "TIFF"),
        ("HEIF", "deep", None, "TIFF"),
        ("TIFF", "deep", "jpeg", "JPEG"),
        ("TIFF", "deep", "webp", "WEBP"),
        ("TIFF", "deep", "avif", "AVIF"),
        ("PNG", "", "jpeg", "JPEG"),
        ("PNG", "alpha", "jpeg", "PNG"),
        ("JPEG", "", "webp", "WEBP"),
    ],
)
def test_saving_takes_the_nearest_format_that_holds_it(
    came_in: str, kind: str, asked: str | None, written: str
) -> None:
    made = Photo(DEEP if kind == "deep" else COLOR, GRAY if kind == "alpha" else None, came_in)
    assert image_io.saved_format(made, asked) == written
    again = image_io.open(image_io.save(made, SaveOptions(asked)))
    assert again.format == written
    assert (again.alpha is not None) == (kind == "alpha")


def test_a_photo_too_long_for_its_format_is_saved_as_png() -> None:
    long = Photo(np.zeros((330, 16_384), np.uint8), None, "JPEG")
    assert image_io.open(image_io.save(long, SaveOptions("webp"))).format == "PNG"
    assert image_io.saved_format(long) == "JPEG"
    longer = replace(long, pixels=np.zeros((8, 65_501), np.uint8))
    assert image_io.saved_format(longer) == image_io.saved_format(longer, "avif") == "PNG"


def test_an_unknown_format_to_save_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(InputError, match=r"bmp.*JPEG, PNG, WEBP, TIFF, AVIF"):
        image_io.save(Photo(GRAY, None, "JPEG"), SaveOptions("bmp"))


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("alpha", [None, ALPHA])
@pytest.mark.parametrize("pixels", [DEEP, COLOR, DEEP[..., 0], GRAY])
def test_what_loses_nothing_loses_nothing(format: str, alpha: np.ndarray | None, pixels: np.ndarray) -> None:
    """Read back by imagecodecs and tifffile, of which the first wrote the PNG; so PNGs of 8 bits also by Pillow."""
    data = image_io.save(Photo(pixels, alpha, format), SaveOptions())
    read = imagecodecs.png_decode(data) if format == "PNG" else tifffile.imread(io.BytesIO(data))
    channels = 1 if pixels.ndim == 2 else 3
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(
        read.reshape(*GRAY.shape, -1)[..., :channels], pixels.reshape(*GRAY.shape, -1)
    )
    if alpha is not None:
        np.testing.assert_array_equal(
            read[..., channels], alpha.astype(int) * (257 if pixels.dtype == np.uint16 else 1)
        )
    if pixels.dtype == np.uint8:
        np.testing.assert_array_equal(np.asarray(opened(data)), read)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_lightness(format: str) -> None:
    gray = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
    data = image_io.save(Photo(np.stack([gray] * 3, 2), None, format))
    read = imagecodecs.png_decode(data) if format == "PNG" else tifffile.imread(io.BytesIO(data))
    before, after = (skimage.color.rgb2lab(one / 65_535)[..., 0] for one in (np.stack([gray] * 3, 2), read))
    assert np.abs(before - after).max() < 0.002


@pytest.mark.parametrize("format", ["JPEG", "WEBP", "AVIF"])
def test_sixteen_bits_become_the_nearest_of_eight(format: str) -> None:
    for offset in (-128, 0, 128):
        deep = np.full((32, 32, 3), 100 * 257 + offset, np.uint16)
        saved = image_io.save(Photo(deep, None, "TIFF"), SaveOptions(format, 100))
        assert np.abs(np.asarray(opened(saved).convert("RGB")).astype(int) - 100).max() <= 1
    wide = np.full((32, 32), 7 * 257 + 129, np.uint16)
    assert np.asarray(opened(image_io.save(Photo(wide, None, "PNG"), SaveOptions("JPEG", 100))))[0, 0] == 8


@pytest.mark.parametrize("format", image_io.WRITABLE)
@pytest.mark.parametrize("dpi", [(300, 600), (299.9994, 299.9994), (72.5, 72.5)])
def test_the_resolution_is_kept(format: str, dpi: tuple[float, float]) -> None:
    saved = image_io.save(Photo(COLOR, None, "PNG", dpi=dpi), SaveOptions(format))
    read = opened(saved).info.get("dpi") if format not in ("WEBP", "AVIF") else None
    if format in ("WEBP", "AVIF"):
        exif = opened(saved).getexif()
        read = (exif[282], exif[283])
    tolerance = 0.5 if format == "JPEG" else 0.02
    assert [float(value) for value in read] == pytest.approx(dpi, abs=tolerance)
    bare = image_io.save(Photo(COLOR, None, "PNG", dpi=dpi), SaveOptions(format, metadata=False))
    assert ("dpi" in opened(bare).info) == (format not in ("WEBP", "AVIF"))


def test_a_file_without_resolution_states_none() -> None:
    for format in image_io.WRITABLE:
        assert image_io.open(image_io.save(Photo(COLOR, None, "PNG"), SaveOptions(format))).dpi is None


@pytest.mark.parametrize("format", image_io.WRITABLE)
def test_a_saved_photo_says_that_it_is_srgb_in_the_same_bytes_each_time(format: str) -> None:
    saved = image_io.save(Photo(COLOR, None, "PNG"), SaveOptions(format))
    assert saved == image_io.save(Photo(COLOR, None, "PNG"), SaveOptions(format))
    profile = opened(saved).info["icc_profile"]
    assert len(profile) < 700
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    assert struct.unpack(">6H", profile[24:36]) == (2000, 1, 1, 0, 0, 0)  # no date of today


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_a_gray_file_has_a_profile_for_gray_with_the_curve_of_srgb(format: str) -> None:
    saved = image_io.save(Photo(GRAY, None, "PNG"), SaveOptions(format, 100))
    profile = ImageCms.ImageCmsProfile(io.BytesIO(opened(saved).info["icc_profile"]))
    assert profile.profile.xcolor_space.strip() == "GRAY"
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    shown = ImageCms.profileToProfile(ramp, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert np.abs(np.asarray(shown).astype(int) - np.arange(256)[None, :, None]).max() <= 1
    assert np.abs(image_io.open(saved).pixels.astype(int) - GRAY).max() <= 2


def test_media_types_and_extensions() -> None:
    types = {
        "JPEG": "image/jpeg",
        "PNG": "image/png",
        "WEBP": "image/webp",
        "TIFF": "image/tiff",
        "AVIF": "image/avif",
    }
    assert {format: image_io.media_type(format) for format in image_io.WRITABLE} == types
    endings = {"JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "TIFF": ".tif", "AVIF": ".avif"}
    assert {format: image_io.extension(format) for format in image_io.WRITABLE} == endings


@pytest.mark.parametrize("ground", [0, 90, 160, 255])
@pytest.mark.parametrize("size", [(40, 60), (200, 300), (900, 700)])
def test_the_mark_is_in_the_corner_neutral_and_seen_on_any_ground(ground: int, size: tuple[int, int]) -> None:
    before = np.full((*size, 3), ground, np.uint8)
    photo = Photo(before.copy(), None, "PNG")
    after = np.asarray(opened(image_io.save(photo, SaveOptions(mark=True))))
    np.testing.assert_array_equal(photo.pixels, before)
    rows, columns = np.nonzero((after != before).any(2))
    assert rows.min() > 0.8 * size[0]
    assert columns.min() > size[1] * (0.25 if size[1] > 100 else 0.8)
    assert rows.max() < size[0]
    assert columns.max() > 0.9 * size[1]
    corner = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].astype(int)
    assert np.abs(corner - ground).max() > 100, "light or dark, whatever the ground"
    assert (corner.max(2) == corner.min(2)).all(), "without a color"
    assert len(rows) < 0.02 * before.size / 3 + 40


def test_the_mark_says_its_word() -> None:
    """The letters' shape: as many upright strokes as the word has, seen as columns of ink."""
    black = Photo(np.zeros((1200, 1600, 3), np.uint8), None, "PNG")
    after = np.asarray(opened(image_io.save(black, SaveOptions(mark=True))))
    rows, columns = np.nonzero(after[..., 0] > 100)
    ink = after[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1, 0] > 100
    starts = np.diff(ink.any(0).astype(int), prepend=0) == 1
    assert WORD == "colorized"
    assert starts.sum() >= len(WORD) - 2  # neighbors may touch
    assert ink.shape[0] >= 1200 / 60


def test_the_mark_works_on_sixteen_bits_and_where_the_photo_is_transparent() -> None:
    deep = Photo(np.full((200, 300, 3), 30_000, np.uint16), np.zeros((200, 300), np.uint8), "TIFF")
    read = tifffile.imread(io.BytesIO(image_io.save(deep, SaveOptions(mark=True))))
    assert read.dtype == np.uint16
    assert read[..., :3].max() > 50_000
    assert read[..., 3].max() == 65_535
    assert (read[:150] == [30_000, 30_000, 30_000, 0]).all()


def colored(gray: np.ndarray) -> np.ndarray:
    """Color that keeps the lightness of the gray photo, as the product's does."""
    most = np.iinfo(gray.dtype).max
    lab = skimage.color.rgb2lab(skimage.color.gray2rgb(gray / most))
    height, width = gray.shape
    strength = 15 * np.sin(np.pi * lab[..., 0] / 100)  # none where there is no room for any
    lab[..., 1] = strength * np.cos(np.linspace(0, 6, width))
    lab[..., 2] = strength * np.sin(np.linspace(0, 6, height))[:, None]
    return np.rint(skimage.color.lab2rgb(lab).clip(0, 1) * most).astype(gray.dtype)


@pytest.mark.parametrize("bits", [8, 16])
def test_gray_and_color_apart_make_the_picture_as_documented(
    bits: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the very text of docs/metadata.md."""
    gray = skimage.data.camera()[:256, :300]
    if bits == 16:
        gray = gray.astype(np.uint16) * 257
    whole = colored(gray)
    apart = image_io.save_separate(
        Photo(gray, None, "TIFF", (300, 300)), Photo(whole, None, "TIFF", (300, 300))
    )
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(apart.gray)), gray)
    (tmp_path / "photo (gray).tif").write_bytes(apart.gray)
    (tmp_path / "photo (color layer).tif").write_bytes(apart.color)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/metadata.md").read_text()
    text = re.search(r"```python\n(import numpy, .*?)```", page, re.DOTALL)
    assert text
    names: dict[str, np.ndarray] = {}
    exec(text[1], names)
    assert np.abs(names["colored"].astype(int) - np.rint(whole / (257 if bits == 16 else 1))).max() <= 1
    with tifffile.TiffFile(io.BytesIO(apart.color)) as file:
        page_of_color = file.pages[0]
        assert page_of_color.photometric == tifffile.PHOTOMETRIC.CIELAB
        assert page_of_color.tags["XResolution"].value == (300, 1)
        assert page_of_color.tags["WhitePoint"].value == (31_273, 100_000, 32_902, 100_000)
        layer = page_of_color.asarray()
        assert (layer[..., 0] == 32_768).all(), "nothing but color"
        lab = skimage.color.rgb2lab(whole / np.iinfo(whole.dtype).max)
        assert np.abs(layer[..., 1:].view(np.int16) / 256 - lab[..., 1:]).max() < 0.005
    assert b"compositeWithTrainedAlgorithmicMedia" in apart.color
    assert b"compositeWithTrainedAlgorithmicMedia" not in apart.gray


def test_two_photos_of_different_sizes_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match="the gray photo is"):
        image_io.save_separate(Photo(GRAY, None, "PNG"), Photo(COLOR[:-1], None, "PNG"))


def test_a_large_jpeg_is_written_in_little_memory() -> None:
    """Beside the pixels no more than half a copy of them, in a process of its own."""
    script = """
import resource, sys, numpy as np
from model import image_io
image_io.save(image_io.Photo(np.zeros((64, 64, 3), np.uint8), None, "JPEG"))
pixels = np.full((4000, 6000, 3), 90, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image_io.save(image_io.Photo(pixels, None, "JPEG"))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / pixels.nbytes)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout) < 0.5
