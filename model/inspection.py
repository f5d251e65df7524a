"""What is to be known of a photo before it is colored: whether it is in color already, where it lies on its page, which way it stands.

    photo = inspection.prepare(image_io.open(data), InspectionOptions(crop_border=True))

Everything is seen on a thumbnail, whatever the photo's size. Needs no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model import borders
from model.borders import Box
from model.errors import InputError, Notice, PhotoError
from model.image_io import Photo

_SIDE: Final = 384
"""The longest side of the thumbnail."""
_COLOR_SIDE: Final = 48
"""The same where hues are compared: it averages grain and JPEG's blocks away."""
_LEVELS: Final = 16
"""Steps of lightness, of as many pixels each, for which a tone has one color."""
_MOST_RESIDUAL: Final = 25.0
"""Lab units: what lies farther from the tone counts as that far, so that a stamp or a few words in ink do not decide."""
_IN_COLOR: Final = 2.75
"""Of `_hue_spread`: from here on a photo is in color."""
_FLAT: Final = 8
"""Steps of 255 between the darkest and the lightest of a photo, without the outmost hundredths, that make it empty."""

_IN_COLOR_ALREADY: Final = "This looks like a photograph in color."


@dataclass(frozen=True, slots=True)
class InspectionOptions:
    """What to do about what surrounds a photograph, and about one that is in color. Other values raise InputError.

    `crop_border`: cut off what surrounds the photograph; else it stays, in gray. `if_color`: what becomes of a photo that is in
    color already. `negative`: invert it first. `rotate`: turn it first, by so many degrees clockwise.
    """

    crop_border: bool = False
    if_color: Literal["colorize", "keep", "refuse"] = "colorize"
    negative: bool = False
    rotate: Literal[0, 90, 180, 270] = 0

    def __post_init__(self) -> None:
        if self.if_color not in ("colorize", "keep", "refuse"):
            raise InputError(f"if_color is colorize, keep or refuse, not {self.if_color}")
        if self.rotate not in (0, 90, 180, 270):
            raise InputError(f"rotate is 0, 90, 180 or 270, not {self.rotate}")


def prepare(photo: Photo, options: InspectionOptions = InspectionOptions()) -> Photo:
    """The photo that is to be colored: turned, inverted and cropped as asked; with notices; `frame` set where it does not fill its page.

    A photo that is in color already, by `is_in_color`:
    - if_color="colorize": gets the notice `photo_in_color` and goes on; its lightness is colored anew.
    - if_color="keep": comes back with the very pixels that came, neither turned nor cropped, and the notice `kept_in_color`. `is_kept` of
      what `prepare` returned says so, and the caller gives the file back as it came.
    - if_color="refuse": raises PhotoError photo_in_color.

    Of a photo that came with a `frame`, as one that was cut off does, only what lies within it is looked at: what is missing is no border,
    and is not cropped.

    Notices: photo_in_color, kept_in_color, border_found, border_cropped, mostly_flat. None proposes `negative` or `rotate`: nothing
    that was tried tells these surely enough (LOG.md).
    """
    upright = _turn(photo, options.rotate)
    if options.negative:
        upright = _invert(upright)
    there = upright.frame or (0, 0, upright.height, upright.width)
    part = _cut(upright.pixels, there)
    thumbnail = _thumbnail(part)
    gray = thumbnail.convert("L")
    seen = np.asarray(gray)
    found = borders.find(seen)
    notices = list(upright.notices)
    inside = found or (0, 0, *seen.shape)
    if _hue_spread(thumbnail, inside) > _IN_COLOR:
        if options.if_color == "refuse":
            raise PhotoError(
                "photo_in_color",
                _IN_COLOR_ALREADY,
                "With colorize instead of refuse it is colored anew from its lightness, with keep it stays as it is.",
            )
        if options.if_color == "keep":
            kept = Notice("kept_in_color", f"{_IN_COLOR_ALREADY} It was left as it is.")
            return replace(photo, notices=(*photo.notices, kept))
        notices.append(
            Notice(
                "photo_in_color",
                f"{_IN_COLOR_ALREADY} Its colors were replaced by others, from its lightness.",
            )
        )
    if _is_flat(gray, inside):
        notices.append(
            Notice("mostly_flat", "The picture is nearly of one tone: there is little in it to be colored.")
        )
    if found is None:
        return replace(upright, notices=tuple(notices))
    top, left, bottom, right = borders.refine(part, found, seen.shape)
    frame = (there[0] + top, there[1] + left, there[0] + bottom, there[1] + right)
    if options.crop_border:
        notices.append(Notice("border_cropped", "What surrounds the photograph was cut off."))
        return replace(_crop(upright, frame, there), notices=tuple(notices))
    notices.append(
        Notice(
            "border_found",
            "The photograph does not fill its page. What surrounds it was left gray.",
        )
    )
    return replace(upright, frame=frame, notices=tuple(notices))


def is_in_color(photo: Photo) -> bool:
    """Whether the photograph, without its border, has several hues at one lightness.

    A gray photo has none, whatever its tone: sepia, a cyanotype, yellow paper and faded prints have one hue for each lightness. A
    photograph in color of a single hue, such as the sea under a gray sky, is not told from these, and counts as gray.
    """
    if photo.pixels.ndim == 2:
        return False
    thumbnail = _thumbnail(_cut(photo.pixels, photo.frame or (0, 0, photo.height, photo.width)))
    gray = np.asarray(thumbnail.convert("L"))
    return _hue_spread(thumbnail, borders.find(gray) or (0, 0, *gray.shape)) > _IN_COLOR


def is_kept(prepared: Photo) -> bool:
    """Whether `prepare` found the photo in color and was asked to leave it as it came."""
    return any(notice.code == "kept_in_color" for notice in prepared.notices)


def _cut(plane: NDArray[Any], box: Box) -> NDArray[Any]:
    top, left, bottom, right = box
    return plane[top:bottom, left:right]


def _thumbnail(pixels: NDArray[Any]) -> Image.Image:
    """L or RGB, `_SIDE` at most; what is transparent counts as it is stored."""
    step = max(1, max(pixels.shape[:2]) // (3 * _SIDE))
    pixels = pixels[::step, ::step]  # thrice as large as wanted: most of a scan need not be read
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return image


def _hue_spread(thumbnail: Image.Image, box: Box) -> float:
    """How far hues differ at the same lightness, in Lab units, within `box` of an RGB thumbnail; 0 for gray.

    A tone is a color for each lightness: the medians of `_LEVELS` groups of pixels, as many in each. From what is left in a and b without
    it come two standard deviations, along the axis on which they differ most and across. The second counts full, since an uneven
    stain differs along one axis, and the first by its root.
    """
    if thumbnail.mode != "RGB":
        return 0.0
    top, left, bottom, right = box
    small = thumbnail.crop((left, top, right, bottom))
    small.thumbnail((_COLOR_SIDE, _COLOR_SIDE), Image.Resampling.BOX)
    lab_N3 = _lab(np.asarray(small).reshape(-1, 3))
    lab_N3 = lab_N3[np.argsort(lab_N3[:, 0], kind="stable")]
    groups = np.array_split(lab_N3, min(_LEVELS, len(lab_N3)))
    tone_G3 = np.array([np.median(group, 0) for group in groups])
    padded = np.pad(tone_G3[:, 1:], ((1, 1), (0, 0)), mode="edge")
    ab_G2 = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    residual_N2 = lab_N3[:, 1:] - np.stack(
        [np.interp(lab_N3[:, 0], tone_G3[:, 0], ab) for ab in ab_G2.T], axis=1
    )
    length_N1 = np.hypot(*residual_N2.T)[:, None]
    residual_N2 *= np.minimum(1, _MOST_RESIDUAL / np.maximum(length_N1, 1e-6))
    variances = np.linalg.eigvalsh(residual_N2.T @ residual_N2 / len(residual_N2))
    across, along = np.sqrt(np.maximum(variances, 0))
    return float(across * np.sqrt(along))


def _lab(rgb_N3: NDArray[np.uint8]) -> NDArray[np.float64]:
    """8-bit sRGB → L*, a*, b*, as `model.color` has them, without torch."""
    coded = rgb_N3 / 255
    linear = np.where(coded > 0.04045, ((coded + 0.055) / 1.055) ** 2.4, coded / 12.92)
    xyz = linear @ _XYZ_OVER_WHITE.T
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116).T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


_XYZ_OVER_WHITE: Final = (
    np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
    / np.array([0.95047, 1.0, 1.08883])[:, None]
)


def _is_flat(gray: Image.Image, box: Box) -> bool:
    top, left, bottom, right = box
    counts = np.cumsum(gray.crop((left, top, right, bottom)).histogram())
    places = np.array([0.01, 0.99]) * (counts[-1] - 1)
    below, above = (np.searchsorted(counts, np.floor(places) + step, side="right") for step in (0, 1))
    low, high = below + (np.minimum(above, 255) - below) * (places % 1)
    return bool(high - low < _FLAT)


def _turn(photo: Photo, degrees: int) -> Photo:
    """Turned clockwise, by a multiple of 90."""
    if not degrees:
        return photo

    def turned(plane: NDArray[Any]) -> NDArray[Any]:
        return np.ascontiguousarray(np.rot90(plane, -degrees // 90))

    dpi = photo.dpi
    if dpi is not None and degrees != 180:
        dpi = dpi[1], dpi[0]
    alpha = None if photo.alpha is None else turned(photo.alpha)
    frame = photo.frame and _turn_box(photo.frame, photo.size, degrees)
    return replace(photo, pixels=turned(photo.pixels), alpha=alpha, dpi=dpi, frame=frame)


def _turn_box(box: Box, size: tuple[int, int], degrees: int) -> Box:
    for _ in range(degrees // 90):
        top, left, bottom, right = box
        box = left, size[1] - bottom, right, size[1] - top
        size = size[1], size[0]
    return box


def _invert(photo: Photo) -> Photo:
    return replace(photo, pixels=np.iinfo(photo.pixels.dtype).max - photo.pixels)


def _crop(photo: Photo, frame: Box, there: Box) -> Photo:
    """The photograph in its frame, and what is missing beside it: a side of the frame that ends what is `there` is not cut."""
    page = (0, 0, photo.height, photo.width)
    top, left, bottom, right = (
        outmost if side == end else side for side, end, outmost in zip(frame, there, page, strict=True)
    )
    box = (top, left, bottom, right)
    inner = (frame[0] - top, frame[1] - left, frame[2] - top, frame[3] - left)
    return replace(
        photo,
        pixels=np.ascontiguousarray(_cut(photo.pixels, box)),
        alpha=None if photo.alpha is None else np.ascontiguousarray(_cut(photo.alpha, box)),
        frame=None if box == frame else inner,
    )
