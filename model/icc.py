"""ICC profiles: whatever color space a photo comes in becomes sRGB, and what we save says that it is sRGB."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageCms

if TYPE_CHECKING:
    from numpy.typing import NDArray

Profile = ImageCms.ImageCmsProfile


def read(data: bytes | None) -> Profile | None:
    """The profile that a file carries; None for none and for a broken one, for the picture is worth more."""
    if not data:
        return None
    try:
        return Profile(io.BytesIO(data))
    except (OSError, TypeError, ValueError, ImageCms.PyCMSError):
        return None


def to_srgb(image: Image.Image, profile: Profile | None, exact: bool = False) -> Image.Image | None:
    """`image` through `profile` as RGB; None where there is no profile or it is for another kind of picture.

    `exact` does without lcms's tables of 33 steps, which are 8 levels off in the shadows of a linear gray
    profile, and takes its time.
    """
    if profile is None:
        return None
    flags = ImageCms.Flags.NOOPTIMIZE if exact else ImageCms.Flags.NONE
    try:
        return ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB", flags=flags
        )
    except (OSError, ValueError, ImageCms.PyCMSError):
        return None


def gray_to_srgb(pixels: NDArray[Any], profile: Profile | None) -> NDArray[Any]:
    """(H, W) uint8 or uint16 through a profile for gray or RGB, by the curve it draws through 256 grays."""
    ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    curve = to_srgb(ramp, profile, exact=True) or to_srgb(ramp.convert("RGB"), profile, exact=True)
    if curve is None:
        return pixels
    levels: NDArray[Any] = np.asarray(curve)[0, :, 1]
    if pixels.dtype == np.uint16:
        levels = np.rint(np.interp(np.arange(65_536), np.arange(256) * 257, levels * 257.0)).astype(np.uint16)
    return np.take(levels, pixels)


@functools.cache
def srgb() -> bytes:
    """Half a kilobyte that says sRGB, so that a viewer on a wide-gamut screen need not guess.

    lcms writes the time into it; ours is fixed, for the same photo must give the same bytes.
    """
    profile = Profile(ImageCms.createProfile("sRGB")).tobytes()
    made = np.array([2000, 1, 1, 0, 0, 0], dtype=">u2").tobytes()
    return profile[:24] + made + profile[36:]
