"""Files that are not all there: what is, is opened, with a notice; or the refusal says how much it is."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import tifffile
from PIL import Image

from model import image_io
from model.errors import PhotoError
from model.image_headers import Limits

COFFEE = Image.open(Path(skimage.data.__file__).parent / "coffee.png").convert("RGB")
GRAY = COFFEE.convert("L")


def made(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def tiff(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, metadata=None, **options)
    return file.getvalue()


def opened(data: bytes, **options: Any) -> image_io.Photo:
    return image_io.open(data, Limits.none(), **options)


def share(data: bytes) -> int:
    """The percents that the refusal of a file states."""
    with pytest.raises(PhotoError) as caught:
        opened(data)
    assert caught.value.code == "photo_damaged"
    said = re.fullmatch(r"The file is cut off: (\d+)% of the picture is there\.", caught.value.sentence)
    assert said, caught.value.sentence
    return int(said[1])


def codes(photo: image_io.Photo) -> list[str]:
    return [notice.code for notice in photo.notices]


G16 = np.asarray(GRAY).astype(np.uint16) * 257
CUTTABLE = {
    "JPEG": lambda: made(GRAY, "JPEG", quality=90),
    "JPEG in color": lambda: made(COFFEE, "JPEG", quality=80),
    "JPEG, CMYK": lambda: made(COFFEE.convert("CMYK"), "JPEG", quality=80),
    "PNG": lambda: made(GRAY, "PNG"),
    "PNG in color": lambda: made(COFFEE, "PNG"),
    "BMP": lambda: made(GRAY, "BMP"),
    "PGM": lambda: made(GRAY, "PPM"),
    "TIFF": lambda: tiff(np.asarray(GRAY), photometric="minisblack"),
    "TIFF, 16 bits": lambda: tiff(G16, photometric="minisblack"),
    "TIFF, 16 bits, strips": lambda: tiff(G16, photometric="minisblack", rowsperstrip=10, compression="lzw"),
}


@pytest.mark.parametrize("kind", CUTTABLE)
def test_the_refusal_says_how_much_is_there_and_partial_opens_that_much(kind: str) -> None:
    data = CUTTABLE[kind]()
    whole = opened(data)
    for part in (0.35, 0.8):
        cut = data[: int(len(data) * part)]
        percents = share(cut)
        photo = opened(cut, partial=True)
        assert codes(photo) == ["file_cut_off"]
        assert f"{percents}%" in photo.notices[0].detail
        assert photo.size == whole.size
        top, left, bottom, right = photo.frame or (0, 0, 0, 0)
        if kind != "BMP":  # whose rows run from the bottom up
            assert top == left == 0
        assert right == whole.width
        rows = (bottom - top) / whole.height
        assert rows * 100 >= percents - 1
        assert abs(rows * 100 - percents) < 6
        assert abs(percents - part * 100) < 15
        inside = slice(top + 16, bottom - 16)
        np.testing.assert_array_equal(photo.pixels[inside], whole.pixels[inside])
        outside = np.delete(photo.pixels, np.s_[top:bottom], axis=0)
        assert outside.size
        assert set(np.unique(outside)) == {128 if photo.pixels.dtype == np.uint8 else 32_768}


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("lost", [1, 2])
def test_a_jpeg_without_its_end_mark_is_whole(options: dict[str, Any], mode: str, lost: int) -> None:
    data = made(COFFEE.convert(mode), "JPEG", **options)
    photo = opened(data[:-lost])
    assert codes(photo) == ["file_end_missing"]
    np.testing.assert_array_equal(photo.pixels, opened(data).pixels)
    assert photo.frame is None


def test_a_jpeg_whose_end_is_zeros_is_as_much_as_it_was_before_them() -> None:
    data = made(GRAY, "JPEG", quality=90)
    half = data[: len(data) // 2]
    assert share(half + bytes(len(data) // 2)) == share(half)
    assert codes(opened(data[:-2] + bytes(5000))) == ["file_end_missing"]


def test_a_progressive_jpeg_that_is_cut_off_is_all_there_but_coarser() -> None:
    data = made(GRAY, "JPEG", progressive=True)
    cut = data[: len(data) * 8 // 10]
    with pytest.raises(PhotoError, match="coarser"):
        opened(cut)
    photo = opened(cut, partial=True)
    assert "file_cut_off" in codes(photo)
    coarse = np.abs(photo.pixels[:200].astype(int) - opened(data).pixels[:200]).mean()
    assert coarse < 12


def test_a_cut_off_jpeg_on_its_side_has_its_frame_where_a_person_sees_it() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = made(GRAY, "JPEG", exif=exif.tobytes())
    photo = opened(data[: len(data) // 2], partial=True)
    assert photo.size == (400, 600)
    top, left, bottom, right = photo.frame or (0, 0, 0, 0)
    assert (top, bottom, right) == (0, 600, 400)
    assert 100 < left < 300


@pytest.mark.parametrize("lost", [1, 12, 14])
def test_a_png_without_its_end_mark_is_whole(lost: int) -> None:
    data = made(GRAY, "PNG")
    photo = opened(data[:-lost])
    assert codes(photo) == ["file_end_missing"]
    np.testing.assert_array_equal(photo.pixels, np.asarray(GRAY))


@pytest.mark.parametrize("kind", [b"tEXt", b"tIME", b"iCCP", b"gAMA"])
def test_a_png_with_a_wrong_checksum_in_a_chunk_that_is_no_picture_is_opened(kind: bytes) -> None:
    data = made(GRAY, "PNG")
    body = b"Title\0grandmother"
    data = data[:33] + struct.pack(">I4s", len(body), kind) + body + b"\1\2\3\4" + data[33:]
    photo = opened(data)
    assert codes(photo) == ["file_checksum_wrong"]
    assert kind.decode() in photo.notices[0].detail
    np.testing.assert_array_equal(photo.pixels, np.asarray(GRAY))


def test_a_png_with_a_wrong_checksum_in_its_pixels_is_refused_or_opened_up_to_there() -> None:
    data = bytearray(made(COFFEE, "PNG"))
    spots = [found.start() for found in re.finditer(b"IDAT", bytes(data))]
    data[spots[len(spots) // 2] + 300] ^= 0xFF
    percents = share(bytes(data))
    assert 20 < percents < 80
    photo = opened(bytes(data), partial=True)
    bottom = (photo.frame or (0, 0, 0, 0))[2]
    np.testing.assert_array_equal(photo.pixels[: bottom - 1], np.asarray(COFFEE)[: bottom - 1])


@pytest.mark.parametrize("image", [GRAY, COFFEE])
def test_a_png_whose_pixels_are_right_by_their_own_checksum_is_opened(image: Image.Image) -> None:
    data = bytearray(made(image, "PNG"))
    first = data.index(b"IDAT")
    length = int.from_bytes(data[first - 4 : first], "big")
    data[first + 4 + length] ^= 1  # the first byte of the chunk's checksum
    photo = opened(bytes(data))
    assert codes(photo) == ["file_checksum_wrong"]
    np.testing.assert_array_equal(photo.pixels, np.asarray(image))


def test_a_webp_says_how_much_of_the_file_is_there() -> None:
    data = made(GRAY, "WEBP")
    with pytest.raises(PhotoError, match="40% of it is there"):
        opened(data[: len(data) * 2 // 5 + 2])


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_bytes_behind_the_end_and_a_wrong_name_and_a_broken_record_cost_nothing() -> None:
    exif = Image.Exif()
    exif[0x9003] = "1943:06:17 12:00:00"
    data = made(GRAY, "JPEG", exif=exif)
    plain = opened(made(GRAY, "JPEG")).pixels
    at = data.index(b"Exif\0\0") + 10
    for odd in (data + bytes(5000) + b"SEFT", data[:at] + b"\xff\xff\xff\x7f" + data[at + 4 :]):
        photo = opened(odd)
        np.testing.assert_array_equal(photo.pixels, plain)
        assert photo.notices == ()


MEASURE = """
import resource, sys
import imagecodecs
from model import image_io
from model.image_headers import Limits

imagecodecs.jpeg8_decode  # loads the library
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
pixels = image_io.open(data, Limits.none()).pixels
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / pixels.nbytes)
"""


def test_a_large_gray_jpeg_is_decoded_into_one_copy() -> None:
    data = made(GRAY.resize((8_000, 6_000)), "JPEG", quality=50)
    done = subprocess.run([sys.executable, "-c", MEASURE], input=data, capture_output=True, check=True)
    assert float(done.stdout) < 1.3


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("compression", [None, "lzw", "adobe_deflate"])
@pytest.mark.parametrize("wrong", ["offset 0", "offset in the header", "no bytes"])
def test_a_tiffs_strip_that_is_nowhere_is_missing_and_not_black(
    depth: type, compression: str | None, wrong: str
) -> None:
    pixels = G16 if depth is np.uint16 else np.asarray(GRAY)
    data = bytearray(tiff(pixels, photometric="minisblack", rowsperstrip=50, compression=compression))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        tag = file.pages[0].tags[279 if wrong == "no bytes" else 273]
        size = 2 if tag.dtype == 3 else 4
        place = tag.valueoffset + 2 * size
    data[place : place + size] = (4 if "header" in wrong else 0).to_bytes(size, "little")
    assert share(bytes(data)) == 87  # seven of eight strips
    photo = opened(bytes(data), partial=True)
    kept = np.r_[0:100, 150:400]
    np.testing.assert_array_equal(photo.pixels[kept], pixels[kept])
    assert set(np.unique(photo.pixels[100:150])) == {128 if depth is np.uint8 else 32_768}


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_strips_that_lie_over_one_another_are_refused_and_equal_ones_may_share_a_place(depth: type) -> None:
    pixels = (G16 if depth is np.uint16 else np.asarray(GRAY)).copy()
    pixels[50:100] = pixels[0:50]
    data = bytearray(tiff(pixels, photometric="minisblack", rowsperstrip=50))
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        place, first = file.pages[0].tags[273].valueoffset + 4, file.pages[0].dataoffsets[0]
    struct.pack_into("<I", data, place, first)
    np.testing.assert_array_equal(opened(bytes(data)).pixels, pixels)
    struct.pack_into("<I", data, place, first + 100)
    for partial in (False, True):
        with pytest.raises(PhotoError, match="lie over one another"):
            opened(bytes(data), partial=partial)


RESTARTS = {
    "gray": ("L", {}),
    "color, 4:2:0": ("RGB", {}),
    "color, 4:4:4": ("RGB", {"subsampling": 0}),
    "progressive": ("RGB", {"progressive": True}),
    "CMYK": ("CMYK", {}),
}


@pytest.mark.parametrize("kind", RESTARTS)
def test_a_jpeg_that_lost_something_in_its_middle_is_refused_where_its_restart_marks_tell(kind: str) -> None:
    mode, options = RESTARTS[kind]
    image = COFFEE.convert(mode).crop((0, 0, 333, 217))
    data = made(image, "JPEG", restart_marker_blocks=13, **options)
    whole = opened(data)
    np.testing.assert_array_equal(whole.pixels, opened(data, partial=True).pixels)
    first, second = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)][5:7]
    for broken in (data[:first] + data[second:], data[:first] + data[first + 2 :]):
        with pytest.raises(PhotoError, match="damaged in its middle"):
            opened(broken)
        part = opened(broken, partial=True)
        assert part.size == whole.size
        assert codes(part) == ["file_damaged"]
