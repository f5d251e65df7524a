"""Colors of a file to sRGB: by its ICC profile, by the code points of video (ITU-T H.273), by a PNG's gamma, by CIELAB's formula.

Profiles go through Little CMS, pixels of 8 bits by Pillow's. Gray of 16 bits goes by a table of all 65,536 values; RGB of 16 bits through a
matrix profile by its curves and its matrix in float32, as Little CMS takes a coarse table for it, and through a table profile as Little
CMS does it, by a table of 49 steps a side.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageCms

from model.errors import PhotoError
from model.formats import raster

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Profile = ImageCms.ImageCmsProfile
_NO_OPTIMIZATION: Final = 0x0100
"""Slow, and exact in the shadows too, where Little CMS's tables of 33 steps are off by 8 levels."""
_FINE_TABLE: Final = 0x0400
_NOTHING: Final = 128
"""Half a step of 8 bits: a profile that changes less is sRGB's, and 16 bits stay as they are."""
_NOTHING_LEFT: Final = 16
"""Steps of 8 bits between the darkest and the lightest of all colors."""
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_XYZ_TO_RGB: Final = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
"""XYZ under D50 to linear sRGB (Lindbloom, adapted by Bradford)."""
_PRIMARIES: Final = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""H.273, table 2, all under D65: x and y of red, green and blue."""
_D65: Final = (0.3127, 0.3290)
SRGB_POINTS: Final = (*_D65, *_PRIMARIES[1])
"""x and y of white, red, green and blue."""


def read(data: bytes | None) -> _Profile | None:
    """The profile that a file carries; None where there is none, or a broken one, which must not cost the picture."""
    if not data:
        return None
    try:
        profile = _Profile(io.BytesIO(data))
        return profile if profile.profile.xcolor_space else None  # not every name can be read
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def gray_to_srgb(pixels: NDArray[Any], data: bytes | None) -> NDArray[Any]:
    """(H, W) uint8 or uint16 through a profile for gray or RGB."""
    profile = read(data)
    if profile is None or data is None:
        return pixels
    space = profile.profile.xcolor_space.strip()
    if space not in ("GRAY", "RGB"):
        return pixels
    steps = np.arange(0, 65_536, 257 if pixels.dtype == np.uint8 else 1, dtype=np.uint16)
    ramp = steps[None] if space == "GRAY" else np.repeat(steps[None, :, None], 3, axis=2)
    curve = _deep(ramp, data, space.lower(), _NO_OPTIMIZATION)
    if curve is None:
        return pixels
    levels: NDArray[Any] = curve[0, :, 1]
    if np.abs(levels.astype(np.int32) - steps).max() < _NOTHING or np.ptp(levels) < 257 * _NOTHING_LEFT:
        return pixels  # one of sRGB; or a broken one, that leaves nothing of the picture
    if pixels.dtype == np.uint8:
        levels = raster.to_eight_bits(levels)
    return np.take(levels, pixels)


def rgb_to_srgb(pixels: NDArray[Any], data: bytes | None) -> NDArray[Any]:
    """(H, W, 3) uint8 or uint16."""
    profile = read(data)
    if (
        profile is None
        or data is None
        or profile.profile.xcolor_space.strip() != "RGB"
        or _is_ignored(profile)
    ):
        return pixels
    if pixels.dtype == np.uint8:
        converted = _shallow(Image.fromarray(pixels), profile)
        return pixels if converted is None else np.asarray(converted)
    if profile.profile.is_matrix_shaper and b"A2B" not in _tags(data):
        return _through_matrix(pixels, data)
    deep = _deep(pixels, data, "rgb", _FINE_TABLE)
    return pixels if deep is None else deep


def cmyk_to_srgb(pixels: NDArray[Any], data: bytes | None) -> NDArray[Any]:
    """(H, W, 4), where 0 is no ink: through the profile with 8 bits, else by the formula with what there is."""
    profile = read(data)
    if profile is not None and profile.profile.xcolor_space.strip() == "CMYK":
        height, width = pixels.shape[:2]
        image = Image.frombytes(
            "CMYK", (width, height), np.ascontiguousarray(raster.to_eight_bits(pixels)).tobytes()
        )
        converted = _shallow(image, profile)
        if converted is not None:
            return np.asarray(converted)
    most = np.iinfo(pixels.dtype).max
    rgb = np.empty((*pixels.shape[:2], 3), pixels.dtype)
    for rows in raster.strips(pixels):
        light = most - pixels[rows].astype(np.uint32)
        rgb[rows] = (light[..., :3] * light[..., 3:] + most // 2) // most
    return rgb


def lab_to_srgb(pixels: NDArray[Any], from_zero: bool) -> NDArray[Any]:
    """(H, W, 3) CIELAB under D50, uint8 or uint16; `from_zero`: a and b are stored with an offset, and not signed (TIFF's ICCLAB)."""
    rgb = np.empty(pixels.shape, pixels.dtype)
    most = np.iinfo(pixels.dtype).max
    scale = 1 if pixels.dtype == np.uint8 else 256
    half = 128 * scale
    for rows in raster.strips(pixels):
        stored = pixels[rows]
        offset = stored[..., 1:].astype(np.int32)
        if not from_zero:
            offset = (offset + half) % (2 * half)
        ab = (offset - half) / scale
        y = (stored[..., 0] * (100.0 / most) + 16) / 116
        xyz = np.stack([y + ab[..., 0] / 500, y, y - ab[..., 1] / 200], axis=-1)
        xyz = np.where(xyz > 6 / 29, xyz**3, 3 * (6 / 29) ** 2 * (xyz - 4 / 29)) * _D50
        rgb[rows] = np.rint(_encoded(xyz @ _XYZ_TO_RGB.T) * most).astype(pixels.dtype)
    return rgb


def gamma_profile(gamma: float, points: tuple[float, ...] | None = None) -> bytes:
    """An RGB profile: light is the value to the power of `gamma`. `points`: x and y of white, red, green and blue; None for sRGB's."""
    import imagecodecs

    made: bytes = imagecodecs.cms_profile("rgb", **_corners(points), gamma=gamma)
    return made


def curve_profile(light: NDArray[Any], points: tuple[float, ...] | None = None) -> bytes:
    """An RGB profile: `light` at equal steps of the value from 0 to 1. `points` as above."""
    import imagecodecs

    curve = np.ascontiguousarray(light, np.float32)
    made: bytes = imagecodecs.cms_profile("rgb", **_corners(points), transferfunction=curve)
    return made


def srgb_curve() -> NDArray[Any]:
    """Light at 4,096 steps of sRGB's value."""
    value = np.linspace(0, 1, 4096)
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def code_point_profile(primaries: int, transfer: int) -> bytes | None:
    """Of H.273's code points; None for sRGB. Raises PhotoError for others than television's of standard range; 2 is not specified."""
    primaries = 1 if primaries == 2 else primaries
    transfer = 13 if transfer == 2 else transfer
    if (primaries, transfer) == (1, 13):
        return None
    if primaries not in _PRIMARIES or transfer not in (1, 4, 5, 6, 8, 13, 14, 15):
        kind = {16: "PQ", 18: "HLG"}.get(transfer)
        said = f"high dynamic range ({kind})" if kind else f"rare colors (H.273: {primaries}, {transfer})"
        raise PhotoError(
            "photo_unsupported", f"The file is in {said}.", "Export it in standard range, as sRGB."
        )
    points = (*_D65, *_PRIMARIES[primaries])
    if transfer in (4, 5, 8):
        return gamma_profile({4: 2.2, 5: 2.8, 8: 1.0}[transfer], points)
    if transfer == 13:
        return curve_profile(srgb_curve(), points)
    value = np.linspace(0, 1, 4096)
    return curve_profile(
        np.where(value < 0.081, value / 4.5, ((value + 0.099) / 1.099) ** (1 / 0.45)), points
    )


def _corners(points: tuple[float, ...] | None) -> dict[str, Any]:
    """As Little CMS wants them: x, y and Y."""
    points = points or SRGB_POINTS
    corners = [value for at in (2, 4, 6) for value in (*points[at : at + 2], 1.0)]
    return {"whitepoint": [*points[:2], 1.0], "primaries": corners}


def _encoded(linear: NDArray[Any]) -> NDArray[Any]:
    """Linear light to sRGB's values (IEC 61966-2-1), clipped to 0…1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


@functools.cache
def _encoding() -> NDArray[np.uint16]:
    """sRGB's values of the square root of light, in 65,536 steps: a root spreads the shadows, where the curve is steep."""
    root = np.linspace(0, 1, 65_536)
    values: NDArray[np.uint16] = np.rint(_encoded(root**2) * 65_535).astype(np.uint16)
    return values


def _through_matrix(pixels: NDArray[np.uint16], data: bytes) -> NDArray[np.uint16]:
    """A matrix profile is a curve for each channel and a matrix. Little CMS tells both, by its answers for each channel alone."""
    import imagecodecs

    curves, columns = [], []
    for channel in range(3):
        ramp = np.zeros((1, 65_536, 3), np.float32)
        ramp[0, :, channel] = np.linspace(0, 1, 65_536)
        try:
            xyz = imagecodecs.cms_transform(
                ramp,
                data,
                imagecodecs.cms_profile("xyz"),
                colorspace="rgb",
                outcolorspace="xyz",
                flags=_NO_OPTIMIZATION,
            )[0]
        except (ValueError, RuntimeError):
            return pixels  # the profile does not fit
        if not np.isfinite(xyz).all() or xyz[-1, 1] <= 0:
            return pixels  # a broken profile
        curves.append(np.ascontiguousarray(xyz[:, 1] / xyz[-1, 1], np.float32))
        columns.append(xyz[-1])
    to_linear = np.ascontiguousarray((_XYZ_TO_RGB @ np.stack(columns, axis=1)).T, np.float32)
    rgb = np.empty_like(pixels)
    for rows in raster.strips(pixels):
        light = np.empty(pixels[rows].shape, np.float32)
        for channel, curve in enumerate(curves):
            light[..., channel] = np.take(curve, pixels[rows][..., channel])
        root = np.sqrt(np.clip(light @ to_linear, 0, 1))
        rgb[rows] = np.take(_encoding(), (root * 65_535 + 0.5).astype(np.uint16))
    return rgb


def _deep(pixels: NDArray[Any], data: bytes, space: str, flags: int) -> NDArray[np.uint16] | None:
    """uint16 through a profile by Little CMS; None where it does not fit."""
    import imagecodecs

    try:
        converted: NDArray[np.uint16] = imagecodecs.cms_transform(
            pixels,
            data,
            _srgb_bytes(),
            colorspace=space,
            outcolorspace="rgb",
            flags=flags,
        )
    except (ValueError, RuntimeError):
        return None
    return converted


def _shallow(image: Image.Image, profile: _Profile) -> Image.Image | None:
    """`image` through `profile` as RGB; None where it is for another kind of picture."""
    try:
        return ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def _is_ignored(profile: _Profile) -> bool:
    """Whether colors stay as they are, to one step of 8 bits, by the profile; or the profile is broken, and leaves nothing of a picture."""
    steps = np.linspace(0, 255, 9).astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(27, 27, 3)
    converted = _shallow(Image.fromarray(cube), profile)
    if converted is None:
        return False
    shown = np.asarray(converted).astype(np.int16)
    return int(np.abs(shown - cube).max()) <= 1 or int(np.ptp(shown)) < _NOTHING_LEFT


def _tags(data: bytes) -> bytes:
    """The names of a profile's tags, one behind the other."""
    count = min(int.from_bytes(data[128:132], "big"), 100)
    return b"".join(data[132 + 12 * at : 136 + 12 * at] for at in range(count))


@functools.cache
def _srgb_bytes() -> bytes:
    return _Profile(ImageCms.createProfile("sRGB")).tobytes()
