"""Photographs in color are told from gray ones, of whatever tint."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps
from skimage import data

from bot import images
from bot.images import ImageInfo, NotAnImageError, TooLargeError, inspect

NAMES = ("astronaut", "chelsea", "coffee", "rocket")


def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(data, name)())


def file(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def toned(image: Image.Image, *tones: tuple[int, int, int]) -> Image.Image:
    dark, mid, light = tones
    return ImageOps.colorize(image.convert("L"), dark, light, mid)


def with_stamp(image: Image.Image) -> Image.Image:
    """In gray, with a red stamp of an archive in the corner."""
    gray = image.convert("L").convert("RGB")
    side = gray.width // 8
    ImageDraw.Draw(gray).ellipse((5, 5, side, side), fill=(200, 20, 30))
    return gray


GRAY: dict[str, Callable[[Image.Image], Image.Image]] = {
    "gray": lambda image: image.convert("L"),
    "gray as RGB": lambda image: image.convert("L").convert("RGB"),
    "gray as CMYK": lambda image: image.convert("L").convert("CMYK"),
    "sepia": lambda image: toned(image, (30, 15, 5), (150, 115, 75), (250, 235, 205)),
    "strong sepia": lambda image: toned(image, (45, 15, 0), (165, 105, 45), (255, 235, 180)),
    "cyanotype": lambda image: toned(image, (5, 20, 60), (60, 110, 150), (235, 245, 245)),
    "in a red stamp's company": with_stamp,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_in_color_is_called_so(name: str) -> None:
    assert inspect(file(photo(name), quality=70)).in_color


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tint", GRAY)
def test_a_gray_one_is_not_whatever_its_tint(name: str, tint: str) -> None:
    assert not inspect(file(GRAY[tint](photo(name)), quality=70)).in_color


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (300, 200), (200, 60, 20)),
        Image.new("1", (40, 40)),
        Image.effect_noise((300, 300), 40),
        Image.new("I;16", (40, 30), 30_000),
        Image.new("RGBA", (40, 30), (255, 0, 0, 0)),
        photo("coffee").convert("L").convert("P"),
    ],
    ids=["one color", "black", "noise", "16 bits", "transparent", "palette"],
)
def test_what_has_one_hue_or_none_is_gray(image: Image.Image) -> None:
    assert not inspect(file(image, "PNG")).in_color


def test_several_frames_are_seen() -> None:
    frames = [photo("coffee").convert("L"), photo("coffee").convert("L").filter(ImageFilter.BLUR)]
    assert inspect(file(frames[0], "GIF", save_all=True, append_images=frames[1:])).animated
    assert not inspect(file(frames[0], "PNG")).animated


@pytest.mark.parametrize(
    "broken", [file(photo("coffee"))[:5000], file(photo("coffee"), "PNG")[:5000]], ids=["JPEG", "PNG"]
)
def test_what_is_cut_off_is_said_to_be_no_picture(broken: bytes) -> None:
    with pytest.raises(NotAnImageError):
        inspect(broken)


@pytest.mark.parametrize("strange", [b"<html>no picture</html>", b"%PDF-1.7", b"\x00\x00\x00\x18ftypheic"])
def test_what_is_not_known_here_is_left_to_the_service(strange: bytes) -> None:
    assert inspect(strange) == ImageInfo(in_color=False, animated=False)


def test_a_picture_that_would_fill_memory_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    small = photo("coffee").size
    monkeypatch.setattr(images, "MAX_PIXELS", small[0] * small[1])
    assert inspect(file(photo("coffee"))).in_color
    with pytest.raises(TooLargeError):
        inspect(file(photo("coffee").resize((small[0] + 1, small[1]))))
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s2I5B", 13, b"IHDR", 40_000, 40_000, 8, 2, 0, 0, 0)
    with pytest.raises(TooLargeError):
        inspect(header + struct.pack(">I", zlib.crc32(header[12:])) + struct.pack(">I4s", 0, b"IDAT"))
