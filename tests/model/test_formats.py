"""The table of docs/formats.md, a row a test: each kind of file opened right, by an independent reader's measure, or refused in words."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pytest
import skimage.data
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from model import image_io
from model.errors import PhotoError
from model.image_headers import Limits

COFFEE = Image.open(Path(skimage.data.__file__).parent / "coffee.png").convert("RGB").resize((150, 100))
G8 = np.asarray(COFFEE.convert("L"))
G16 = G8.astype(np.uint16) * 257 + np.arange(150, dtype=np.uint16) % 7  # more than its upper halves say
G16[G8 == 255] = 65_535
RGB8, RGB16 = np.repeat(G8[..., None], 3, 2), np.repeat(G16[..., None], 3, 2)
COLOR8 = np.asarray(COFFEE)
COLOR16 = COLOR8.astype(np.uint16) * 257
OPAQUE8, OPAQUE16 = np.full_like(G8, 255), np.full_like(G16, 65_535)
CMYK8 = np.asarray(Image.fromarray(RGB8).convert("CMYK"))
CMYK16 = CMYK8.astype(np.uint16) * 257
HALF16 = np.tile(np.linspace(1, 65_535, 150).astype(np.uint16), (100, 1))


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, **({"photometric": "minisblack", "metadata": None} | options))
    return file.getvalue()


def made(image: Image.Image | np.ndarray, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    picture.save(file, format, **options)
    return file.getvalue()


def opened(data: bytes, **options: Any) -> image_io.Photo:
    return image_io.open(data, Limits.none(), **options)


def refusal(data: bytes, **options: Any) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        opened(data, **options)
    assert caught.value.sentence.endswith(".")
    assert caught.value.advice.endswith(".")
    return caught.value


def codes(photo: image_io.Photo) -> list[str]:
    return [notice.code for notice in photo.notices]


def planes(pixels: np.ndarray) -> np.ndarray:
    return np.moveaxis(pixels, 2, 0)


PLANAR = {"planarconfig": "separate"}
RGB = {"photometric": "rgb"}
INK = {"photometric": "separated"}
TILES = {"tile": (32, 48)}
EXACT: dict[str, tuple[Callable[[], bytes], np.ndarray]] = {
    "gray 8": (lambda: tiff(G8), G8),
    "gray 8, LZW": (lambda: tiff(G8, compression="lzw"), G8),
    "gray 8, deflate": (lambda: tiff(G8, compression="adobe_deflate"), G8),
    "gray 8, PackBits": (lambda: tiff(G8, compression="packbits"), G8),
    "gray 8, Zstandard": (lambda: tiff(G8, compression="zstd"), G8),
    "gray 8, big-endian": (lambda: tiff(G8, byteorder=">"), G8),
    "gray 8, tiles": (lambda: tiff(G8, **TILES), G8),
    "gray 8, white is zero": (lambda: tiff(255 - G8, photometric="miniswhite"), G8),
    "gray 16": (lambda: tiff(G16), G16),
    "gray 16, BigTIFF": (lambda: tiff(G16, bigtiff=True), G16),
    "gray 16, big-endian": (lambda: tiff(G16, byteorder=">"), G16),
    "gray 16, LZW and predictor": (lambda: tiff(G16, compression="lzw", predictor=True), G16),
    "gray 16, deflate": (lambda: tiff(G16, compression="adobe_deflate", rowsperstrip=7), G16),
    "gray 16, Zstandard": (lambda: tiff(G16, compression="zstd"), G16),
    "gray 16, LZMA": (lambda: tiff(G16, compression="lzma"), G16),
    "gray 16, tiles": (lambda: tiff(G16, compression="lzw", **TILES), G16),
    "gray 16, white is zero": (lambda: tiff(65_535 - G16, photometric="miniswhite", byteorder=">"), G16),
    "gray 16 and alpha": (lambda: tiff(np.stack([G16, OPAQUE16], 2), extrasamples=["unassalpha"]), G16),
    "gray 8 and alpha": (lambda: tiff(np.stack([G8, OPAQUE8], 2), extrasamples=["assocalpha"]), G8),
    "uint32": (lambda: tiff(G16.astype(np.uint32) << 16), G16),
    "int16": (
        lambda: tiff((G16 >> 1).astype(np.int16)),
        np.rint((G16 >> 1) * (65_535 / 32_767)).astype(np.uint16),
    ),
    "RGB 8": (lambda: tiff(COLOR8, **RGB), COLOR8),
    "RGB 8, planes": (lambda: tiff(planes(COLOR8), **RGB, **PLANAR), COLOR8),
    "RGB 8, planes, LZW": (lambda: tiff(planes(COLOR8), **RGB, **PLANAR, compression="lzw"), COLOR8),
    "RGB 16": (lambda: tiff(COLOR16, **RGB), COLOR16),
    "RGB 16, big-endian": (lambda: tiff(COLOR16, **RGB, byteorder=">"), COLOR16),
    "RGB 16, deflate and predictor": (
        lambda: tiff(COLOR16, **RGB, compression="adobe_deflate", predictor=True),
        COLOR16,
    ),
    "RGB 16, planes": (lambda: tiff(planes(COLOR16), **RGB, **PLANAR), COLOR16),
    "RGB 16, planes, LZW": (lambda: tiff(planes(COLOR16), **RGB, **PLANAR, compression="lzw"), COLOR16),
    "RGB 16, planes, tiles": (
        lambda: tiff(planes(COLOR16), **RGB, **PLANAR, **TILES, compression="zlib"),
        COLOR16,
    ),
    "RGB 16, tiles": (lambda: tiff(COLOR16, **RGB, **TILES), COLOR16),
    "RGB 16 of gray": (lambda: tiff(RGB16, **RGB), G16),
    "CMYK 8": (lambda: tiff(CMYK8, **INK), G8),
    "CMYK 8, planes": (lambda: tiff(planes(CMYK8), **INK, **PLANAR), G8),
    "CMYK 8 and alpha": (lambda: tiff(np.dstack([CMYK8, OPAQUE8]), **INK, extrasamples=["unassalpha"]), G8),
    "CMYK 16": (lambda: tiff(CMYK16, **INK), G8.astype(np.uint16) * 257),
    "CMYK 16, planes": (lambda: tiff(planes(CMYK16), **INK, **PLANAR), G8.astype(np.uint16) * 257),
    "PNG gray 16": (lambda: made(G16, "PNG"), G16),
    "PNG RGB 16": (lambda: imagecodecs.png_encode(COLOR16), COLOR16),
    "PNG gray 16 and alpha": (lambda: imagecodecs.png_encode(np.stack([G16, OPAQUE16], 2)), G16),
    "JPEG, lossless": (lambda: imagecodecs.ljpeg_encode(G8), G8),
    "JPEG, lossless, 16 bits": (lambda: imagecodecs.ljpeg_encode(G16), G16),
    "JPEG 2000": (lambda: imagecodecs.jpeg2k_encode(G8, codecformat="jp2", reversible=True), G8),
    "JPEG 2000, codestream": (
        lambda: imagecodecs.jpeg2k_encode(COLOR8, codecformat="j2k", reversible=True),
        COLOR8,
    ),
    "JPEG 2000, 16 bits": (lambda: imagecodecs.jpeg2k_encode(G16, codecformat="jp2", reversible=True), G16),
    "JPEG 2000, RGB 16": (
        lambda: imagecodecs.jpeg2k_encode(COLOR16, codecformat="jp2", reversible=True),
        COLOR16,
    ),
    "JPEG XL": (lambda: imagecodecs.jpegxl_encode(G8, lossless=True, effort=1), G8),
    "JPEG XL, RGB": (lambda: imagecodecs.jpegxl_encode(COLOR8, lossless=True, effort=1), COLOR8),
    "WebP, lossless": (lambda: made(RGB8, "WEBP", lossless=True), G8),
    "BMP": (lambda: made(G8, "BMP"), G8),
    "GIF": (lambda: made(G8, "GIF"), G8),
    "TGA": (lambda: made(COLOR8, "TGA"), COLOR8),
    "TGA, run lengths": (lambda: made(G8, "TGA", compression="tga_rle"), G8),
    "PGM": (lambda: made(G8, "PPM"), G8),
    "PPM": (lambda: made(COLOR8, "PPM"), COLOR8),
    "PGM, 16 bits": (lambda: b"P5\n150 100\n65535\n" + G16.astype(">u2").tobytes(), G16),
    "PPM, 16 bits": (lambda: b"P6 150 100 65535\n" + COLOR16.astype(">u2").tobytes(), COLOR16),
    "PGM, ASCII": (lambda: b"P2 # by hand\n150 100\n255\n" + b" ".join(b"%d" % v for v in G8.flat), G8),
    "PPM, ASCII, 16 bits": (
        lambda: b"P3\n150 100 # across, down\n65535\n" + b"\n".join(b"%d" % v for v in COLOR16.flat),
        COLOR16,
    ),
    "PBM": (lambda: made(Image.fromarray(G8 > 99), "PPM"), np.where(G8 > 99, 255, 0).astype(np.uint8)),
    "PBM, ASCII": (
        lambda: b"P1 150 100\n" + b"".join(b"0" if v > 99 else b"1" for v in G8.flat),
        np.where(G8 > 99, 255, 0).astype(np.uint8),
    ),
    "bilevel, group 4": (
        lambda: made(Image.fromarray(G8 > 99), "TIFF", compression="group4"),
        np.where(G8 > 99, 255, 0).astype(np.uint8),
    ),
}


@pytest.mark.parametrize("kind", EXACT)
def test_every_value_is_the_one_that_was_stored(kind: str) -> None:
    make, wanted = EXACT[kind]
    photo = opened(make())
    assert photo.pixels.dtype == wanted.dtype
    np.testing.assert_array_equal(photo.pixels, wanted)
    assert photo.alpha is None
    assert photo.notices == ()
    assert photo.frame is None


@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [10, 12])
def test_fewer_bits_kept_in_sixteen_are_not_nearly_black(bits: int, white_is_zero: bool) -> None:
    few, most = G16 >> (16 - bits), 2**bits - 1
    stored, options = (most - few, {"photometric": "miniswhite"}) if white_is_zero else (few, {})
    photo = opened(tiff(stored, **options))
    np.testing.assert_array_equal(photo.pixels, np.rint(few * (65_535 / most)))
    assert codes(photo) == ["dark_values"]


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("color", [True, False])
def test_a_jpeg_xl_of_16_bits_which_its_encoder_calls_linear_is_taken_as_that(
    color: bool, lossless: bool
) -> None:
    light = np.rint(linear((COLOR8 if color else G8) / 255) * 65_535).astype(np.uint16)
    options: dict[str, Any] = {"lossless": True} if lossless else {"distance": 0.1}
    photo = opened(imagecodecs.jpegxl_encode(light, effort=1, **options))
    assert photo.pixels.dtype == np.uint16
    error = np.abs(photo.pixels / 257 - (COLOR8 if color else G8))
    assert error.max() < 0.8 if lossless else error.mean() < 1.5


def padded_strips(pixels: np.ndarray, compression: int, pack: Callable[[bytes], bytes]) -> bytes:
    """A TIFF in strips of 32 rows, the last of which is filled up to that."""
    height, width = pixels.shape
    rows = np.vstack([pixels, np.zeros((-height % 32, width), pixels.dtype)])
    strips = [bytes(pack(rows[top : top + 32].astype("<u2").tobytes())) for top in range(0, height, 32)]
    body = b"".join(strips)
    offsets = 8 + np.cumsum([0, *map(len, strips)])[:-1]
    counts, base = len(strips), 8 + len(body)
    table = struct.pack(f"<{2 * counts}I", *offsets, *map(len, strips))
    tags = [
        (256, 3, 1, width),
        (257, 3, 1, height),
        (258, 3, 1, 16),
        (259, 3, 1, compression),
        (262, 3, 1, 1),
    ]
    tags += [(273, 4, counts, base), (277, 3, 1, 1), (278, 3, 1, 32), (279, 4, counts, base + 4 * counts)]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return struct.pack("<2sHI", b"II", 42, base + len(table)) + body + table + directory + bytes(4)


@pytest.mark.parametrize(
    ("compression", "pack"),
    [(1, bytes), (5, imagecodecs.lzw_encode), (8, zlib.compress), (32_773, imagecodecs.packbits_encode), (50_000, imagecodecs.zstd_encode)],
)  # fmt: skip
def test_a_last_strip_that_is_filled_up_is_no_damage(
    compression: int, pack: Callable[[bytes], bytes]
) -> None:
    np.testing.assert_array_equal(opened(padded_strips(G16, compression, pack)).pixels, G16)


@pytest.mark.parametrize("pixels", [G8, G16])
def test_a_jpeg_2000_goes_through_its_profile(pixels: np.ndarray) -> None:
    data = imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True)
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    colr = struct.pack(">I", 11 + len(profile)) + b"colr\2\0\0" + profile
    at = data.index(b"colr") - 4
    old = int.from_bytes(data[at : at + 4], "big")
    outer = data.index(b"jp2h") - 4
    grown = int.from_bytes(data[outer : outer + 4], "big") + len(colr) - old
    data = data[:outer] + struct.pack(">I", grown) + data[outer + 4 : at] + colr + data[at + old :]
    read = opened(data).pixels
    light = pixels / np.iinfo(pixels.dtype).max
    wanted = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(read / np.iinfo(read.dtype).max - wanted).max() < 0.003


def test_a_pnm_of_few_grays_reaches_white() -> None:
    photo = opened(b"P2 8 8 3\n" + b"0 1 2 3 " * 16)
    assert photo.pixels[0, :4].tolist() == [0, 85, 170, 255]
    deep = opened(b"P5 8 8 1023\n" + struct.pack(">4H", 0, 1023, 512, 1) * 16)
    assert deep.pixels[0, :4].tolist() == [0, 65_535, round(512 * 65_535 / 1023), 64]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_values_from_0_to_1_are_opened_with_a_notice(dtype: type) -> None:
    photo = opened(tiff((G8 / 255).astype(dtype)))
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels / 257 - G8).max() < 0.07
    assert codes(photo) == ["float_values"]
    assert refusal(tiff(G8.astype(dtype))).code == "photo_unsupported"


def test_twelve_bits_of_a_jpeg_come_out_as_sixteen() -> None:
    twelve = (G16 >> 4).astype(np.uint16)
    photo = opened(imagecodecs.jpeg8_encode(twelve, level=100, bitspersample=12))
    assert photo.pixels.dtype == np.uint16
    assert np.abs(photo.pixels / 65_535 - twelve / 4095).max() < 4 / 4095
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    block = b"Exif\0\0" + turned.tobytes().removeprefix(b"Exif\0\0")
    data = imagecodecs.jpeg8_encode(twelve[:16], level=100, bitspersample=12)
    sideways = opened(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    assert sideways.pixels.shape == (twelve.shape[1], 16)


def test_twelve_bits_of_a_jpeg_go_through_its_profile() -> None:
    """As the same values in a TIFF do. The profile is in two segments, the second one first."""
    data = imagecodecs.jpeg8_encode(G16 >> 4, level=100, bitspersample=12)
    profile = imagecodecs.cms_profile("gray", gamma=1.0)
    parts = [b"ICC_PROFILE\0\2\2" + profile[100:], b"ICC_PROFILE\0\1\2" + profile[:100]]
    segments = b"".join(b"\xff\xe2" + struct.pack(">H", len(part) + 2) + part for part in parts)
    plain = opened(data).pixels
    light = opened(data[:2] + segments + data[2:]).pixels
    np.testing.assert_array_equal(light, opened(tiff(plain, iccprofile=profile)).pixels)
    assert np.abs(light.astype(int) - plain).max() > 10_000


def test_a_channel_that_nothing_is_said_of_is_ignored_with_a_notice() -> None:
    photo = opened(tiff(np.stack([G8, 255 - G8], 2), extrasamples=["unspecified"]))
    np.testing.assert_array_equal(photo.pixels, G8)
    assert photo.alpha is None
    assert codes(photo) == ["channel_ignored"]


@pytest.mark.parametrize("color", [False, True])
def test_premultiplied_colors_are_divided_by_their_alpha(color: bool) -> None:
    pixels = COLOR16 if color else G16
    alpha = HALF16[..., None] if color else HALF16
    stored = np.rint(pixels.astype(float) * alpha / 65_535).astype(np.uint16)
    options = RGB if color else {}
    photo = opened(tiff(np.dstack([stored, HALF16]), **options, extrasamples=["assocalpha"]))
    assert photo.alpha is not None
    np.testing.assert_array_equal(photo.alpha, np.rint(HALF16 / 257))
    seen = HALF16 > 20_000
    assert np.abs(photo.pixels[seen].astype(int) - pixels[seen]).max() <= 2


def test_a_gray_16_and_half_transparent_png_keeps_both() -> None:
    photo = opened(imagecodecs.png_encode(np.stack([G16, HALF16], 2)))
    np.testing.assert_array_equal(photo.pixels, G16)
    np.testing.assert_array_equal(photo.alpha, np.rint(HALF16 / 257))


@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("photometric", ["cielab", "icclab"])
def test_cielab_becomes_srgb(deep: bool, photometric: str) -> None:
    scale = 256 if deep else 1
    lab = np.array([(60.0, 40, 20), (50, -30, 30), (80, 0, 0), (40, 5, -25)])
    lightness = np.rint(lab[:, :1] / 100 * (65_535 if deep else 255))
    ab = lab[:, 1:] * scale
    stored = np.hstack([lightness, ab + (128 * scale if photometric == "icclab" else 0)]).astype(np.int64)
    pixels = np.tile((stored % (65_536 if deep else 256)).astype(np.uint16 if deep else np.uint8), (8, 4, 1))
    photo = opened(tiff(pixels, photometric=photometric))
    wanted = imagecodecs.cms_transform(
        lab[None], imagecodecs.cms_profile("lab4"), imagecodecs.cms_profile("srgb"), colorspace="lab",
        outcolorspace="rgb", outdtype=np.uint16,
    )  # fmt: skip
    assert np.abs(photo.pixels[0, :4] / (257 if deep else 1) - wanted[0] / 257).max() < 1.6


def test_a_palette_that_goes_to_255_only_is_not_black() -> None:
    indices, colors = np.arange(256, dtype=np.uint8).repeat(16).reshape(64, 64), np.arange(256)[::-1]
    for scale in (1, 257):
        photo = opened(
            tiff(indices, photometric="palette", colormap=np.tile(colors * scale, (3, 1)).astype(np.uint16))
        )
        np.testing.assert_array_equal(photo.pixels, 255 - indices)


@pytest.mark.parametrize("compression", ["jpeg", None])
def test_a_scan_in_color_of_a_gray_print_keeps_its_lightness(compression: str | None) -> None:
    photo = opened(tiff(RGB8, **RGB, compression=compression))
    gray = photo.pixels if photo.pixels.ndim == 2 else photo.pixels[..., 1]
    assert np.abs(gray.astype(int) - G8).mean() < 2


def tifffile_read(data: bytes) -> np.ndarray:
    return tifffile.imread(io.BytesIO(data))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("format", "decode"),
    [("JPEG", imagecodecs.jpeg8_decode), ("PNG", imagecodecs.png_decode), ("TIFF", tifffile_read)],
)
def test_pixels_are_those_of_pillow_and_of_imagecodecs(
    format: str, decode: Callable[[bytes], np.ndarray], mode: str
) -> None:
    data = made(COFFEE.convert(mode), format)
    pixels = opened(data).pixels
    np.testing.assert_array_equal(pixels, np.asarray(Image.open(io.BytesIO(data))))
    np.testing.assert_array_equal(pixels, decode(data))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile_is_shown_as_pillow_shows_it(format: str) -> None:
    data = made(COFFEE.convert("CMYK"), format)
    shown = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(opened(data).pixels, shown)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(data: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    return data[:33] + b"".join(chunk(*each) for each in chunks) + data[33:]


def linear(gray: np.ndarray) -> np.ndarray:
    return np.where(gray <= 0.04045, gray / 12.92, ((gray + 0.055) / 1.055) ** 2.4)


GAMMA_1 = (b"gAMA", struct.pack(">I", 100_000))


def test_a_pngs_gamma_is_followed() -> None:
    flat = np.rint(linear(G8 / 255) * 65_535).astype(np.uint16)
    for pixels in (flat, np.repeat(flat[..., None], 3, 2)):
        photo = opened(with_chunks(imagecodecs.png_encode(pixels), GAMMA_1))
        assert photo.pixels.shape == G8.shape
        assert np.abs(photo.pixels / 257 - G8).max() < 0.1
    shallow = opened(with_chunks(made(G8, "PNG"), GAMMA_1))
    wanted = np.interp(G8 / 255, linear(np.arange(1001) / 1000), np.arange(1001) / 1000)
    assert np.abs(shallow.pixels / 255 - wanted).max() < 0.01


def test_a_pngs_gamma_yields_to_srgb_and_to_a_profile_and_srgbs_own_changes_nothing() -> None:
    for chunks in (
        [(b"sRGB", b"\0"), GAMMA_1],
        [(b"gAMA", struct.pack(">I", 45_455))],
        [(b"cICP", bytes((1, 13, 0, 1))), GAMMA_1],
        [(b"iCCP", b"srgb\0\0" + zlib.compress(imagecodecs.cms_profile("srgb"))), GAMMA_1],
        [(b"gAMA", struct.pack(">I", 0))],
    ):
        assert np.abs(opened(with_chunks(made(G8, "PNG"), *chunks)).pixels.astype(int) - G8).max() <= 1


@pytest.mark.parametrize("deep", [False, True])
def test_a_pngs_chromaticities_and_code_points_are_followed(deep: bool) -> None:
    png = imagecodecs.png_encode(COLOR16 if deep else COLOR8)
    wide = struct.pack(">8I", *(round(v * 1e5) for v in (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)))
    # Display P3's linear light to sRGB's (CSS Color 4, 10.2)
    matrix = [[1.2249402, -0.2249402, 0], [-0.0420570, 1.0420570, 0], [-0.0196376, -0.0786361, 1.0982736]]
    light = np.clip(linear(COLOR8 / 255) @ np.array(matrix).T, 0, 1)
    wanted = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    for chunks in (
        [(b"cHRM", wide), (b"gAMA", struct.pack(">I", 45_455))],
        [(b"cICP", bytes((12, 13, 0, 1)))],
    ):
        read = opened(with_chunks(png, *chunks)).pixels
        assert np.abs(read / np.iinfo(read.dtype).max - wanted).max() < (0.004 if deep else 0.012)
    assert "dynamic range" in refusal(with_chunks(png, (b"cICP", bytes((9, 16, 0, 1))))).sentence


def test_a_16_bit_scan_goes_through_its_profile_with_16_bits() -> None:
    steps = np.random.default_rng(3).integers(0, 65_536, (64, 64, 3), dtype=np.uint16)
    profile = imagecodecs.cms_profile("adobergb")
    read = opened(tiff(steps, **RGB, iccprofile=profile)).pixels
    # Adobe RGB (1998), 4.3.5.3: its primaries to XYZ; IEC 61966-2-1: XYZ to sRGB's
    to_xyz = [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    from_xyz = [[3.24097, -1.53738, -0.49861], [-0.96924, 1.87597, 0.04156], [0.05563, -0.20398, 1.05697]]
    light = np.clip((steps / 65_535) ** (563 / 256) @ np.array(to_xyz).T @ np.array(from_xyz).T, 0, 1)
    wanted = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert read.dtype == np.uint16
    error = np.abs(read / 65_535 - wanted) * 255
    assert np.quantile(error, 0.99) < 0.3
    assert error.mean() < 0.05
    ramp = np.tile(np.arange(0, 65_536, 64, dtype=np.uint16), (8, 1))
    gray = opened(tiff(ramp, iccprofile=imagecodecs.cms_profile("gray", gamma=1.0))).pixels
    light = ramp[0] / 65_535
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(gray[0] / 65_535 - encoded).max() < 1e-4


_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def test_an_interlaced_png_of_16_bits_is_put_together() -> None:
    rows = b""
    for left, top, across, down in _ADAM7:
        part = COLOR16[top::down, left::across].astype(">u2")
        rows += b"".join(b"\0" + row.tobytes() for row in part)
    head = struct.pack(">IIBBBBB", 150, 100, 16, 2, 0, 0, 1)
    data = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    np.testing.assert_array_equal(opened(data).pixels, COLOR16)
    assert "50% of the picture" not in refusal(data[: len(data) // 3]).sentence


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_16_bits_is_turned_upright(orientation: int) -> None:
    file = io.BytesIO()
    Image.fromarray(G8).save(file, "TIFF", tiffinfo={274: orientation})
    deep = opened(tiff(G8.astype(np.uint16) * 257, extratags=[(274, "H", 1, orientation, True)]))
    np.testing.assert_array_equal(deep.pixels // 257, opened(file.getvalue()).pixels)


# Both made by pillow-heif 1.4 (x265) from the same gradient, with quality 90; the second has ten bits.
HEIC = base64.b64decode(
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAX1tZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAAB"
    "oQABAAAAAAAAANAAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/WlwcnAAAADdaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAA"
    "HvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFz"
    "wIkAAAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAAAwgI"
    "CAAAABhpcG1hAAAAAAAAAAEAAQWBAgMFhAAAANhtZGF0AAAAzCgBrwY4ifMAb5FQ84am+k4Bnl19yB8qwNTibkaPNsFnN/p2R/9ger5fcF7t4l7LeHgwynOlHdGZIrX/"
    "zwzrMK//X2L5NXW+PacPjp/bztpFDm7V8VjVgauZGTkWWTrm+m2/RWY0uWvoTsxBRsd+0bGIqE2hpxM6f8VlagZgZgaecJ5wrYqqAK2ulikKF7YxMYZWHJE37eY5Ykdt"
    "6Cn/1GSolVvIvWZ/5myPd9Dnd1wilYrIkVwOMFuy4VnNpkdFv/kISpzeXXk02LHTPA=="
)
HEIC_10 = base64.b64decode(
    "AAAAHGZ0eXBoZWl4AAAAAG1pZjFoZWl4bWlhZgAAAXxtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERAAAEAAQAAAAAB"
    "oAABAAAAAAAAAKoAAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA/GlwcnAAAADcaXBjbwAAAHVodmNDAQQIAAAAnbgAAAAA"
    "HvAA/P36+gAADwNgAAEAF0ABDAH//wQIAAADAJ24AAADAAAeugJAYQABACpCAQEECAAAAwCduAAAAwAAHqAggQTZbq5Ka5uAhoMCAAADADIAAAMAAhBiAAEABkQBwXPA"
    "iQAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAAChjbGFwAAAAQAAAAAEAAAAwAAAAAQAAAAAAAAAC////8AAAAAIAAAAQcGl4aQAAAAADCgoK"
    "AAAAGGlwbWEAAAAAAAAAAQABBYECAwWEAAAAsm1kYXQAAACmKAGvBjjxyuyGbrAnGGt9czAnx/mNKLs5YMlujw3X9DC2sSNkIccpvL2OtfXaN9hOAJGU+2hWn02GLsCv"
    "wBsOLWI44Lr5WR6krOrEbSMmNn3okDje2koCyUaNeGzM2mHLh8IS0kHHnDYf7lOb6C3vMvDYYikNtAJ3LX+T1QFlwJxja7dIZH7re1V0KFCocSDKsU6819XzTG/9Es2O"
    "JfPq/BizCFNyMA=="
)
GRADIENT = np.add.outer(np.arange(48) * 2, np.arange(64) * 2)


@pytest.mark.parametrize(("data", "depth"), [(HEIC, 257), (HEIC_10, 1)])
def test_a_heic_is_opened(data: bytes, depth: int) -> None:
    photo = opened(data)
    assert (photo.format, photo.size) == ("HEIF", (64, 48))
    gray = (photo.pixels if photo.pixels.ndim == 2 else photo.pixels.mean(axis=2)) * (depth / 257)
    assert np.abs(gray - GRADIENT).max() < 4
    assert refusal(data[: len(data) // 2]).code == "photo_damaged"


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_the_first_frame_of_an_animation_is_opened_when_it_is_asked_for(format: str) -> None:
    data = made(Image.fromarray(RGB8), format, save_all=True, append_images=[Image.fromarray(255 - RGB8)])
    assert refusal(data).code == "photo_animated"
    gray = opened(data, page=1).pixels
    assert np.abs((gray if gray.ndim == 2 else gray[..., 1]).astype(int) - G8).mean() < 3
    assert "no page 2" in refusal(data, page=2).sentence


@pytest.mark.parametrize("deep", [False, True])
def test_pages_are_chosen_and_several_are_said(deep: bool) -> None:
    pixels = G16 if deep else G8
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for page in (pixels[::4, ::4], pixels, np.iinfo(pixels.dtype).max - pixels):
            writer.write(page, photometric="minisblack", metadata=None)
    data = file.getvalue()
    photo = opened(data)
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert codes(photo) == ["several_pages"]
    assert "2 pages" in photo.notices[0].detail
    third = opened(data, page=3)
    np.testing.assert_array_equal(third.pixels, np.iinfo(pixels.dtype).max - pixels)
    assert third.notices == ()
    assert opened(data, page=1).size == (38, 25)


REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "PDF": (lambda: made(RGB8, "PDF"), "PDF"),
    "JPEG XL, animated or with a profile": (
        lambda: imagecodecs.jpegxl_encode(G8 / np.float32(255)),
        "floating point",
    ),
    "TIFF, JPEG 2000 inside": (lambda: tiff(G16, compression="jpeg2000"), "compressed in a rare way"),
    "TIFF, complex": (lambda: tiff(G8.astype(np.complex64)), "complex"),
    "TIFF, YCbCr of reduced size": (
        lambda: tiff(COLOR8, photometric="ycbcr", subsampling=(1, 1)).replace(
            struct.pack("<HHIHH", 530, 3, 2, 1, 1), struct.pack("<HHIHH", 530, 3, 2, 2, 2)
        ),
        "YCbCr",
    ),
    "TIFF, negative": (lambda: tiff(-G8.astype(np.int16) - 1), "negative"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_trusted_is_refused_in_words(kind: str) -> None:
    make, words = REFUSED[kind]
    error = refusal(make())
    assert error.code == "photo_unsupported"
    assert words in error.sentence


def test_photoshops_profiles_and_long_texts_cost_no_picture() -> None:
    text = b"log\0\0" + zlib.compress(b"x" * 3_000_000)
    lut = b"big\0\0" + zlib.compress(imagecodecs.cms_profile("srgb") + bytes(3_000_000))
    data = with_chunks(made(G8, "PNG"), (b"zTXt", text), (b"iCCP", lut))
    np.testing.assert_array_equal(opened(data).pixels, G8)


def test_a_larger_configured_limit_is_honored_to_its_full_value() -> None:
    rows = zlib.compressobj(1)
    body = b"".join(rows.compress(bytes(1 + 20_000 // 8)) for _ in range(10_000)) + rows.flush()
    head = struct.pack(">IIBBBBB", 20_000, 10_000, 1, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    assert Image.MAX_IMAGE_PIXELS is None
    assert image_io.open(data, Limits(max_pixels=500_000_000, max_side=20_000)).size == (20_000, 10_000)


def test_an_icc_profile_of_srgb_leaves_a_scan_as_it_is() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(opened(made(COLOR8, "PNG", icc_profile=profile)).pixels, COLOR8)
    np.testing.assert_array_equal(opened(tiff(COLOR16, **RGB, iccprofile=profile)).pixels, COLOR16)


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    return [HEIC, HEIC_10, *(make() for make, _ in EXACT.values())]


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=500, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_the_bytes_it_is_a_photo_or_a_refusal(seeds: list[bytes], data: st.DataObject) -> None:
    hostile = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 5))):
        near = len(hostile) if data.draw(st.booleans()) else min(len(hostile), 300)
        at = data.draw(st.integers(0, near - 1))
        if data.draw(st.booleans()):
            hostile[at : at + 2] = data.draw(st.binary(min_size=2, max_size=2))
        else:
            hostile[-at - 1] = data.draw(
                st.integers(0, 255)
            )  # TIFFs of tifffile have no directory there, others have
    partial = data.draw(st.booleans())
    try:
        photo = image_io.open(bytes(hostile), Limits(max_pixels=1_000_000), partial=partial)
    except PhotoError:
        return
    assert photo.pixels.shape in {(photo.height, photo.width), (photo.height, photo.width, 3)}
    assert photo.pixels.dtype in (np.uint8, np.uint16)
    assert photo.alpha is None or photo.alpha.shape == (photo.height, photo.width)


# Made by libjpeg-turbo: cjpeg -arithmetic. No library here writes such files.
ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAx"
    "NDQ0Hyc5PTgyPC4zNDL/yQALCAAYABgBAREA/8wABgAQEAX/2gAIAQEAAD8A/wC4/wBGM0xQtrsG2OBWfSpmClh6IWN74G02h9PA"
    "TQpz/9k="
)


def test_an_arithmetic_jpeg_is_read_wherever_its_scan_lies() -> None:
    """Pillow hands out 64 KiB at once, and this kind of scan cannot be continued."""
    ramp = np.add.outer(np.arange(24) * 5, np.arange(24) * 5)
    assert np.abs(opened(ARITHMETIC).pixels.astype(int) - ramp).max() < 6
    scan = ARITHMETIC.index(b"\xff\xda")
    for beyond in (0, 12, 20):
        words = bytes(65_536 - scan - 4 - beyond)
        comment = b"\xff\xfe" + struct.pack(">H", len(words) + 2) + words
        data = ARITHMETIC[:2] + comment + ARITHMETIC[2:]
        np.testing.assert_array_equal(opened(data).pixels, opened(ARITHMETIC).pixels)
