"""Each row of the table in `model.image_io`, and hostile bytes."""

from __future__ import annotations

import functools
import io
import struct
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor

import imagecodecs
import numpy as np
import pytest
import skimage.color
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from model import image_io
from model.errors import PhotoError
from model.image_headers import FORMATS, Limits, probe

CODES = {
    "photo_empty",
    "photo_unsupported",
    "photo_damaged",
    "photo_animated",
    "photo_too_large",
    "photo_too_small",
}
BY_PILLOW = tuple(format for format in FORMATS if format not in ("HEIF", "JXL"))
"""What Pillow can write, to make files of."""
RNG = np.random.default_rng(7)
GRAY = np.add.outer(np.arange(24) * 4, np.arange(40) * 4).astype(np.uint8)  # no two corners alike
COLOR = np.stack([GRAY, 255 - GRAY, np.full_like(GRAY, 90)], axis=2)


def encode(image: Image.Image | np.ndarray, format: str, **options: object) -> bytes:
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def refusal(data: bytes, limits: Limits | None = None) -> PhotoError:
    with pytest.raises(PhotoError) as caught:
        image_io.open(data, limits or Limits())
    assert caught.value.code in CODES
    assert caught.value.detail.endswith(".")
    return caught.value


def tiff(width: int, height: int, strip: bytes, **more: tuple[int, int]) -> bytes:
    """A little-endian TIFF with one strip or tile; `more` are tags by number, as in `t258=(3, 16)`."""
    tags = {256: (3, width), 257: (3, height), 259: (3, 1), 277: (3, 1)}
    tags |= {int(name[1:]): entry for name, entry in more.items()}
    offsets, counts = (324, 325) if 322 in tags else (273, 279)
    tags |= {offsets: (4, 8), counts: (4, len(strip))}
    entries = b"".join(
        struct.pack("<HHII", tag, kind, 1, value) for tag, (kind, value) in sorted(tags.items())
    )
    strip += b"\0" * (len(strip) % 2)
    header = struct.pack("<2sHI", b"II", 42, 8 + len(strip))
    return header + strip + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def png(width: int, height: int, depth: int, data: bytes) -> bytes:
    """A gray PNG of these dimensions around compressed `data`."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def icc(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", connection: bytes = b"XYZ ") -> bytes:
    """A version 2 ICC profile."""
    body, table, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        padded = data + b"\0" * (-len(data) % 4)
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"lcms", 0x02400000, kind, space, connection)
    head += struct.pack(">6H4s", 2000, 1, 1, 0, 0, 0, b"acsp") + b"\0" * 28 + s15f16(0.9642, 1, 0.8249)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def s15f16(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(value * 65_536) for value in values))


def gamma(value: float) -> bytes:
    return struct.pack(">4sIIH", b"curv", 0, 1, round(value * 256))


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + s15f16(*values)


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
GRAY_LINEAR = icc(b"GRAY", {**WHITE, b"kTRC": gamma(1.0)})
# Adobe RGB (1998): its primaries adapted to D50
WIDE = icc(
    b"RGB ",
    {
        **WHITE,
        b"rXYZ": xyz(0.60974, 0.31111, 0.01947),
        b"gXYZ": xyz(0.20528, 0.62567, 0.06087),
        b"bXYZ": xyz(0.14919, 0.06322, 0.74457),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma(2.19921875)),
    },
)


def ink_profile() -> bytes:
    """CMYK whose cyan prints as a strong red: no formula would guess it."""
    nodes = []
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    lightness = 0 if k else 255 - 60 * (c + m + y)
                    nodes += [lightness, 128 + (60 if c and not k else 0), 128]
    identity = bytes(range(256))
    table = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0) + s15f16(1, 0, 0, 0, 1, 0, 0, 0, 1)
    return icc(
        b"CMYK", {**WHITE, b"A2B0": table + identity * 4 + bytes(nodes) + identity * 3}, b"prtr", b"Lab "
    )


@pytest.mark.parametrize("format", BY_PILLOW)
def test_every_allowed_format_is_read(format: str) -> None:
    read = image_io.open(encode(COLOR, format))
    assert read.format == format
    assert read.size == (40, 24)
    assert read.pixels.dtype == np.uint8
    assert read.alpha is None
    assert np.abs(read.pixels.astype(int) - COLOR).mean() < 6


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_and_gone(format: str, orientation: int) -> None:
    stored = {
        1: GRAY,
        2: GRAY[:, ::-1],
        3: GRAY[::-1, ::-1],
        4: GRAY[::-1],
        5: GRAY.T,
        6: np.rot90(GRAY),
        7: GRAY[::-1, ::-1].T,
        8: np.rot90(GRAY, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(np.repeat(stored[:, :, None], 3, 2), format, exif=exif.tobytes())
    read = image_io.open(data)
    gray = read.pixels if read.pixels.ndim == 2 else read.pixels.mean(axis=2)
    assert np.abs(gray.astype(int) - GRAY).max() < 12
    with Image.open(io.BytesIO(image_io.save(read))) as saved:
        assert saved.size == (40, 24)
        assert saved.getexif().get(0x0112, 1) == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_wild_orientation_and_a_broken_exif_block_are_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 77
    assert image_io.open(encode(GRAY, "JPEG", exif=exif.tobytes())).size == (40, 24)
    for format in ("JPEG", "PNG", "WEBP"):
        for block in (b"Exif\0\0II*\0garbage", b"Exif\0\0garbage"):
            assert image_io.open(encode(COLOR, format, exif=block)).size == (40, 24)


def test_a_wide_rgb_profile_is_converted_to_srgb() -> None:
    red = np.full((16, 16, 3), (180, 60, 60), np.uint8)
    read = image_io.open(encode(red, "PNG", icc_profile=WIDE))
    linear = (red[0, 0] / 255) ** 2.19921875
    to_xyz = np.array([[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]])
    wanted = skimage.color.xyz2rgb(to_xyz @ linear) * 255
    assert np.abs(wanted - red[0, 0]).max() > 20
    np.testing.assert_allclose(read.pixels[5, 5], wanted, atol=2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("profile", [GRAY_LINEAR, WIDE])
def test_a_profile_on_gray_is_converted_and_the_depth_kept(dtype: type, profile: bytes) -> None:
    top = np.iinfo(dtype).max
    stored = np.tile(np.linspace(0, top, 64).astype(dtype), (16, 1))
    read = image_io.open(encode(stored, "PNG", icc_profile=profile))
    linear = (stored[0] / top) ** (1.0 if profile is GRAY_LINEAR else 2.19921875)
    wanted = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert read.pixels.shape == (16, 64)
    assert read.pixels.dtype == dtype
    np.testing.assert_allclose(read.pixels[0] / top, wanted, atol=1.5 / 255)


@pytest.mark.parametrize("profile", [b"rubbish", WIDE[:200], GRAY_LINEAR])
def test_a_broken_or_unfitting_profile_is_ignored(profile: bytes) -> None:
    np.testing.assert_array_equal(image_io.open(encode(COLOR, "PNG", icc_profile=profile)).pixels, COLOR)


@pytest.mark.parametrize(("mode", "format"), [("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF")])
def test_sixteen_bit_gray_is_kept_exactly(mode: str, format: str) -> None:
    stored = np.linspace(0, 65_535, 960).astype(mode).reshape(24, 40)
    image = Image.frombytes("I;16B" if mode == ">u2" else "I;16", (40, 24), stored.tobytes())
    read = image_io.open(encode(image, format))
    assert read.pixels.dtype == np.uint16
    np.testing.assert_array_equal(read.pixels, stored)


def test_twelve_bit_gray_is_scaled_to_the_whole_range() -> None:
    row = bytes.fromhex("000fff800001") * 4  # 0, 4095, 2048, 1 in turn
    read = image_io.open(tiff(16, 8, row * 8, t258=(3, 12), t262=(3, 1)))
    assert read.pixels.dtype == np.uint16
    assert read.pixels[3, :4].tolist() == [round(value * 65_535 / 4_095) for value in (0, 4_095, 2_048, 1)]


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_comes_out_positive(bits: int) -> None:
    top = 2**bits - 1
    stored = np.tile(np.array([0, top, 7, 9], f"<u{bits // 8}"), (8, 2))
    read = image_io.open(tiff(8, 8, stored.tobytes(), t258=(3, bits), t262=(3, 0)))
    assert read.pixels[0, :3].tolist() == [top, 0, top - 7]


@pytest.mark.parametrize(
    ("values", "kind", "wanted"),
    [
        ([0, 1000, 65_535], 1, [0, 1000, 65_535]),
        ([0, 2**31, 2**32 - 1], 1, [0, 2**15, 65_535]),
        ([0, 2**30, 2**31 - 1], 2, [0, 2**15, 65_535]),
    ],
)
def test_32_bit_integers_are_scaled_not_clipped(values: list[int], kind: int, wanted: list[int]) -> None:
    stored = np.tile(np.array([*values, 0], "<u4"), (8, 2))
    read = image_io.open(tiff(8, 8, stored.tobytes(), t258=(3, 32), t262=(3, 1), t339=(3, kind)))
    assert read.pixels.dtype == np.uint16
    assert read.pixels[0, :3].tolist() == wanted


def test_negative_and_floating_point_tiffs_are_refused_with_the_reason() -> None:
    negative = np.full((8, 8), -5, "<i4")
    error = refusal(tiff(8, 8, negative.tobytes(), t258=(3, 32), t262=(3, 1), t339=(3, 2)))
    assert error.code == "photo_unsupported"
    assert "negative" in error.detail
    for odd in (1.5, -0.5, float("nan")):
        values = np.full((8, 8), 0.5, np.float32)
        values[3, 3] = odd
        error = refusal(encode(values, "TIFF"))
        assert error.code == "photo_unsupported"
        assert "floating point" in error.detail


INKS = np.array(
    [(0, 0, 0, 0), (255, 0, 0, 0), (0, 200, 100, 0), (0, 0, 0, 255)], np.uint8
)  # Adobe's CMYK of old
PAPER = [(255, 255, 255), (0, 255, 255), (255, 55, 155), (0, 0, 0)]


def ink_image() -> Image.Image:
    return Image.frombytes("CMYK", (32, 8), np.repeat(np.tile(INKS, (8, 1, 1)), 8, axis=1).tobytes())


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_becomes_srgb_the_right_way_round(format: str) -> None:
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {}
    read = image_io.open(encode(ink_image(), format, **options))
    np.testing.assert_allclose(read.pixels[4, 4::8], PAPER, atol=4)


def test_adobe_ycck_becomes_srgb_the_right_way_round() -> None:
    c, m, y, k = ink_image().split()
    luma, blue, red = Image.merge("RGB", (c, m, y)).convert("YCbCr").split()
    flipped = [band.point(lambda value: 255 - value) for band in (luma, blue, red)]
    data = encode(Image.merge("CMYK", (*flipped, k)), "JPEG", quality=100, subsampling=0)
    transform = data.index(b"Adobe") + 11
    read = image_io.open(data[:transform] + b"\x02" + data[transform + 1 :])
    np.testing.assert_allclose(read.pixels[4, 4::8], PAPER, atol=4)


def test_a_cmyk_profile_is_followed() -> None:
    read = image_io.open(encode(ink_image(), "TIFF", icc_profile=ink_profile()))
    red, green, blue = (int(value) for value in read.pixels[4, 12])
    assert red > green + 60 < blue + 120  # its cyan is red


def test_cielab_becomes_srgb() -> None:
    lab = np.array([(60.0, 40, 20), (50, -30, 30), (80, 0, 0), (40, 5, -25)])
    stored = np.rint(lab * [2.55, 1, 1]).astype(np.int16).astype(np.uint8)  # a and b are signed
    pixels = np.repeat(np.tile(stored, (8, 1, 1)), 8, axis=1)
    read = image_io.open(encode(Image.frombytes("LAB", (32, 8), pixels.tobytes()), "TIFF"))
    wanted = skimage.color.lab2rgb(lab)  # whose white is another, and adapted more simply
    np.testing.assert_allclose(read.pixels[4, 4::8], wanted * 255, atol=12)


def test_alpha_is_kept_aside_and_put_back() -> None:
    alpha = np.roll(GRAY, 3, axis=1)
    for pixels, mode in ((GRAY, "LA"), (COLOR, "RGBA")):
        image = Image.fromarray(pixels)
        image.putalpha(Image.fromarray(alpha))
        assert image.mode == mode
        read = image_io.open(encode(image, "PNG"))
        np.testing.assert_array_equal(read.pixels, pixels)
        np.testing.assert_array_equal(read.alpha, alpha)
        again = image_io.open(image_io.save(read))
        np.testing.assert_array_equal(again.pixels, pixels)
        np.testing.assert_array_equal(again.alpha, alpha)


def test_an_alpha_that_hides_nothing_is_dropped() -> None:
    image = Image.fromarray(COLOR)
    image.putalpha(255)
    assert image_io.open(encode(image, "PNG")).alpha is None


@pytest.mark.parametrize("format", ["PNG", "GIF"])
def test_a_transparent_palette_entry_becomes_alpha(format: str) -> None:
    image = Image.new("P", (16, 16), 1)
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.paste(0, (0, 0, 8, 16))
    read = image_io.open(encode(image, format, transparency=0))
    assert read.pixels[0, 12].tolist() == [200, 100, 50]
    assert read.alpha is not None
    assert (read.alpha[0, 0], read.alpha[0, 12]) == (0, 255)


@pytest.mark.parametrize(
    ("pixels", "key"),
    [
        (np.full((8, 8), 9, np.uint8), 9),
        (np.full((8, 8, 3), (9, 8, 9), np.uint8), (9, 8, 9)),
        (np.full((8, 8), 900, np.uint16), 900),
    ],
)
def test_a_transparent_color_becomes_alpha(pixels: np.ndarray, key: object) -> None:
    pixels = pixels.copy()
    pixels[:, 4:] = 200
    read = image_io.open(encode(pixels, "PNG", transparency=key))
    np.testing.assert_array_equal(read.pixels, pixels)
    assert read.alpha is not None
    assert read.alpha[0].tolist() == [0] * 4 + [255] * 4


def test_one_bit_is_expanded_to_black_and_white() -> None:
    read = image_io.open(encode(Image.fromarray(GRAY > 100), "PNG"))
    np.testing.assert_array_equal(read.pixels, np.where(GRAY > 100, 255, 0))


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_an_animation_is_refused(format: str) -> None:
    frames = [Image.fromarray(COLOR), Image.fromarray(255 - COLOR)]
    error = refusal(encode(frames[0], format, save_all=True, append_images=frames[1:]))
    assert error.code == "photo_animated"
    assert "animation" in error.detail


def test_a_jpeg_with_further_pictures_inside_gives_the_first() -> None:
    data = encode(Image.fromarray(COLOR), "MPO", save_all=True, append_images=[Image.fromarray(255 - COLOR)])
    read = image_io.open(data)
    assert read.format == "JPEG"
    assert np.abs(read.pixels.astype(int) - COLOR).mean() < 6


def test_what_is_not_a_photo_is_refused_whatever_its_name() -> None:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="90" height="90"/>'
    for data in (b"just a text", b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", svg, b"\0"):
        assert refusal(data).code == "photo_unsupported"
    assert refusal(b"").code == "photo_empty"


@pytest.mark.parametrize("format", [format for format in BY_PILLOW if format != "TGA"])  # known by its end
def test_a_file_cut_off_anywhere_is_refused_as_damaged(format: str) -> None:
    data = encode(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), format)
    for tenth in range(1, 10):
        assert refusal(data[: len(data) * tenth // 10]).code == "photo_damaged", f"{tenth * 10} %"


def test_a_wrong_checksum_is_refused_as_damaged() -> None:
    data = bytearray(encode(COLOR, "PNG"))
    data[data.index(b"IDAT") + 8] ^= 0xFF
    assert refusal(bytes(data)).code == "photo_damaged"


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((1, 1), "photo_too_small"),
        ((7, 100), "photo_too_small"),
        ((510, 10), "photo_too_small"),
        ((16_385, 400), "photo_too_large"),
        ((8_000, 8_000), "photo_too_large"),
        ((12_000, 12_000), "photo_too_large"),
    ],
)
def test_size_limits_refuse_by_the_header_alone(size: tuple[int, int], code: str) -> None:
    assert refusal(png(*size, 8, b"not even compressed")).code == code


def test_the_limits_themselves_are_allowed() -> None:
    limits = Limits(max_pixels=8 * 400, max_side=400)
    assert image_io.open(encode(np.zeros((8, 400), np.uint8), "PNG"), limits).size == (400, 8)
    assert refusal(encode(np.zeros((8, 401), np.uint8), "PNG"), limits).code == "photo_too_large"


def test_a_file_with_too_many_bytes_is_refused_with_both_numbers() -> None:
    error = refusal(encode(COLOR, "PNG") + b"\0" * 3 * 2**20, Limits(max_bytes=2 * 2**20))
    assert error.code == "photo_too_large"
    assert "3.0 MiB" in error.detail
    assert "2 MiB" in error.detail


def _large_jpeg() -> bytes:
    return imagecodecs.jpeg8_encode(np.zeros((5_000, 5_000), np.uint16), bitspersample=12)


@functools.cache
def bombs() -> dict[str, bytes]:
    """Each takes over 40 MiB where it is decoded, which the tests would see."""
    rows = zlib.compress(b"\0" * 1_251 * 10_000)
    webp = bytearray(encode(np.zeros((8, 8, 3), np.uint8), "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", (12_999) | (12_999 << 14))
    blank = zlib.compress(b"\0" * 2**26)
    return {
        "PNG": png(10_000, 10_000, 1, rows),
        "WebP": bytes(webp),
        "GIF": b"GIF89a"
        + struct.pack("<HH", 65_535, 65_535)
        + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\2\2\x4c\1\0;",
        "TIFF strip of 16 bits": tiff(64, 64, blank, t258=(3, 16), t259=(3, 8), t262=(3, 1)),
        "TIFF tile of 16 bits": tiff(
            64, 64, blank, t258=(3, 16), t259=(3, 8), t262=(3, 1), t322=(4, 2**13), t323=(4, 2**13)
        ),
        "JPEG inside a TIFF": tiff(64, 64, _large_jpeg(), t258=(3, 12), t259=(3, 7), t262=(3, 1)),
        "TIFF tile": tiff(
            64, 64, blank, t258=(3, 8), t259=(3, 8), t262=(3, 1), t322=(4, 2**13), t323=(4, 2**13)
        ),
    }


MEASURE = """
import resource, sys
from model import image_io
from model.errors import PhotoError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

data = sys.stdin.buffer.read()
before = peak()
try:
    image_io.open(data)
except PhotoError as error:
    print(error.code, peak() - before)
"""


WITHIN = ("TIFF strip of 16 bits", "TIFF tile of 16 bits", "JPEG inside a TIFF")
"""What states a small size, and holds more."""


@pytest.mark.parametrize("name", ["PNG", "WebP", "GIF", "TIFF tile", *WITHIN])
def test_a_bomb_is_refused_before_it_takes_memory(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURE], input=bombs()[name], capture_output=True, check=True
    )
    code, mebibytes = done.stdout.split()
    assert code == (b"photo_damaged" if name in WITHIN else b"photo_too_large")
    assert int(mebibytes) < 40


def crowded(tag: int, kind: int, values: bytes) -> bytes:
    """A TIFF of 64 × 64 pixels, whole but for a tag with very many values."""
    strip = bytes(64 * 64)
    sizes = {3: 2, 4: 4, 5: 8, 10: 8, 12: 8}
    entries = [
        (256, 3, 1, 64),
        (257, 3, 1, 64),
        (258, 3, 1, 8),
        (259, 3, 1, 1),
        (262, 3, 1, 1),
        (273, 4, 1, 8),
    ]
    entries += [(277, 3, 1, 1), (278, 3, 1, 64), (279, 4, 1, len(strip))]
    entries = [entry for entry in entries if entry[0] != tag]
    entries.append((tag, kind, len(values) // sizes[kind], 8 + len(strip)))
    directory = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    header = struct.pack("<2sHI", b"II", 42, 8 + len(strip) + len(values))
    return header + strip + values + struct.pack("<H", len(entries)) + directory + b"\0\0\0\0"


RATIONALS = 3 * 2**20  # of eight bytes each
CROWDS = [
    "TIFF",
    "TIFF of 16 bits",
    "TIFF, signed",
    "TIFF of shorts",
    "TIFF of doubles",
    "JPEG",
    "PNG",
    "WebP",
    "AVIF",
]


def crowd(name: str) -> bytes:
    """A file of 24 MiB, most of which are numbers of one tag of a TIFF, or of the EXIF block of another format."""
    values = struct.pack("<II", 300, 1) * RATIONALS
    match name:
        case "TIFF":
            return crowded(282, 5, values)  # XResolution
        case "TIFF of 16 bits":
            return crowded(258, 3, b"\x10\0" * (4 * RATIONALS))  # BitsPerSample
        case "TIFF, signed":
            return crowded(283, 10, values)  # YResolution
        case "TIFF of shorts":
            return crowded(282, 3, values)
        case "TIFF of doubles":
            return crowded(274, 12, values)  # Orientation
        case "JPEG":
            photo, exif = encode(COLOR, "JPEG"), crowded(282, 5, values)
            parts = [exif[at : at + 65_000] for at in range(0, len(exif), 65_000)]
            blocks = (b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
            return photo[:2] + b"".join(blocks) + photo[2:]
    data = encode(
        COLOR, name.upper(), exif=crowded(285, 5, values)
    )  # PageName, for Pillow reads Orientation when it writes
    return data.replace(struct.pack("<HHI", 285, 5, RATIONALS), struct.pack("<HHI", 274, 5, RATIONALS))


CROWD = """
import resource, sys, time
from model import image_headers, image_io
from model.errors import PhotoError

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

data = sys.stdin.buffer.read()
for read in (image_headers.probe, image_io.open):
    before, start = peak(), time.process_time()
    try:
        read(data)
        found = "read"
    except PhotoError as error:
        found = error.code
    print(found, peak() - before, time.process_time() - start)
"""


@pytest.mark.parametrize("name", CROWDS)
def test_tags_of_millions_of_numbers_take_neither_time_nor_memory(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CROWD], input=crowd(name), capture_output=True, check=True
    )
    probed, opened = (line.split() for line in done.stdout.decode().splitlines())
    assert probed[0] == "read"
    assert int(probed[1]) < 8
    assert float(probed[2]) < 0.5
    assert opened[0] in ("read", "photo_damaged")
    assert int(opened[1]) < 160
    assert float(opened[2]) < 3


def test_a_jpegs_first_exif_segment_counts_however_many_follow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = encode(COLOR, "JPEG", exif=exif.tobytes())
    start = photo.index(b"\xff\xe1")
    end = start + 2 + int.from_bytes(photo[start + 2 : start + 4], "big")
    more = b"\xff\xe1" + struct.pack(">H", 1008) + b"Exif\0\0" + bytes(1000)
    plain, crowded = image_io.open(photo), image_io.open(photo[:end] + 40 * more + photo[end:])
    assert plain.size == COLOR.shape[:2]
    np.testing.assert_array_equal(plain.pixels, crowded.pixels)


def test_what_is_probed_is_what_is_opened() -> None:
    for seed in seeds():
        header, read = probe(seed), image_io.open(seed)
        assert header.format == read.format
        assert {header.width, header.height} == set(read.size)
        assert header.frames == 1


def test_neither_torch_nor_anything_of_a_net_is_imported() -> None:
    look = "import sys; from model import image_io; print([name for name in sys.modules if name.split('.')[0] == 'torch'])"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_resolution_turns_with_the_photo() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert image_io.open(encode(GRAY, "JPEG", exif=exif.tobytes(), dpi=(300, 600))).dpi == (600, 300)


def test_threads_do_not_disturb_one_another() -> None:
    good, bad = encode(COLOR, "PNG"), png(50_000, 50_000, 1, b"")

    def outcome(number: int) -> str:
        try:
            return image_io.open(bad if number % 2 else good).format
        except PhotoError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(outcome, range(200))) == ["PNG", "photo_too_large"] * 100


def seeds() -> list[bytes]:
    """Small valid files of every format and mode."""
    small = np.ascontiguousarray(COLOR[:12, :16])
    exif = Image.Exif()
    exif[0x0112] = 6
    files = [encode(small, format, exif=exif.tobytes()) for format in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF")]
    files += [encode(small, format) for format in ("GIF", "BMP", "PPM", "TGA", "JPEG2000")]
    files += [encode(ink_image(), "JPEG"), encode(small[:, :, 0].astype(np.uint16) * 257, "TIFF")]
    files += [encode(small, "TIFF", compression=name) for name in ("tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    files += [encode(small, "PNG", icc_profile=WIDE), encode(small[:, :, 0], "PNG", icc_profile=GRAY_LINEAR)]
    files.append(encode(Image.fromarray(small), "MPO", save_all=True, append_images=[Image.fromarray(small)]))
    files.append(encode(Image.fromarray(small).convert("P"), "PNG", transparency=1))
    return files


SEEDS = seeds()
EDIT = st.tuples(
    st.floats(0, 1, exclude_max=True), st.sampled_from(["set", "cut", "insert"]), st.binary(max_size=4)
)


@pytest.mark.filterwarnings("ignore")  # a service does not run with warnings as errors: look behind them
@settings(max_examples=600, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(SEEDS))), st.lists(EDIT, min_size=1, max_size=6))
def test_whatever_the_bytes_it_is_a_photo_or_a_refusal(
    seed: int, edits: list[tuple[float, str, bytes]]
) -> None:
    data = SEEDS[seed]
    for where, what, new in edits:
        at = int(where * len(data))
        data = data[:at] + new + data[at + (0 if what == "insert" else len(new) if what == "set" else 40) :]
    try:
        read = image_io.open(data, Limits(max_pixels=1_000_000))
    except PhotoError:
        return
    assert read.pixels.shape in {(read.height, read.width), (read.height, read.width, 3)}
    assert read.pixels.dtype in (np.uint8, np.uint16)
    assert read.alpha is None or read.alpha.shape == (read.height, read.width)
    assert image_io.open(image_io.save(read)).size == read.size
