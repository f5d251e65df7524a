"""What a file's header says, within fixed time and memory."""

from __future__ import annotations

import io
import struct
import time
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model.errors import PhotoError
from model.image_headers import FORMATS, IN_WORDS, Header, Limits, probe


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


@pytest.mark.parametrize("format", FORMATS)
def test_a_photo_of_every_format_is_let_in_with_its_size(gray_photo, format):
    assert look(gray_photo(format)) == Header(format, 320, 240)


def test_a_progressive_jpeg_with_a_thumbnail_and_a_tail_is_whole(gray_photo):
    thumbnail = gray_photo(size=(32, 24))
    exif = Image.Exif()
    exif[0x8769] = {0x927C: thumbnail}
    photo = gray_photo(progressive=True, exif=exif.tobytes())
    assert thumbnail in photo
    assert look(photo + b"\0" * 100).format == "JPEG"
    assert refusal(photo[:-200]) == "photo_damaged"


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_file_that_is_cut_off_anywhere_is_refused(gray_photo, format):
    photo = gray_photo(format)
    for tenth in range(1, 10):
        assert refusal(photo[: len(photo) * tenth // 10]) == "photo_damaged"
    assert refusal(photo[:-1]) == "photo_damaged"


def test_a_jpeg_with_further_pictures_inside_is_one_photo(gray_photo):
    file = io.BytesIO()
    first, second = (Image.open(io.BytesIO(gray_photo(size=size))) for size in ((320, 240), (64, 48)))
    first.save(file, "MPO", save_all=True, append_images=[second])
    assert look(file.getvalue()) == Header("JPEG", 320, 240)


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
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
        start = time.perf_counter()
        assert refusal(photo) == "photo_damaged"
        assert time.perf_counter() - start < 3


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data())
def test_hostile_bytes_are_refused_or_let_in_but_never_raise_anything_else(gray_photo, data):
    photo = bytearray(gray_photo(data.draw(st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"]))))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, min(len(photo) - 1, 600)))] = data.draw(st.integers(0, 255))
    hostile = bytes(photo[: data.draw(st.integers(0, len(photo)))])
    try:
        found: Header | str = look(hostile)
    except PhotoError as refused:
        found = refused.code
    assert isinstance(found, Header) or found.startswith("photo_")


def test_the_words_name_every_format():
    assert tuple(IN_WORDS.upper().replace(" OR ", ", ").split(", ")) == FORMATS


def test_a_webp_that_is_cut_off_is_refused(gray_photo):
    photo = gray_photo("WEBP")
    for tenth in range(1, 10):
        assert refusal(photo[: len(photo) * tenth // 10]) == "photo_damaged"


def test_a_heic_is_of_no_known_format_and_an_avif_in_its_container_is():
    def boxed(*brands: bytes) -> bytes:
        body = brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
        return struct.pack(">I", 8 + len(body)) + b"ftyp" + body + bytes(64)

    assert refusal(boxed(b"mif1", b"mif1", b"heic")) == "photo_unsupported"
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
