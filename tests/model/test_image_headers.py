"""What a file's header says, within fixed time and memory."""

from __future__ import annotations

import io
import struct
import time
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model import image_headers, image_io
from model.errors import PhotoError
from model.image_headers import (
    ENDINGS,
    FORMATS,
    IN_WORDS,
    Header,
    Limits,
    end_of,
    memory_needed,
    photographs,
    probe,
)


def look(data: bytes) -> Header:
    file = io.BytesIO(data)
    header = probe(file)
    assert file.tell() == 0
    assert probe(data) == header
    return header


def refusal(data: bytes, limits: Limits = Limits()) -> str:
    with pytest.raises(PhotoError) as refused:
        probe(data, limits)
    assert refused.value.sentence.endswith(".")
    assert refused.value.advice.endswith(".")
    return refused.value.code


def png(width: int, height: int, rows: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("format", [format for format in FORMATS if format not in ("HEIF", "JXL")])
def test_a_photo_of_every_format_is_let_in_with_its_size(gray_photo, format):
    assert look(gray_photo(format)) == Header(format, 320, 240)


def test_a_progressive_jpeg_with_a_thumbnail_and_a_tail_is_whole(gray_photo):
    thumbnail = gray_photo(size=(32, 24))
    exif = Image.Exif()
    exif[0x8769] = {0x927C: thumbnail}
    photo = gray_photo(progressive=True, exif=exif.tobytes())
    assert thumbnail in photo
    assert look(photo + b"\0" * 100).format == "JPEG"
    assert look(photo + b"\0" * 100).whole
    assert not look(photo[:-200]).whole


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_behind_its_header_is_seen_to_be(gray_photo, format):
    photo = gray_photo(format)
    assert look(photo).whole
    for tenth in range(4, 10):
        assert not look(photo[: len(photo) * tenth // 10]).whole
    assert not look(photo[:-1]).whole
    assert refusal(photo[:16]) == "photo_damaged"


def test_a_jpeg_with_further_pictures_inside_is_one_photo(gray_photo):
    file = io.BytesIO()
    first, second = (Image.open(io.BytesIO(gray_photo(size=size))) for size in ((320, 240), (64, 48)))
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert look(file.getvalue()) == Header("JPEG", 320, 240)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "AVIF"])
def test_several_pictures_in_one_file_are_refused(format):
    frames = [Image.new("L", (32, 32), gray) for gray in (10, 200, 90)]
    file = io.BytesIO()
    frames[0].save(file, format, save_all=True, append_images=frames[1:])
    assert refusal(file.getvalue()) == "photo_animated"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "photo_empty"),
        (b"Dear sir or madam, " * 50, "photo_unsupported"),
        (b"%PDF-1.7\n" + b"\0" * 500, "photo_unsupported"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "photo_unsupported"),
        (b"\xff\xd8\xff\xe0 no more of it", "photo_damaged"),
        (png(50_000, 50_000), "photo_too_large"),
        (png(10_000, 9_500), "photo_too_large"),
        (png(17_000, 1_000), "photo_too_large"),
        (png(1, 1, b"\0\0"), "photo_too_small"),
        (png(2_000, 10), "photo_too_small"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_photo_is_refused_with_its_code(data, code):
    assert refusal(data) == code


def test_files_made_to_keep_the_door_busy_are_done_with_soon(gray_photo):
    filled = gray_photo().replace(b"\xff\xda", b"\xff" * 20_000_000 + b"\xda", 1)
    nothing = struct.pack(">I4sI", 0, b"nuLl", zlib.crc32(b"nuLl"))
    still = png(64, 64, bytes(65 * 64))
    chunked = still[:33] + nothing * 1_500_000 + still[33:]
    for photo in (filled, chunked):
        start = time.process_time()
        assert refusal(photo) == "photo_damaged"
        assert time.process_time() - start < 3


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_hostile_bytes_are_refused_or_let_in_but_never_raise_anything_else(gray_photo, data):
    photo = bytearray(
        gray_photo(
            data.draw(
                st.sampled_from(
                    ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF", "JPEG2000", "PPM", "TGA"]
                )
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, min(len(photo) - 1, 600)))] = data.draw(st.integers(0, 255))
    hostile = bytes(photo[: data.draw(st.integers(0, len(photo)))])
    try:
        found: Header | str = look(hostile)
    except PhotoError as refused:
        found = refused.code
    assert isinstance(found, Header) or found.startswith("photo_")


def test_the_words_name_every_format():
    names = IN_WORDS.replace(" or ", ", ").split(", ")
    called = {"HEIC": "HEIF", "JPEG 2000": "JPEG2000", "JPEG XL": "JXL", "PNM": "PPM", "WebP": "WEBP"}
    assert tuple(called.get(name, name) for name in names) == FORMATS
    assert tuple(ENDINGS) == FORMATS


def test_a_heic_and_an_avif_share_a_container_and_a_video_has_another_brand():
    def boxed(*brands: bytes) -> bytes:
        body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
        return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + bytes(64)

    assert refusal(boxed(b"mif1", b"mif1", b"heic")) == "photo_damaged", "it holds no picture"
    assert refusal(boxed(b"isom", b"isom", b"mp42")) == "photo_unsupported"
    assert refusal(boxed(b"mif1", b"mif1", b"avif")) == "photo_damaged", "it holds no picture"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_tiffs_of_either_byte_order_and_kind_say_their_size(order, big):
    entry = order + ("HHQQ" if big else "HHII")
    sides = [(256, 4, 1, 640), (257, 4, 1, 480)]
    if order == ">":
        sides = [(tag, kind, count, side << (32 if big else 0)) for tag, kind, count, side in sides]
    entries = b"".join(struct.pack(entry, *side) for side in sides)
    if big:
        head = struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16)
        data = head + struct.pack(order + "Q", 2) + entries + bytes(8)
    else:
        head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
        data = head + struct.pack(order + "H", 2) + entries + bytes(4)
    assert look(data) == Header("TIFF", 640, 480)


def test_a_bmp_from_top_to_bottom_has_a_height_and_a_gif_the_size_of_its_first_frame():
    bmp = b"BM" + bytes(12) + struct.pack("<IIi", 40, 64, -48) + bytes(28)
    assert look(bmp) == Header("BMP", 64, 48)
    gif = b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + b"," + struct.pack("<4HB", 4, 8, 60, 40, 0)
    assert look(gif + b"\2\0;") == Header("GIF", 64, 48)


def tiff_of(*pages: tuple[np.ndarray, dict[str, object]]) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for pixels, options in pages:
            writer.write(pixels, metadata=None, **({"photometric": "minisblack"} | options))
    return file.getvalue()


FULL, SMALL = np.zeros((40, 60), np.uint8), np.zeros((10, 15), np.uint8)
HALF = np.zeros((20, 31), np.uint8)  # a program that rounds up
COLOR = np.zeros((40, 60, 3), np.uint8)
THUMBNAIL: dict[str, object] = {"subfiletype": 1}
RGB: dict[str, object] = {"photometric": "rgb"}


@pytest.mark.parametrize(
    ("pages", "chosen", "all_of_them"),
    [
        ([(FULL, {})], 1, (1,)),
        ([(FULL, {}), (SMALL, THUMBNAIL)], 1, (1,)),
        ([(SMALL, THUMBNAIL), (FULL, {})], 2, (2,)),
        ([(SMALL, {}), (FULL, {})], 2, (2,)),
        ([(HALF, {}), (FULL, {})], 2, (2,)),
        ([(FULL, {}), (COLOR, RGB)], 2, (2,)),
        ([(FULL, {}), (FULL[:, :50], {})], 1, (1, 2)),
        ([(FULL, THUMBNAIL), (SMALL, THUMBNAIL)], 1, (1,)),
    ],
)
def test_the_page_that_is_the_photograph_is_found(pages, chosen, all_of_them):
    data = tiff_of(*pages)
    header = look(data)
    assert (header.page, header.rivals, header.frames) == (chosen, len(all_of_them), len(pages))
    assert (header.height, header.width) == pages[chosen - 1][0].shape[:2]
    assert photographs(data) == all_of_them
    assert probe(data, page=len(pages)).width == pages[-1][0].shape[1]
    with pytest.raises(PhotoError, match="no page 9"):
        probe(data, page=9)


def test_a_chain_of_pages_that_bites_its_tail_ends():
    data = bytearray(tiff_of((FULL, {})))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * count, first)
    assert look(bytes(data)).frames == 1


@pytest.mark.parametrize(
    "data",
    [
        tiff_of((COLOR, RGB | {"extratags": [(50_706, "B", 4, (1, 4, 0, 0), True)]})),
        tiff_of((FULL, {"photometric": 32_803, "extratags": [(33_421, "H", 2, (2, 2), True)]})),
        b"II*\0\x10\0\0\0CR\2\0" + tiff_of((FULL, {}))[12:],
        b"FUJIFILMCCD-RAW 0201" + bytes(100),
        b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(64),
        b"IIU\0" + bytes(100),
    ],
)
def test_raw_files_are_refused_in_words(data):
    with pytest.raises(PhotoError) as refused:
        probe(data)
    assert refused.value.code in ("photo_unsupported", "photo_damaged")
    if data[8:10] != b"CR":
        assert "raw file" in refused.value.sentence
        assert "export" in refused.value.advice


def test_no_limit_is_no_limit(gray_photo):
    long = png(60_000, 9_000)
    assert refusal(long) == "photo_too_large"
    assert probe(long, Limits(max_pixels=None, max_side=None)).width == 60_000
    assert probe(png(7, 9), Limits.none()).width == 7
    big = gray_photo("BMP") + bytes(26 * 2**20)
    assert refusal(big) == "photo_too_large"
    assert probe(big, Limits.none()).width == 320


def test_without_limits_memory_is_one_and_says_both_numbers(monkeypatch):
    gray = Header("PNG", 12_000, 10_000, channels=1, alpha=False)
    deep = Header("PNG", 12_000, 10_000, bits=16, alpha=False)
    assert 0.12e9 * 3 < memory_needed(gray) < 1.5 * 2**30 < memory_needed(deep)
    assert memory_needed(gray, saved="avif") > 3 * memory_needed(gray)
    monkeypatch.setattr(image_headers, "memory_available", lambda: 2**30)
    header = probe(png(20_000, 10_000), Limits.none())  # a header can be looked at whatever the memory
    with pytest.raises(PhotoError) as refused:
        Limits.none().check_memory(header, 1)
    assert refused.value.code == "photo_too_large"
    assert "200 megapixels" in refused.value.sentence
    assert "1.0 GiB are free" in refused.value.sentence
    Limits.none().check_memory(probe(png(1_000, 1_000)), 1)
    Limits().check_memory(header, 1)  # a limit in pixels takes its place
    with pytest.raises(PhotoError, match="200 megapixels"):
        image_io.open(png(20_000, 10_000), Limits.none())


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_hostile_jpeg_xl_and_jpeg_2000_headers_are_refused_or_let_in(data):
    pixels = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)
    kind = data.draw(st.sampled_from(["jxl", "jp2"]))
    photo = bytearray(
        imagecodecs.jpegxl_encode(pixels, lossless=True, effort=1)
        if kind == "jxl"
        else imagecodecs.jpeg2k_encode(pixels, codecformat="jp2", reversible=True)
    )
    for _ in range(data.draw(st.integers(1, 6))):
        photo[data.draw(st.integers(0, min(len(photo) - 1, 120)))] = data.draw(st.integers(0, 255))
    try:
        found: Header | str = look(bytes(photo))
    except PhotoError as refused:
        found = refused.code
    assert isinstance(found, Header) or found.startswith("photo_")


def test_transparency_is_known_from_the_header_and_takes_memory(gray_photo):
    def has_alpha(mode: str, format: str, **options: object) -> bool:
        file = io.BytesIO()
        Image.new(mode, (64, 48), 1).save(file, format, **options)
        return probe(file.getvalue()).alpha

    assert [has_alpha(mode, "PNG") for mode in ("L", "RGB", "LA", "RGBA", "P")] == [
        False,
        False,
        True,
        True,
        True,
    ]
    assert has_alpha("L", "PNG", transparency=0)
    assert has_alpha("RGB", "PNG", transparency=(0, 0, 0))
    assert [has_alpha(mode, "TIFF") for mode in ("L", "RGB", "RGBA")] == [False, False, True]
    assert not has_alpha("L", "JPEG")
    assert not has_alpha("L", "PPM")
    opaque, transparent = Header("PNG", 100, 100, alpha=False), Header("PNG", 100, 100)
    assert memory_needed(transparent) - memory_needed(opaque) == 4 * 100 * 100


@pytest.mark.parametrize(
    ("format", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("JPEG", {"quality": 5, "restart_marker_blocks": 3}),
     ("PNG", {}), ("WEBP", {}), ("WEBP", {"lossless": True})],
)  # fmt: skip
@pytest.mark.parametrize("tail", [bytes(5000), b"\xff\xd9" * 50, b"\0\0\0\0IEND\xae\x42\x60\x82"])
def test_what_lies_behind_a_picture_s_end_is_not_its_own(format, options, tail):
    noise = np.random.default_rng(0).integers(0, 255, (120, 160), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format, **options)
    whole = file.getvalue()
    padded = whole + tail
    assert end_of(io.BytesIO(whole), probe(whole)) == len(whole)
    assert end_of(io.BytesIO(padded), probe(padded)) == len(whole)
    before, after = image_io.open(padded), image_io.open(whole)
    assert np.array_equal(before.pixels, after.pixels)


def test_what_a_jpeg_says_to_have_behind_it_is_its_own():
    first, second = Image.new("L", (64, 48), 40), Image.new("L", (64, 48), 200)
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second])
    motion = io.BytesIO()
    first.save(motion, "JPEG", xmp=b'<x:xmpmeta><rdf:Description GCamera:MotionPhoto="1"/></x:xmpmeta>')
    for whole in (file.getvalue(), motion.getvalue() + b"ftypmp42" + bytes(3000)):
        assert end_of(io.BytesIO(whole), probe(whole)) == len(whole)


def test_a_file_that_leads_to_no_end_is_all_its_own():
    file = io.BytesIO()
    Image.new("L", (64, 48), 40).save(file, "PNG")
    broken = bytearray(file.getvalue() + bytes(500))
    at = broken.index(b"IDAT") - 4
    broken[at : at + 4] = (2**31 - 1).to_bytes(4, "big")
    for data in (bytes(broken), file.getvalue()[:-20]):
        assert end_of(io.BytesIO(data), probe(data)) == len(data)
