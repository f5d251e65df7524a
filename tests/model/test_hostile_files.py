"""Files made to take long, to take memory, to pass for a photo, or to cost one its picture."""

from __future__ import annotations

import io
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from model import image_io
from model.errors import PhotoError
from model.formats import profiles
from model.image_headers import Limits, probe
from model.metadata import blocks

SECONDS = 2.0
"""Of CPU, for what took from twenty seconds to days."""

_down, _across = np.mgrid[0:48, 0:64]
GRAY = (127 + 60 * np.sin(_across / 5) * np.cos(_down / 4) + _down / 2).clip(0, 255).astype(np.uint8)
COLOR = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)


def saved(pixels: np.ndarray, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def in_time(work: Callable[[], Any]) -> Any:
    """What `work` gives, which has not taken long."""
    start = time.process_time()
    done = work()
    assert time.process_time() - start < SECONDS
    return done


def refusal(data: bytes) -> str:
    """The code of the error that refuses the file, which has not taken long."""

    def attempt() -> str:
        with pytest.raises(PhotoError) as refused:
            image_io.open(data)
        return refused.value.code

    return in_time(attempt)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: tuple[bytes, bytes], pixels: np.ndarray = GRAY, rows: bytes | None = None) -> bytes:
    file = saved(pixels, "PNG")
    added = b"".join(chunk(kind, body) for kind, body in chunks)
    if rows is None:
        return file[:33] + added + file[33:]
    return file[:33] + added + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(
    size: tuple[int, int],
    compression: int,
    data: bytes,
    places: Sequence[tuple[int, int]],
    bits: int = 8,
    tile: int = 0,
) -> bytes:
    """Gray, little-endian, with strips of one row, or tiles, at (offset, count)."""
    number = len(places)
    offsets, counts = (struct.pack(f"<{number}I", *column) for column in zip(*places, strict=True))
    width, height = size
    tags: list[tuple[int, int, int, bytes]] = [
        (256, 4, 1, struct.pack("<I", width)),
        (257, 4, 1, struct.pack("<I", height)),
        (258, 3, 1, struct.pack("<HH", bits, 0)),
        (259, 3, 1, struct.pack("<HH", compression, 0)),
        (262, 3, 1, struct.pack("<HH", 1, 0)),
    ]
    if tile:
        tags += [(kind, 4, 1, struct.pack("<I", tile)) for kind in (322, 323)]
        tags += [(324, 4, number, offsets), (325, 4, number, counts)]
    else:
        tags += [
            (273, 4, number, offsets),
            (278, 4, 1, struct.pack("<I", -(-height // number))),
            (279, 4, number, counts),
        ]
    start = 8 + len(data)
    entries, behind = struct.pack("<H", len(tags)), b""
    for tag, kind, count, value in tags:
        if len(value) > 4:
            behind, value = behind + value, struct.pack("<I", start + 6 + 12 * len(tags) + len(behind))
        entries += struct.pack("<HHI", tag, kind, count) + value
    return b"II*\0" + struct.pack("<I", start) + data + entries + bytes(4) + behind


# What takes long


def test_directories_of_a_tiff_that_overlap_are_done_with_soon() -> None:
    """Each of a million has 4,096 entries, and they share their bytes."""
    rows = np.zeros(2**20, dtype=[("count", "<u2"), ("next", "<u4"), ("rest", "S6")])
    rows["count"] = 4096
    places = np.arange(2**20)
    rows["next"] = np.where(places > 4096, (places - 4095) * 12, 0)
    page = bytearray(tiff((64, 48), 1, GRAY.tobytes(), [(8, GRAY.size)]))
    (first,) = struct.unpack_from("<I", page, 4)
    body = bytearray(rows.tobytes())
    shift = len(body)
    (entries,) = struct.unpack_from("<H", page, first)
    struct.pack_into("<I", page, first + 2 + 12 * entries, 12)
    body[:8] = b"II*\0" + struct.pack("<I", shift + first)
    assert len(body) % 12 == 0
    assert in_time(lambda: probe(bytes(body) + bytes(page))).width == 64


@pytest.mark.parametrize("bits", [8, 16])
def test_strips_that_share_megabytes_are_refused(bits: int) -> None:
    strip = zlib.compress(bytes(4000 * bits // 8)) + bytes(8 * 2**20)
    assert refusal(tiff((4000, 4000), 8, strip, [(8, len(strip))] * 4000, bits)) == "photo_damaged"


def test_tiles_of_jpegs_with_thousands_of_segments_are_refused() -> None:
    small = saved(np.zeros((16, 16), np.uint8), "JPEG")
    long = small[:2] + b"\xff\xd0" * 9_000 + small[2:]
    assert refusal(tiff((4000, 4000), 7, long, [(8, len(long))] * 250**2, tile=16)) == "photo_damaged"


@pytest.mark.parametrize("progressive", [True, False])
def test_a_jpeg_of_thousands_of_scans_is_refused(progressive: bool) -> None:
    file = saved(np.full((2000, 2000), 90, np.uint8), "JPEG", progressive=progressive)
    scan = b"\xff\xda\0\x08\1\1\0" + (b"\1\1\x10" if progressive else b"\0\x3f\0")
    assert refusal(file[:-2] + scan * 20_000 + b"\xff\xd9") == "photo_damaged"
    assert refusal(file[:-2] + scan * 20_000) == "photo_damaged"
    many = file[:-2] + scan * 20_000 + b"\xff\xd9"
    assert refusal(tiff((2000, 2000), 7, many, [(8, len(many))])) == "photo_damaged"


@pytest.mark.parametrize("scans", [10, 60])
def test_a_small_jpeg_may_have_dozens_of_scans(scans: int) -> None:
    file = saved(GRAY, "JPEG", progressive=True)
    again = b"\xff\xda\0\x08\1\1\0\1\1\x10"
    assert image_io.open(file[:-2] + again * scans + b"\xff\xd9").size == (64, 48)


def test_a_text_of_blank_lines_is_no_profile_and_is_done_with_soon() -> None:
    body = b"Raw profile type exif\0" + b"\n" * 200_000
    assert in_time(lambda: blocks.of_png(png((b"tEXt", body)))).exif == b""


def test_an_item_of_millions_of_extents_is_done_with_soon() -> None:
    count = 65_535
    item = struct.pack(">HHH", 1, 0, count) + bytes(count)  # a length of one byte each, which no file has
    places = bytes(4) + b"\x01\x00" + struct.pack(">H", 300) + item * 300
    assert in_time(lambda: blocks._item_places(places, 0, len(places), 0)) == {
        1: [(0, 0)] * blocks._MOST_EXTENTS
    }


def test_an_xmp_packet_of_a_million_elements_is_dropped() -> None:
    head = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    )
    packet = head + b"<r:Description>" + b"<a/>" * 900_000 + b"</r:Description></r:RDF></x:xmpmeta>"
    file = png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet))
    assert in_time(lambda: image_io.open(file)).metadata.xmp == b""


# What takes memory


def test_a_pnm_of_comments_is_refused_and_one_with_some_is_opened() -> None:
    assert refusal(b"P2\n64 48\n255\n" + b"1#\n" * 2_000_000) == "photo_damaged"
    numbers = b"#a\n".join(b" ".join(b"%d" % value for value in row) for row in GRAY)
    assert (image_io.open(b"P2\n64 48\n255\n" + numbers).pixels == GRAY).all()


def test_a_jpeg_2000_of_ten_thousand_tiles_is_refused() -> None:
    assert refusal(saved(np.zeros((200, 200), np.uint8), "JPEG2000", tile_size=(2, 2))) == "photo_damaged"
    file = saved(np.zeros((200, 200), np.uint8), "JPEG2000", tile_size=(32, 32))
    assert image_io.open(file).size == (200, 200)


@pytest.mark.parametrize("kind", [3, 4, 2, 5])
def test_a_tiffs_profile_that_is_no_bytes_costs_neither_memory_nor_picture(kind: int) -> None:
    file = io.BytesIO()
    pixels = GRAY.astype(np.uint16) * 257
    tifffile.imwrite(file, pixels, photometric="minisblack", iccprofile=b"\1\2\3\4", metadata=None)
    data = bytearray(file.getvalue())
    place = data.index(struct.pack("<HH", 34675, 7))
    data[place : place + 12] = struct.pack("<HHII", 34675, kind, 1, 2**32 - 1)
    assert (image_io.open(bytes(data)).pixels == pixels).all()


# What passes for a photo


def test_a_png_of_too_few_pixels_is_not_taken_for_a_black_one() -> None:
    rows = b"".join(b"\0" + row.tobytes() for row in GRAY)
    for broken in (rows[: 65 * 20], rows[: 65 * 20] + b"\x09" + rows[65 * 20 + 1 :]):
        with pytest.raises(PhotoError) as error:
            image_io.open(png(rows=broken))
        assert "41%" in error.value.detail
        photo = image_io.open(png(rows=broken), partial=True)
        assert photo.frame == (0, 0, 20, 64)
        assert (photo.pixels[:20] == GRAY[:20]).all()
    dark = np.where(_down < 40, GRAY, 0).astype(np.uint8)
    assert (image_io.open(saved(dark, "PNG")).pixels == dark).all(), "a black rim is a picture"


@pytest.mark.parametrize("pixels", [GRAY, COLOR])
def test_a_jpeg_that_was_cut_off_and_given_an_end_mark_is_not_taken_for_a_flat_one(
    pixels: np.ndarray,
) -> None:
    large = np.kron(pixels, np.ones((8, 8) + (1,) * (pixels.ndim - 2), np.uint8))
    file = saved(large, "JPEG", quality=95)
    for share in (0.5, 0.8):
        assert refusal(file[: int(len(file) * share)] + b"\xff\xd9") == "photo_damaged"
    photo = image_io.open(file[: len(file) // 2] + b"\xff\xd9", partial=True)
    assert photo.frame is not None
    assert 0.3 < photo.frame[2] / photo.height < 0.7
    large[-40:] = 0
    for options in ({}, {"progressive": True}, {"restart_marker_rows": 1}):
        assert image_io.open(saved(large, "JPEG", **options)).frame is None, "a black rim is a picture"


@pytest.mark.parametrize("entries", [0, 5, 770])
def test_a_png_whose_palette_is_none_is_not_taken_for_a_black_one(entries: int) -> None:
    file = io.BytesIO()
    Image.fromarray(COLOR).quantize(16).save(file, "PNG")
    data = file.getvalue()
    place = data.index(b"PLTE") - 4
    length = int.from_bytes(data[place : place + 4], "big")
    assert image_io.open(data).size == (64, 48)
    assert (
        refusal(data[:place] + chunk(b"PLTE", bytes(entries)) + data[place + 12 + length :])
        == "photo_damaged"
    )


@pytest.mark.parametrize("bits", [8, 16])
def test_a_tiff_whose_strips_have_no_bytes_is_not_taken_for_a_black_one(bits: int) -> None:
    assert refusal(tiff((64, 48), 8, b"", [(0, 0)] * 48, bits)) == "photo_damaged"


# What must not cost the picture


BROKEN_CHUNKS = {
    "primaries on one line": (b"cHRM", struct.pack(">8I", 31270, 32900, *(10000, 10000, 20000, 20000, 30000, 30000))),
    "primaries of one point": (b"cHRM", struct.pack(">8I", 31270, 32900, *(30000, 30000) * 3)),
    "short dimensions": (b"pHYs", b"\0\0"),
    "a text that is a bomb": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(60 * 2**20))),
    "a text that does not inflate": (b"zTXt", b"Raw profile type exif\0\0abc"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_CHUNKS)
def test_a_broken_chunk_does_not_cost_a_png_its_picture(name: str) -> None:
    assert (image_io.open(png(BROKEN_CHUNKS[name], pixels=COLOR)).pixels == COLOR).all()


def test_a_color_key_of_another_length_does_not_cost_a_png_its_picture() -> None:
    assert (image_io.open(png((b"tRNS", b"\0"))).pixels == GRAY).all()


def test_a_broken_first_segment_does_not_cost_a_jpeg_its_picture() -> None:
    file = saved(GRAY, "JPEG")
    assert file[2:4] == b"\xff\xe0"
    short = file[:2] + b"\xff\xe0\0\x08JFIF\0\1" + file[20:]
    assert (image_io.open(short).pixels == image_io.open(file).pixels).all()


def test_a_tag_that_says_billions_of_values_does_not_cost_a_tiff_its_picture() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, COLOR, photometric="rgb", extratags=[(254, 4, 1, 0, True)], metadata=None)
    data = bytearray(file.getvalue())
    place = data.index(struct.pack("<HHI", 254, 4, 1))
    data[place : place + 12] = struct.pack("<HHII", 254, 4, 2**31 - 1, 8)
    assert (image_io.open(bytes(data)).pixels == COLOR).all()


def _profile(curve: bytes) -> bytes:
    """Of sRGB, with another curve for all three channels."""
    made = bytearray(profiles.gamma_profile(2.2))
    (count,) = struct.unpack_from(">I", made, 128)
    for at in range(132, 132 + 12 * count, 12):
        if made[at + 1 : at + 4] == b"TRC":
            struct.pack_into(">II", made, at + 4, len(made), len(curve))
    made += curve
    struct.pack_into(">I", made, 0, len(made))
    return bytes(made)


BROKEN_PROFILES = {
    "a curve of four billion values": _profile(b"curv\0\0\0\0" + b"\xff" * 4 + bytes(8)),
    "a parametric curve of no light": _profile(b"para\0\0\0\0\0\0\0\0" + bytes(4)),
    "a curve of black": _profile(b"curv\0\0\0\0\0\0\0\2" + bytes(4)),
    "a name that is no ASCII": profiles.gamma_profile(2.2)[:16] + b"R\xff\xff " + profiles.gamma_profile(2.2)[20:],
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN_PROFILES)
@pytest.mark.parametrize("deep", [False, True])
def test_a_broken_profile_does_not_cost_the_picture(name: str, deep: bool) -> None:
    pixels = COLOR.astype(np.uint16) * 257 if deep else COLOR
    file = io.BytesIO()
    tifffile.imwrite(file, pixels, photometric="rgb", iccprofile=BROKEN_PROFILES[name], metadata=None)
    photo = image_io.open(file.getvalue())
    assert photo.pixels.shape == COLOR.shape
    assert photo.pixels.std() > 10 * (257 if deep else 1), "something is left to be seen"
    gray = profiles.gray_to_srgb(pixels[..., 0], BROKEN_PROFILES[name])
    assert gray.std() > 10 * (257 if deep else 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (2, 3), (8, 400)])
def test_the_smallest_and_narrowest_pictures_are_saved_with_a_mark(size: tuple[int, int]) -> None:
    photo = image_io.Photo(np.full(size[::-1], 100, np.uint8), None, "PNG")
    for format in image_io.WRITABLE:
        saved_file = image_io.save(photo, image_io.SaveOptions(format=format, mark=True))
        assert image_io.open(saved_file, Limits.none()).size == size


# Several at once


def test_readers_and_writers_in_several_threads_get_what_one_gets() -> None:
    files = [
        saved(COLOR, "JPEG"),
        saved(COLOR, "PNG"),
        saved(COLOR, "WEBP"),
        saved(COLOR, "AVIF"),
        saved(COLOR, "JPEG2000"),
        saved(COLOR, "TIFF", compression="tiff_lzw"),
        bytes(imagecodecs.png_encode(COLOR.astype(np.uint16) * 257)),
        bytes(imagecodecs.jpegxl_encode(COLOR, lossless=True)),
    ]

    def through(file: bytes) -> tuple[bytes, bytes]:
        photo = image_io.open(file)
        return photo.pixels.tobytes(), image_io.save(photo, image_io.SaveOptions(format="TIFF"))

    alone = [through(file) for file in files]
    with ThreadPoolExecutor(8) as threads:
        together = list(threads.map(through, files * 20))
    assert together == alone * 20
