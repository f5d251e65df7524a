"""Whether a picture is in color already. Sepia and other tints are gray: one hue for each lightness.

A picture in color has different hues where it is equally light. So the picture's points are sorted by lightness,
and what counts is how far the hues of each lightness lie apart, not how far they lie from gray.

When in doubt it says gray: a photograph of nearly one hue is then colored although nobody needed it, where the
other mistake would send away somebody whose print has turned brown in places.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from PIL import Image, ImageOps

SIDE = 64
"""Of the thumbnail that is looked at, in pixels: it averages away grain and the blocks of JPEG."""
LEVELS = 16
"""Of lightness."""
FAR = 12.0
"""Steps of 255 in Cb or Cr between a point and the usual hue of its lightness, from where on one sees it."""
SHARE = 0.05
"""Of points that are far: more of them, and the picture is in color. A stamp or a thumb tack is less."""
MOST_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")


class PictureError(Exception):
    """Root of what `look` raises."""


class NotReadable(PictureError):  # noqa: N818  (a turn of events)
    """It is not a picture that Pillow can open, or a broken one."""


class TooManyPixels(PictureError):  # noqa: N818
    """It is too large to be opened."""


@dataclass(frozen=True, slots=True)
class Looks:
    """What is seen of a picture."""

    width: int
    """In pixels, as stored."""
    height: int
    in_color: bool
    moving: bool
    """Whether it has several frames."""


def look(data: bytes) -> Looks:
    """Open a picture and look at it. Raises NotReadable or TooManyPixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata; size is checked below
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size
                if width * height > MOST_PIXELS:
                    raise TooManyPixels(f"{width} × {height} pixels")
                moving = getattr(image, "n_frames", 1) > 1 and image.format != "MPO"
                image.draft("RGB", (4 * SIDE, 4 * SIDE))
                small = _thumbnail(image)
    except PictureError:
        raise
    except (Image.DecompressionBombError, MemoryError) as error:
        raise TooManyPixels(str(error)) from error
    except Exception as error:  # Pillow's decoders raise whatever they like at what is broken
        raise NotReadable(type(error).__name__) from error
    return Looks(width, height, is_in_color(small), moving)


def is_in_color(image: Image.Image) -> bool:
    """Whether more than one hue is seen at the same lightness. The image: RGB, a few thousand pixels."""
    by_level: dict[int, list[tuple[int, int]]] = {}
    for light, blue, red in _points(image):
        by_level.setdefault(light * LEVELS // 256, []).append((blue, red))
    far = sum(_far_from_usual(hues) for hues in by_level.values())
    return far > SHARE * image.width * image.height


def _far_from_usual(hues: Sequence[tuple[int, int]]) -> int:
    """How many lie far from the median hue."""
    blue = median(pair[0] for pair in hues)
    red = median(pair[1] for pair in hues)
    return sum((pair[0] - blue) ** 2 + (pair[1] - red) ** 2 > FAR**2 for pair in hues)


def _points(image: Image.Image) -> list[tuple[int, int, int]]:
    """Y, Cb and Cr of each pixel, 0 to 255 (JFIF 1.02)."""
    data = image.convert("YCbCr").tobytes()
    return list(zip(data[0::3], data[1::3], data[2::3], strict=True))


def _thumbnail(image: Image.Image) -> Image.Image:
    """(SIDE, SIDE) at most, RGB, what is transparent on gray."""
    small = ImageOps.exif_transpose(image)
    if small.mode in ("I", "I;16", "F"):
        return Image.new("RGB", (1, 1))  # these modes hold no color
    small = small.convert("RGBA")
    small.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    ground = Image.new("RGBA", small.size, (128, 128, 128, 255))
    return Image.alpha_composite(ground, small).convert("RGB")
